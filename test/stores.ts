/**
 * Where the service under test keeps what it has. By itself that is its data folder; where `TEST_STORES` says where
 * PostgreSQL, an S3 server and Redis are, the same tests run on those (`test/scale/black-box.test.ts`). Each data folder
 * then has a database, a bucket and a Redis database of its own, all named after it: a restart on the folder finds them
 * again. Tests look into them by what is here, at once and without the service.
 */
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/** Each may be absent: then that part is in the data folder, or in memory. */
export type TestStores = {
  /** Of a PostgreSQL in which databases may be made, without the name of one. */
  postgres?: string
  /** The program psql itself: Debian's is a script around it, which costs a test more time than the question. */
  psql?: string
  /** An S3 server that keeps each bucket as a folder within `buckets`. */
  s3?: { env: Record<string, string>; buckets: string }
  /** Of a Redis with `redisDatabases` databases. */
  redis?: string
}

export const redisDatabases = 20_000

const stores: TestStores = JSON.parse(process.env.TEST_STORES ?? '{}')

const psqlProgram = stores.psql ?? 'psql'

/** Before each key in a bucket. */
const prefix = 'files'

export type Row = Record<string, unknown>
export type Table = 'assets' | 'idempotency_keys' | 'direct_uploads' | 'batches' | 'api_keys' | 'token_issuer'

/** Why a test that is about SQLite itself does not run, or false. */
export const sqliteOnly = (why: string): string | false =>
  stores.postgres === undefined ? false : `records are in PostgreSQL: ${why}`

/** Why a test that is about files in the data folder does not run, or false. */
export const diskOnly = (why: string): string | false =>
  stores.s3 === undefined ? false : `files are in a bucket: ${why}`

/**
 * How long it may take until what a killed service had under way is taken back: the next start of a service that is alone
 * does it, and one of several waits for the lease to end.
 */
export const takenBackWithinMs = stores.postgres === undefined ? 0 : 60_000

/** What a service may hold open to its stores when nothing is under way: both pools, the sockets to S3, and Redis. */
export const idleConnections =
  (stores.postgres === undefined ? 0 : 2 * 10) +
  (stores.s3 === undefined ? 0 : 50) +
  (stores.redis === undefined ? 0 : 1)

/** Short, so that the tests need not wait long; not so short that a busy machine loses one. */
const leases = { ASSETD_IDEMPOTENCY_LEASE_SECONDS: '5' }

/** The S3 server, which direct uploads are put to past the service; null where the service takes them in itself. */
export const bucketEndpoint: string | null = stores.s3?.env.ASSETD_S3_ENDPOINT ?? null

/** Why a test of the address that the service itself takes direct uploads in at does not run, or false. */
export const ownDoorOnly = diskOnly(
  'direct uploads are put to it, past the service, and it answers in its own words',
)

const made = new Set<string>()

/** The settings of a service, or a command, on a data folder; what they name is there once this returns. */
export function settingsOf(dataDir: string): Record<string, string> {
  const name = nameOf(dataDir)
  if (!made.has(name)) {
    if (stores.postgres !== undefined) makeDatabase(name)
    if (stores.s3 !== undefined) mkdirSync(bucketOf(dataDir), { recursive: true })
    made.add(name)
  }
  return {
    ASSETD_DATA_DIR: dataDir,
    ...(stores.postgres === undefined
      ? {}
      : { ...leases, ASSETD_DATABASE_URL: `${stores.postgres}/${name}` }),
    ...(stores.s3 === undefined
      ? {}
      : { ...stores.s3.env, ASSETD_S3_BUCKET: name, ASSETD_S3_PREFIX: prefix }),
    ...(stores.redis === undefined
      ? {}
      : { ASSETD_REDIS_URL: `${stores.redis}/${Number.parseInt(name.slice(1, 9), 16) % redisDatabases}` }),
  }
}

/** Removes a data folder and all that belongs to it. */
export function removeStores(dataDir: string): void {
  rmSync(dataDir, { recursive: true, force: true })
  const name = nameOf(dataDir)
  if (!made.delete(name)) return
  if (stores.s3 !== undefined) rmSync(bucketOf(dataDir), { recursive: true, force: true })
  if (stores.postgres === undefined) return
  // Nobody waits for it: PostgreSQL makes a checkpoint first.
  const args = ['-X', '-q', `${stores.postgres}/postgres`, '-c', `DROP DATABASE ${name} WITH (FORCE)`]
  spawn(psqlProgram, args, { stdio: 'ignore', detached: true }).unref()
}

