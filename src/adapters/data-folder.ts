/** The data folder and what is in it: the records, the blobs, and the lock of the service that runs on them. */
import { chmodSync, existsSync, mkdirSync, readdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Database } from '../records/database.ts'
import { syncFolder, syncFolderNow } from './disk-sync.ts'
import { openSqlite } from './sqlite.ts'
import { isBlank } from './sqlite-connection.ts'
import { StoreRefused } from './store-refused.ts'

/** Something about the data folder stops us; the message is one line for a person. */
export class FolderUnusable extends StoreRefused {
  override readonly name = 'FolderUnusable'
}

export const databaseFile = (dataDir: string): string => join(dataDir, 'assetd.sqlite')
/** Where the records are until a backup or a restore is whole: a folder that has this and no records is half a copy. */
export const unfinishedFile = (dataDir: string): string => join(dataDir, 'assetd.sqlite.unfinished')

/** What a folder of ours may hold; `lost+found` is in every new file system. */
const ours = /^(store-id|assetd\.sqlite.*|service\.(lock.*|pid)|blobs|incoming|lost\+found)$/

/**
 * Makes the folder, readable by its owner alone. Only `serve` does this.
 * @param hasRecords false where the records are elsewhere: then files without records are as it should be
 * @throws {FolderUnusable}
 */
export function makeFolder(dataDir: string, { hasRecords }: { hasRecords: boolean }): void {
  try {
    makeWithParents(dataDir)
    if (!statSync(dataDir).isDirectory()) throw new Error('it is not a folder')
    if (!existsSync(databaseFile(dataDir))) {
      assertMayBecomeOurs(dataDir)
      if (hasRecords) assertNoFilesWithout(dataDir)
    }
    chmodSync(dataDir, 0o700)
  } catch (error) {
    throw unusable(dataDir, error)
  }
}

/** Node's own `recursive` never ends where a folder cannot be made below one that is there, such as /proc. */
function makeWithParents(dir: string): void {
  if (existsSync(dir)) return
  makeWithParents(dirname(dir))
  try {
    mkdirSync(dir, { mode: 0o700 })
    syncFolderNow(dirname(dir)) // a power cut must not take the folder's name, and all that is in it
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

/** Of a folder without records: to begin with empty ones must not cost anybody anything. */
function assertMayBecomeOurs(dataDir: string): void {
  const strange = readdirSync(dataDir).filter((name) => !ours.test(name))
  if (strange.length > 0) {
    throw new Error(
      `it has ${strange.length} files of others in it, such as ${strange[0]}: name an empty folder`,
    )
  }
  if (existsSync(unfinishedFile(dataDir))) {
    throw new Error(
      'a backup or restore into it was not finished: remove the folder, and do it again or name another one',
    )
  }
}

function assertNoFilesWithout(dataDir: string): void {
  const blobs = join(dataDir, 'blobs')
  if (!existsSync(blobs) || readdirSync(blobs).length === 0) return
  throw new Error(
    'it has the files of assets (blobs/) but not their records (assetd.sqlite and assetd.sqlite-wal): put the records back, restore a backup into another folder, or name an empty one',
  )
}

/**
 * Makes a folder to copy a data folder into.
 * @throws {FolderUnusable} where there is anything in it
 */
export function makeEmptyFolder(dir: string): void {
  try {
    makeWithParents(dir)
    chmodSync(dir, 0o700)
  } catch (error) {
    throw unusable(dir, error, 'folder')
  }
  assertEmpty(dir)
}

/** @throws {FolderUnusable} @param except what may be there */
export function assertEmpty(dir: string, except = /^lost\+found$/): void {
  const [first] = readdirSync(dir).filter((name) => !except.test(name))
  if (first === undefined) return
  throw unusable(
    dir,
    new Error(`it is not empty, there is ${first} in it: name a new or an empty folder`),
    'folder',
  )
}

/**
 * Opens the records in a folder that is there already, beside a service that may be running.
 * @throws {FolderUnusable} where no service has ever been started on it
 */
export async function openExistingRecords(dataDir: string): Promise<Database> {
  if (!existsSync(databaseFile(dataDir))) {
    throw new FolderUnusable(
      `there is no assetd data in ${dataDir}: start the service once (assetd serve), or set ASSETD_DATA_DIR to where its data is`,
    )
  }
  return openRecords(dataDir)
}

/** @throws {FolderUnusable} */
export async function openRecords(dataDir: string): Promise<Database> {
  try {
    // The file may be there and empty, or have lost all of its records with its write-ahead log.
    if (isBlank(databaseFile(dataDir))) assertNoFilesWithout(dataDir)
    const database = await openSqlite(databaseFile(dataDir))
    await syncFolder(dataDir)
    return database
  } catch (error) {
    throw unusable(dataDir, error)
  }
}

export function unusable(dataDir: string, error: unknown, what = 'data folder'): FolderUnusable {
  const { code, message } = error as NodeJS.ErrnoException
  const why = code === undefined || message.startsWith(code) ? message : `${code}, ${message}`
  return new FolderUnusable(`the ${what} ${dataDir} cannot be used: ${why}`)
}
