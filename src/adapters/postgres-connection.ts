/** What comes before the first query: is this a PostgreSQL that keeps what it acknowledges, and has it our tables? */
import { Client, type ClientConfig, types } from 'pg'
import { SchemaTooNew } from '../records/database.ts'
import { type PostgresMigration, postgresMigrations } from '../records/migrations-postgres.ts'
import { StoreRefused, wordsOf } from './store-refused.ts'

/** One line for whoever starts the service; it names no secret. */
export class PostgresRefused extends StoreRefused {
  override readonly name = 'PostgresRefused'
}

const connectMs = 5_000

/** What every connection has in common. */
export function clientConfig(url: string): ClientConfig {
  return {
    connectionString: url,
    connectionTimeoutMillis: connectMs,
    keepAlive: true,
    fallback_application_name: 'assetd',
    types: { getTypeParser },
  }
}

/** All our whole numbers are bigint, and none is larger than a number holds. */
const getTypeParser: typeof types.getTypeParser = (oid: number, format?: 'text' | 'binary') =>
  oid === types.builtins.INT8 ? Number : types.getTypeParser(oid, format as 'text')

/** Where it is, for people; without the user's name and password. */
export function placeOf(url: string): string {
  try {
    const { host, pathname, searchParams } = new URL(url)
    return `PostgreSQL at ${searchParams.get('host') ?? host}${pathname}`
  } catch {
    return 'PostgreSQL'
  }
}

/**
 * Looks at the server, and brings the schema up to this program's version.
 * @throws {PostgresRefused} where it cannot be used, {SchemaTooNew} where a newer assetd has
 */
export async function prepare(
  url: string,
  migrations: readonly PostgresMigration[] = postgresMigrations,
): Promise<void> {
  const place = placeOf(url)
  const client = new Client(clientConfig(url))
  client.on('error', () => {}) // the query that is under way fails with it
  try {
    await client.connect()
    await assertDurable(client, place)
    await migrate(client, migrations)
  } catch (error) {
    if (error instanceof PostgresRefused || error instanceof SchemaTooNew) throw error
    throw new PostgresRefused(`${place} cannot be used: ${wordsOf(error)}`)
  } finally {
    await client.end().catch(() => {})
  }
}

export type PostgresFacts = {
  place: string
  serverVersion: string
  /** Of the schema that is there; 0 where there is none yet. */
  schemaVersion: number
  newestVersion: number
  roundTripMs: number
  /** How far its clock is ahead of this machine's. */
  aheadMs: number
}

/**
 * Looks at the server, and changes nothing.
 * @throws {PostgresRefused} where it cannot be used
 */
export async function inspectPostgres(url: string): Promise<PostgresFacts> {
  const place = placeOf(url)
  const client = new Client(clientConfig(url))
  client.on('error', () => {})
  try {
    await client.connect()
    await assertDurable(client, place)
    const before = performance.now()
    const { rows } = await client.query(
      `SELECT current_setting('server_version') AS version, extract(epoch FROM clock_timestamp()) * 1000 AS now,
        to_regclass('assetd_schema') IS NOT NULL AS known, has_schema_privilege(current_schema(), 'CREATE') AS may`,
    )
    const roundTripMs = performance.now() - before
    const [{ version, now, known, may }] = rows
    if (!may) throw new Error('permission denied: this user may not make tables in its schema')
    return {
      place,
      serverVersion: version,
      schemaVersion: known ? (await schemaVersion(client)).version : 0,
      newestVersion: postgresMigrations.at(-1)?.version ?? 0,
      roundTripMs,
      aheadMs: Number(now) - (Date.now() - roundTripMs / 2),
    }
  } catch (error) {
    if (error instanceof PostgresRefused) throw error
    throw new PostgresRefused(`${place} cannot be used: ${wordsOf(error)}`)
  } finally {
    await client.end().catch(() => {})
  }
}

/** What must not be so, and what to do about it. */
const refusals: readonly [wrong: (seen: Seen) => boolean, why: string][] = [
  [(seen) => seen.version < 140_000, 'is older than version 14'],
  [
    (seen) => seen.encoding !== 'UTF8',
    'has another encoding than UTF8: make the database with ENCODING UTF8',
  ],
  [(seen) => seen.standby, 'is a standby, which cannot write: name the primary'],
  [(seen) => seen.readonly, 'lets this user only read (default_transaction_read_only)'],
  [(seen) => seen.fsync === 'off', 'runs with fsync=off and would lose files at a power cut: turn it on'],
  [(seen) => seen.full_pages === 'off', 'runs with full_page_writes=off: turn it on'],
  [
    (seen) => seen.commit === 'off',
    'runs with synchronous_commit=off and would lose acknowledged uploads: set it to on for this user or database',
  ],
]

type Seen = {
  version: number
  encoding: string
  standby: boolean
  readonly: boolean
  fsync: string
  full_pages: string
  commit: string
}

async function assertDurable(client: Client, place: string): Promise<void> {
  const { rows } = await client.query<Seen>(`
    SELECT current_setting('server_version_num')::int AS version,
      current_setting('server_encoding') AS encoding,
      pg_is_in_recovery() AS standby,
      current_setting('transaction_read_only')::bool AS readonly,
      current_setting('fsync') AS fsync,
      current_setting('full_page_writes') AS full_pages,
      current_setting('synchronous_commit') AS commit`)
  for (const [isWrong, why] of refusals)
    if (rows[0] === undefined || isWrong(rows[0])) throw new PostgresRefused(`${place} ${why}`)
}

/** Any number that no other program on the same database is likely to take. */
const lockKey = 0x61_73_73_65_74_64

/**
 * Each step in a transaction of its own, under a lock, so that of many copies that start at once one takes it. A schema
 * that a newer copy made may still be one that we work with: then an upgrade is under way, and nothing is ours to do.
 */
async function migrate(client: Client, migrations: readonly PostgresMigration[]): Promise<void> {
  const newest = migrations.at(-1)?.version ?? 0
  for (;;) {
    await client.query('BEGIN')
    await client.query('SELECT pg_advisory_xact_lock($1)', [lockKey])
    const { version, worksSince } = await schemaVersion(client)
    if (version > newest && worksSince > newest) throw SchemaTooNew.of(version, newest)
    const next = migrations.find((migration) => migration.version > version)
    if (next !== undefined) {
      await client.query(next.sql)
      await client.query('DELETE FROM assetd_schema')
      await client.query('INSERT INTO assetd_schema (version, works_since) VALUES ($1, $2)', [
        next.version,
        next.worksSince ?? worksSince,
      ])
    }
    await client.query('COMMIT')
    if (next === undefined) return
  }
}

async function schemaVersion(client: Client): Promise<{ version: number; worksSince: number }> {
  const { rows: known } = await client.query(`SELECT to_regclass('assetd_schema') IS NOT NULL AS known`)
  if (known[0]?.known !== true) {
    await client.query('CREATE TABLE assetd_schema (version bigint NOT NULL, works_since bigint)')
    return { version: 0, worksSince: 0 }
  }
  const { rows } = await client.query<{ version: number; works_since?: number | null }>(
    'SELECT * FROM assetd_schema ORDER BY version DESC LIMIT 1',
  )
  const version = rows[0]?.version ?? 0
  return { version, worksSince: rows[0]?.works_since ?? version }
}
