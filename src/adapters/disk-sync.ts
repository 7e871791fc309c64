/** What everything that writes to the disk shares. */
import { closeSync, fsyncSync, openSync } from 'node:fs'
import { constants, copyFile, link, open, unlink } from 'node:fs/promises'
import { dirname } from 'node:path'
import { Fault } from '../errors.ts'
import { openFile, syncFile } from './descriptors.ts'

/** Makes the names in a folder durable: without it a power cut can lose a file whose bytes are safe. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await openFile(path, 'r')
  try {
    await syncFile(folder)
  } finally {
    closeSync(folder)
  }
}

/** The same for who starts, and may hold everything up. */
export function syncFolderNow(path: string): void {
  const folder = openSync(path, 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}

/** What a file system says that gives no file a second name: exFAT, some of networks. */
const withoutLinks = new Set(['ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EPERM', 'EMLINK'])

/**
 * Gives a durable file a second name, or a durable copy of itself where it can have none. The name itself is durable once
 * its folder is synced. Fails with EEXIST where there is something of that name.
 */
export async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await link(from, to)
  } catch (error) {
    if (!withoutLinks.has((error as NodeJS.ErrnoException).code ?? '')) throw error
    await copyFile(from, to, constants.COPYFILE_EXCL)
    const copy = await open(to, 'r+')
    try {
      await copy.sync()
    } finally {
      await copy.close()
    }
  }
}

/**
 * Silent where there is no such file.
 * @returns whether there was one
 * @throws {Fault} `service_unavailable` where it is still there
 */
export async function removeFile(path: string): Promise<boolean> {
  try {
    await unlink(path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw storageFault(error)
  }
}

/** Likewise; and a power cut does not bring it back. */
export async function removeForGood(path: string): Promise<void> {
  if (!(await removeFile(path))) return
  await syncFolder(dirname(path)).catch((error) => {
    throw storageFault(error)
  })
}

/** Whatever the disk says, to a client it is one thing; the cause is for the log. */
export function storageFault(cause: unknown): Fault {
  if (cause instanceof Fault) return cause
  return new Fault(
    'service_unavailable',
    'The storage cannot be used at the moment. Nothing was stored. Retry shortly.',
    { retryAfterSeconds: 10, cause },
  )
}
