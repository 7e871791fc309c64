/**
 * One service to a data folder. The lock is SQLite's own, on a file of its own: the kernel lets go of it when the
 * process ends, however it ends. It is held by the service's first process; further processes of the same service
 * do not take it, and use the service id that the first one gives them.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { StoreRefused } from './store-refused.ts'

export class FolderInUse extends StoreRefused {
  override readonly name = 'FolderInUse'
}

/**
 * @returns lets go of the lock
 * @throws {FolderInUse} where another service has the folder
 */
export function lockFolder(dataDir: string): () => void {
  const holderFile = join(dataDir, 'service.pid')
  const lock = new DatabaseSync(join(dataDir, 'service.lock'))
  try {
    lock.exec('PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE')
  } catch (error) {
    lock.close()
    if (!/locked/.test(String(error))) throw error
    throw new FolderInUse(`another assetd${holder(holderFile)} uses the data folder ${dataDir}`)
  }
  writeFileSync(holderFile, `${process.pid}\n`, { mode: 0o600 })
  return () => lock.close()
}

/** Removes the files of the lock, for who holds it and leaves nothing that runs. */
export function forgetLock(dataDir: string): void {
  for (const name of ['service.lock', 'service.pid']) rmSync(join(dataDir, name), { force: true })
}

function holder(file: string): string {
  try {
    return ` (process ${readFileSync(file, 'utf8').trim()})`
  } catch {
    return ''
  }
}
