/** A connection to the SQLite file with the settings that durability rests on, for the writer's thread. */
import { existsSync, statSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { SchemaTooNew } from '../records/database.ts'
import { migrations } from '../records/migrations.ts'

/**
 * Opens the file for writing, durable at every commit.
 * @param path made if it is not there
 */
export function openForWriting(path: string): DatabaseSync {
  const connection = new DatabaseSync(path)
  connection.exec(`PRAGMA busy_timeout = ${busyMs}`)
  useWriteAheadLog(connection)
  connection.exec(`
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA checkpoint_fullfsync = ON;
    PRAGMA foreign_keys = ON;
  `)
  // synchronous: under NORMAL a power cut lost 30 of 30 acknowledged rows (docs/decisions/0003-sqlite.md).
  // fullfsync: on macOS a plain fsync leaves the data in the drive's cache; elsewhere it changes nothing.
  return connection
}

const busyMs = 5_000

/** Of two processes that turn the log on at once, SQLite refuses one at once, whatever the busy timeout. */
function useWriteAheadLog(connection: DatabaseSync): void {
  for (const endMs = performance.now() + busyMs; ; ) {
    try {
      connection.exec('PRAGMA journal_mode = WAL')
      return
    } catch (error) {
      if (!/locked/.test(String(error)) || performance.now() > endMs) throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10)
    }
  }
}

/**
 * Sees whether the files that a connection has open are still those that its path names. SQLite goes on writing to
 * files that were deleted or replaced, and says that all is well; the next start would find none of it.
 * @returns throws where a file is another one now
 */
export function watchIdentity(path: string): () => void {
  const files = [path, `${path}-wal`]
  const identity = (file: string): string => {
    const { dev, ino } = statSync(file, { bigint: true })
    return `${dev}:${ino}`
  }
  const opened = files.map(identity)
  return () => {
    for (const [at, file] of files.entries()) {
      if (identity(file) !== opened[at]) throw new Error(`${file} is no longer the file that was opened`)
    }
  }
}

/** Of a file that is there; 0 where nobody has ever written a record into it. */
export function schemaVersionOf(path: string): number {
  const connection = new DatabaseSync(path, { readOnly: true })
  try {
    return schemaVersion(connection)
  } finally {
    connection.close()
  }
}

/** True for a file that is there and has no schema: nobody has ever written a record into it, or all are lost. */
export function isBlank(path: string): boolean {
  if (!existsSync(path)) return false
  try {
    return schemaVersionOf(path) === 0
  } catch {
    return false // what is wrong with it shows when it is opened for good
  }
}

/**
 * What SQLite finds wrong in its own file.
 * @param deep also whether every index agrees with its table, which reads all of both
 */
export function integrityFaults(path: string, deep: boolean): string[] {
  const connection = new DatabaseSync(path, { readOnly: true })
  try {
    connection.exec(`PRAGMA busy_timeout = ${busyMs}`)
    const check = deep ? 'integrity_check' : 'quick_check'
    const lines = connection
      .prepare(`PRAGMA ${check}`)
      .all()
      .map((row) => String(row[check]))
    return lines.filter((line) => line !== 'ok')
  } catch (error) {
    return [String(error)]
  } finally {
    connection.close()
  }
}

/**
 * Brings the schema up to this program's version, each step in a transaction of its own.
 * @throws {SchemaTooNew}
 */
export function migrate(connection: DatabaseSync): void {
  for (;;) {
    const version = schemaVersion(connection)
    if (version > migrations.length) {
      throw SchemaTooNew.of(version, migrations.length)
    }
    if (version === migrations.length) return
    connection.exec('BEGIN IMMEDIATE')
    try {
      // Read again under the lock: another process may have taken this step meanwhile.
      const sql = migrations[schemaVersion(connection)]
      if (sql !== undefined) {
        connection.exec(sql)
        connection.exec(`PRAGMA user_version = ${schemaVersion(connection) + 1}`)
      }
      connection.exec('COMMIT')
    } catch (error) {
      connection.exec('ROLLBACK')
      throw error
    }
  }
}

function schemaVersion(connection: DatabaseSync): number {
  return Number(connection.prepare('PRAGMA user_version').get()?.user_version ?? 0)
}
