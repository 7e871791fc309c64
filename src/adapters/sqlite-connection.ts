/** A connection to the SQLite file with the settings that durability rests on, for the writer's thread. */
import { DatabaseSync } from 'node:sqlite'
import { migrations } from '../records/migrations.ts'

/** The file was written by a newer assetd: running on would risk what we do not understand. */
export class SchemaTooNew extends Error {
  override readonly name = 'SchemaTooNew'
}

/**
 * Opens the file for writing, durable at every commit.
 * @param path made if it is not there
 */
export function openForWriting(path: string): DatabaseSync {
  const connection = new DatabaseSync(path)
  connection.exec(`
    PRAGMA busy_timeout = 5000;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA checkpoint_fullfsync = ON;
    PRAGMA foreign_keys = ON;
  `)
  // synchronous: under NORMAL a power cut lost 30 of 30 acknowledged rows (docs/decisions/0003-sqlite.md).
  // fullfsync: on macOS a plain fsync leaves the data in the drive's cache; elsewhere it changes nothing.
  return connection
}

/**
 * Brings the schema up to this program's version, each step in a transaction of its own.
 * @throws {SchemaTooNew}
 */
export function migrate(connection: DatabaseSync): void {
  for (;;) {
    const version = schemaVersion(connection)
    if (version > migrations.length) {
      throw new SchemaTooNew(
        `its schema has version ${version}, and this assetd knows versions up to ${migrations.length}: run the newer assetd that wrote it`,
      )
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