/** All rows of these tables, as they are at one moment. */
export function tablesOf<T extends Table>(dataDir: string, ...tables: readonly T[]): Record<T, Row[]> {
  if (stores.postgres !== undefined) {
    const parts = tables.map((one) => `'${one}', (SELECT coalesce(json_agg(r), '[]') FROM ${one} AS r)`)
    return JSON.parse(psql(nameOf(dataDir), `SELECT json_build_object(${parts.join(', ')})`))
  }
  return inSqlite(dataDir, { readOnly: true }, (database) => {
    const rows = tables.map((one) => [one, database.prepare(`SELECT * FROM ${one}`).all()] as const)
    return Object.fromEntries(rows) as Record<T, Row[]>
  })
}

export const rowsOf = (dataDir: string, table: Table): Row[] => tablesOf(dataDir, table)[table]

/** Changes records behind the back of the service; the SQL is one that both databases know. */
export function changeRecords(dataDir: string, sql: string): void {
  if (stores.postgres !== undefined) psql(nameOf(dataDir), sql)
  else inSqlite(dataDir, {}, (database) => database.exec(sql))
}

/** As if a program of that version had been there. */
export function setSchemaVersion(dataDir: string, version: number): void {
  changeRecords(
    dataDir,
    stores.postgres === undefined
      ? `PRAGMA user_version = ${version}`
      : `INSERT INTO assetd_schema (version, works_since) VALUES (${version}, ${version})`,
  )
}

/** Takes away what blobs are put into. */
export function breakBlobStore(dataDir: string): void {
  rmSync(stores.s3 === undefined ? join(dataDir, 'incoming') : bucketOf(dataDir), { recursive: true })
}

/** Where the bytes of a blob are. */
export function blobPath(dataDir: string, key: string): string {
  return stores.s3 === undefined
    ? join(dataDir, 'blobs', key.slice(0, 2), key)
    : join(bucketOf(dataDir), prefix, key)
}

/** The keys of the blobs that are stored. */
export function storedBlobs(dataDir: string): string[] {
  if (stores.s3 !== undefined)
    return namesIn(join(bucketOf(dataDir), prefix)).filter((name) => name !== 'store-id')
  const shards = join(dataDir, 'blobs')
  return readdirSync(shards).flatMap((shard) => readdirSync(join(shards, shard)))
}

/** What of unfinished blobs is in the store. A bucket has parts of large ones alone. */
export function begunBlobs(dataDir: string): string[] {
  return stores.s3 === undefined
    ? readdirSync(join(dataDir, 'incoming'))
    : namesIn(join(bucketOf(dataDir), '.sgwtmp', 'multipart'))
}

/** Those of a process's sockets that lead to its stores, by inode: pools keep them open, whoever asked for them. */
export function storeSockets(pid: number): ReadonlySet<string> {
  const urls = [stores.postgres, stores.s3?.env.ASSETD_S3_ENDPOINT, stores.redis]
  const ports = urls.flatMap((url) => (url === undefined ? [] : Number(new URL(url).port)))
  if (ports.length === 0) return new Set()
  const lines = readFileSync(`/proc/${pid}/net/tcp`, 'latin1').trim().split('\n').slice(1)
  return new Set(
    lines.flatMap((line) => {
      const [, , remote = '', , , , , , , inode = ''] = line.trim().split(/\s+/)
      return ports.includes(Number.parseInt(remote.split(':')[1] ?? '', 16)) ? inode : []
    }),
  )
}

function nameOf(dataDir: string): string {
  return `t${createHash('sha256').update(resolve(dataDir)).digest('hex').slice(0, 20)}`
}

const bucketOf = (dataDir: string): string => join(stores.s3?.buckets ?? '', nameOf(dataDir))
const namesIn = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : [])

function inSqlite<T>(dataDir: string, options: { readOnly?: true }, work: (database: DatabaseSync) => T): T {
  const database = new DatabaseSync(join(dataDir, 'assetd.sqlite'), { ...options, timeout: 5_000 })
  try {
    return work(database)
  } finally {
    database.close()
  }
}

function makeDatabase(name: string): void {
  const isThere = `SELECT FROM pg_database WHERE datname = '${name}'`
  psql('postgres', `SELECT 'CREATE DATABASE ${name}' WHERE NOT EXISTS (${isThere}) \\gexec`)
}

/** @returns what it prints */
function psql(database: string, sql: string): string {
  const args = ['-X', '-qAt', '-v', 'ON_ERROR_STOP=1', `${stores.postgres}/${database}`]
  const { status, stdout, stderr } = spawnSync(psqlProgram, args, {
    encoding: 'utf8',
    input: sql,
    maxBuffer: 2 ** 28,
  })
  if (status !== 0) throw new Error(`psql: ${stderr}`)
  return stdout.trim()
}
