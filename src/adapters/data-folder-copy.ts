/**
 * Copies a data folder, running or not, to a new one: a backup is a data folder, and a restore is the way back.
 *
 * First a snapshot of the records, then the bytes that it names: bytes outlive their row, so each is there, unless
 * its asset was deleted meanwhile. The records get their name last; a copy without them is no copy.
 */
import { existsSync } from 'node:fs'
import { link, open, unlink } from 'node:fs/promises'
import { resolve, sep } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type CopyOptions, type CopyOutcome, copyAssets } from '../assets/copy.ts'
import { deleteAllPending } from '../records/assets.ts'
import type { Database } from '../records/database.ts'
import { deleteUnsettled } from '../records/direct-uploads.ts'
import { deleteAllClaims } from '../records/idempotency-keys.ts'
import { assertEmpty, databaseFile, FolderUnusable, makeEmptyFolder, unfinishedFile } from './data-folder.ts'
import { createDiskBlobs, openDiskBlobs } from './disk-blobs.ts'
import { syncFolder } from './disk-sync.ts'
import { forgetLock, lockFolder } from './service-lock.ts'
import { openSqlite } from './sqlite.ts'

/**
 * @param to a folder that is new or empty
 * @throws {FolderUnusable} where `from` has no records, or `to` has anything in it
 * @throws {FolderInUse} where something runs on `to`
 * @throws {Fault} `service_unavailable` where something cannot be read or stored
 */
export async function copyDataFolder(from: string, to: string, options: CopyOptions): Promise<CopyOutcome> {
  if (!existsSync(databaseFile(from))) {
    throw new FolderUnusable(
      `there are no assetd records in ${from}: it is no data folder and no whole backup`,
    )
  }
  if (`${resolve(to)}${sep}`.startsWith(`${resolve(from)}${sep}`)) {
    throw new FolderUnusable(`${to} lies within ${from}: name a folder outside of it`)
  }
  makeEmptyFolder(to)
  const unlock = lockFolder(to) // nobody starts on it, and no other copy goes into it, until it is whole
  try {
    assertEmpty(to, /^(lost\+found|service\..*)$/) // who had it until a moment ago may have left something
    return await copyWhole(from, to, options)
  } finally {
    forgetLock(to) // while it is held: whoever comes next makes one of his own
    unlock()
  }
}

async function copyWhole(from: string, to: string, options: CopyOptions): Promise<CopyOutcome> {
  const unfinished = unfinishedFile(to)
  snapshot(databaseFile(from), unfinished)
  const records = await openSqlite(unfinished)
  const outcome = await copyInto(records, from, to, options).finally(() => records.close())
  leaveOneFile(unfinished)
  await syncFile(unfinished)
  await link(unfinished, databaseFile(to)) // fails where there is one, whoever made it
  await unlink(unfinished)
  await syncFolder(to)
  return outcome
}

async function copyInto(
  records: Database,
  from: string,
  to: string,
  options: CopyOptions,
): Promise<CopyOutcome> {
  await records.write([deleteAllPending(records), deleteUnsettled(records), deleteAllClaims(records)])
  return copyAssets(records, openDiskBlobs(from), await createDiskBlobs(to), options)
}

/** One read transaction, so it is of one moment, and whoever writes goes on. */
function snapshot(from: string, to: string): void {
  const connection = new DatabaseSync(from, { readOnly: true })
  try {
    connection.exec('PRAGMA busy_timeout = 5000')
    connection.prepare('VACUUM INTO ?').run(to)
  } finally {
    connection.close()
  }
}

/** Without a write-ahead log the file can be read from a medium that cannot be written. */
function leaveOneFile(path: string): void {
  const connection = new DatabaseSync(path)
  try {
    connection.exec('PRAGMA journal_mode = DELETE')
  } finally {
    connection.close()
  }
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}
