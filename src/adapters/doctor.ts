/** Tries everything that the settings name, as a service would use it, and says of each what works and what to do. */
import { existsSync } from 'node:fs'
import { access, constants, statfs } from 'node:fs/promises'
import type { Config, StoreConfig } from '../config.ts'
import type { S3Settings } from '../config-stores.ts'
import { migrations } from '../records/migrations.ts'
import { databaseFile } from './data-folder.ts'
import { fetchKeys } from './remote-issuer.ts'
import { FolderInUse, lockFolder } from './service-lock.ts'
import { integrityFaults, schemaVersionOf } from './sqlite-connection.ts'
import { assertTogether, openBlobsOf, openRecordsOf } from './stores.ts'

export type Finding = {
  /** `note`: works but for something that not everybody needs. */
  verdict: 'ok' | 'FAIL' | 'note'
  what: 'records' | 'files' | 'together' | 'browsers' | 'counters' | 'issuer'
  line: string
}

/** A clock that is further off than this makes nothing wrong, and is worth to be known. */
const wrongClockMs = 5_000

export async function* examine(config: Config): AsyncGenerator<Finding> {
  const { stores, oauth } = config
  const records = await found('records', () => lookAtRecords(config))
  yield records
  const files = await found('files', () => lookAtFiles(config))
  yield files
  if (records.verdict === 'ok' && files.verdict === 'ok')
    yield await found('together', () => lookAtBoth(config))
  if (stores.s3 !== null && files.verdict === 'ok') yield* lookAtBrowsers(stores.s3, config)
  if (stores.redisUrl !== null) yield await found('counters', () => lookAtRedis(stores.redisUrl ?? ''))
  if (oauth !== null) yield await found('issuer', () => lookAtIssuer(oauth.issuer))
}

async function found(what: Finding['what'], look: () => Promise<string>): Promise<Finding> {
  try {
    return { verdict: 'ok', what, line: await look() }
  } catch (error) {
    const { message, cause } = error as Error
    return { verdict: 'FAIL', what, line: cause instanceof Error ? `${message} (${cause.message})` : message }
  }
}

async function lookAtRecords({ dataDir, stores }: StoreConfig): Promise<string> {
  if (stores.database === null) return lookAtSqlite(dataDir)
  const { inspectPostgres } = await import('./postgres-connection.ts')
  const facts = await inspectPostgres(stores.database.url)
  const { place, serverVersion, schemaVersion, newestVersion, roundTripMs, aheadMs } = facts
  const schema =
    schemaVersion === 0
      ? 'no schema yet, which the first start or assetd migrate makes'
      : `schema ${schemaVersion}${schemaVersion === newestVersion ? '' : ` (this program's is ${newestVersion})`}`
  const clock =
    Math.abs(aheadMs) < wrongClockMs
      ? ''
      : `; this machine's clock is ${Math.round(Math.abs(aheadMs) / 1000)} s ${aheadMs > 0 ? 'behind' : 'ahead of'} it, and the database's is the one that counts: set this one right`
  return `${place}: version ${serverVersion}, ${schema}, answers within ${roundTripMs.toFixed(1)} ms${clock}`
}

async function lookAtSqlite(dataDir: string): Promise<string> {
  const file = databaseFile(dataDir)
  if (!existsSync(file)) return `SQLite in ${dataDir}: nothing there yet, which the first start makes`
  const [fault] = integrityFaults(file, false)
  if (fault !== undefined)
    throw new Error(
      `${file} is damaged (${fault}): stop the service, and restore a backup into another folder`,
    )
  return `SQLite in ${dataDir}: sound${isInUse(dataDir) ? ', and a service runs on it' : ''}`
}

function isInUse(dataDir: string): boolean {
  try {
    lockFolder(dataDir)()
    return false
  } catch (error) {
    return error instanceof FolderInUse
  }
}

async function lookAtFiles(config: Config): Promise<string> {
  const { dataDir, stores, minFreeBytes } = config
  if (stores.s3 !== null) return lookAtBucket(stores.s3)
  if (!existsSync(dataDir)) return `the folder ${dataDir}: not there yet, which the first start makes`
  await access(dataDir, constants.W_OK | constants.X_OK).catch((error) => {
    throw new Error(`the folder ${dataDir} cannot be written to (${error.code}): make it this user's own`)
  })
  const { bavail, bsize } = await statfs(dataDir)
  const freeBytes = bavail * bsize
  if (freeBytes < minFreeBytes)
    throw new Error(
      `the folder ${dataDir} has ${freeBytes} bytes free, below ASSETD_MIN_FREE_BYTES (${minFreeBytes}): free some, or lower it`,
    )
  return `the folder ${dataDir}: can be written to, ${Math.floor(freeBytes / 1024 ** 2)} MiB free`
}

async function lookAtBucket(s3: S3Settings): Promise<string> {
  const { probeS3, s3PlaceOf } = await import('./s3-probe.ts')
  const findings = await probeS3(s3)
  const wrong = findings.filter(({ isFine }) => !isFine)
  if (wrong.length > 0) throw new Error(wrong.map(({ line }) => line).join('; '))
  return `${s3PlaceOf(s3)}: ${findings.map(({ tried }) => tried).join(', ')} work`
}

/** Pages put large files straight to the bucket: those of the settings have to be let, and ours should be. */
async function* lookAtBrowsers(s3: S3Settings, { corsOrigins, publicUrl }: Config): AsyncGenerator<Finding> {
  const named = corsOrigins.filter((origin) => origin !== '*')
  const own = publicUrl === null ? [] : [new URL(publicUrl).origin]
  const origins = [...new Set([...named, ...own])]
  const { probeS3Cors } = await import('./s3-cors.ts')
  for (const [at, { isFine, line }] of (await probeS3Cors(s3, origins)).entries()) {
    const isAsked = named.includes(origins[at] ?? '')
    yield { verdict: isFine ? 'ok' : isAsked ? 'FAIL' : 'note', what: 'browsers', line }
  }
}

async function lookAtBoth(config: Config): Promise<string> {
  if (!(await hasOurSchema(config)))
    return 'not looked at: the records do not have the schema of this program yet, which assetd migrate or a start makes'
  const { database } = await openRecordsOf(config)
  try {
    await assertTogether(database, await openBlobsOf(config), config)
    return 'records and files belong together'
  } finally {
    await database.close()
  }
}

/** To open records makes their schema, which is not for us to do. */
async function hasOurSchema({ dataDir, stores }: StoreConfig): Promise<boolean> {
  if (stores.database === null) {
    const file = databaseFile(dataDir)
    return existsSync(file) && schemaVersionOf(file) === migrations.length
  }
  const { inspectPostgres } = await import('./postgres-connection.ts')
  const { schemaVersion, newestVersion } = await inspectPostgres(stores.database.url)
  return schemaVersion === newestVersion
}

async function lookAtRedis(url: string): Promise<string> {
  const { probeRedis, redisAt } = await import('./redis-connection.ts')
  await probeRedis(url)
  return `${redisAt(url)}: counts`
}

async function lookAtIssuer(issuer: string): Promise<string> {
  try {
    const { keys } = await fetchKeys({ issuer })
    return `${issuer}: publishes ${keys.length} keys`
  } catch (error) {
    throw new Error(
      `${issuer}: its keys cannot be had (${(error as Error).message}), so its tokens are refused: check ASSETD_OAUTH_ISSUER and the way there`,
    )
  }
}
