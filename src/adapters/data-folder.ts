/** The data folder and what is in it: the records, the blobs, and the lock of the service that runs on them. */
import { chmodSync, existsSync, mkdirSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Database } from '../records/database.ts'
import { syncFolder } from './disk-sync.ts'
import { openSqlite } from './sqlite.ts'

/** Something about the data folder stops us; the message is one line for a person. */
export class FolderUnusable extends Error {
  override readonly name = 'FolderUnusable'
}

const databaseFile = (dataDir: string): string => join(dataDir, 'assetd.sqlite')

/** What a folder of ours may hold; `lost+found` is in every new file system. */
const ours = /^(assetd\.sqlite.*|service\.(lock.*|pid)|blobs|incoming|lost\+found)$/

/**
 * Makes the folder, readable by its owner alone. Only `serve` does this.
 * @throws {FolderUnusable}
 */
export function makeFolder(dataDir: string): void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 })
    if (!statSync(dataDir).isDirectory()) throw new Error('it is not a folder')
    const strange = readdirSync(dataDir).filter((name) => !ours.test(name))
    if (strange.length > 0 && !existsSync(databaseFile(dataDir))) {
      throw new Error(
        `it has ${strange.length} files of others in it, such as ${strange[0]}: name an empty folder`,
      )
    }
    chmodSync(dataDir, 0o700)
  } catch (error) {
    throw unusable(dataDir, error)
  }
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
    const database = await openSqlite(databaseFile(dataDir))
    await syncFolder(dataDir)
    return database
  } catch (error) {
    throw unusable(dataDir, error)
  }
}

export function unusable(dataDir: string, error: unknown): FolderUnusable {
  const { code, message } = error as NodeJS.ErrnoException
  return new FolderUnusable(`the data folder ${dataDir} cannot be used: ${code ? `${code}, ` : ''}${message}`)
}
