/** What the parts `copies` and `cpu` have in common: stores, copies on them, and bursts of uploads. */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type CopyProcess, startCopy } from '../test/scale/copy-process.ts'
import { noPostgres, type PostgresServer, startPostgres } from '../test/scale/postgres.ts'
import { noRedis, type RedisServer, startRedis } from '../test/scale/redis.ts'
import { credentials, freshBucket, type S3Server } from '../test/scale/s3.ts'
import { noVersitygw, startVersitygw } from '../test/scale/versitygw.ts'
import { buildLoadGenerator, type LoadGenerator, type LoadResult } from './load.ts'
import { sampleFile } from './measure.ts'
import { findProgram, Unable } from './programs.ts'

export type Burst = { title: string; sizeBytes: number; parallel: number; uploads: number }

export const bursts: readonly Burst[] = [
  { title: '32 MB, 4 at once', sizeBytes: 32 * 1024 * 1024, parallel: 4, uploads: 24 },
  { title: '100 KB, 32 at once', sizeBytes: 100_000, parallel: 32, uploads: 1_500 },
]

export type Closing = (() => Promise<void> | void)[]

/** Everything that was started, for a signal: each part takes its own things out again when it ends by itself. */
export const open: Closing = []

export async function closeAll(closing: Closing): Promise<void> {
  for (let one = closing.pop(); one !== undefined; one = closing.pop()) await one()
}

export type Ground = {
  postgres: PostgresServer
  s3: S3Server
  redis: RedisServer
  load: LoadGenerator
  folder: string
  key: string
}

/** @throws {Unable} where something is missing */
export async function prepareGround(closing: Closing): Promise<Ground> {
  const go = findProgram('go')
  const missing = [noPostgres, noVersitygw, noRedis, go === null && 'Go is not installed (Debian: golang-go)']
  for (const reason of missing) if (typeof reason === 'string') throw new Unable(reason)
  const folder = mkdtempSync(join(tmpdir(), 'assetd-bench-'))
  closing.push(() => rmSync(folder, { recursive: true, force: true }))
  const load = await buildLoadGenerator(go ?? '', folder)
  const postgres = await startPostgres({ max_wal_size: '4GB' })
  closing.push(() => postgres.remove())
  const s3 = await startVersitygw()
  closing.push(() => s3.remove())
  const redis = await startRedis()
  closing.push(() => redis.remove())
  return { postgres, s3, redis, load, folder, key: randomBytes(24).toString('hex') }
}

/** Settings of copies that share fresh stores. */
export async function sharedStores(ground: Ground): Promise<Record<string, string>> {
  const { bucket } = await freshBucket(ground.s3)
  return {
    ASSETD_DATABASE_URL: await ground.postgres.freshUrl(),
    ASSETD_S3_BUCKET: bucket,
    ASSETD_S3_ENDPOINT: `http://127.0.0.1:${ground.s3.port}`,
    ASSETD_S3_REGION: 'us-east-1',
    ASSETD_S3_FORCE_PATH_STYLE: 'on',
    ...credentials,
  }
}

/** A limit that is checked and never met, as in `npm run bench`. */
export async function startMeasured(
  ground: Ground,
  settings: Record<string, string>,
  closing: Closing,
): Promise<CopyProcess> {
  const copy = await startCopy({
    ASSETD_API_KEY: ground.key,
    ASSETD_RATE_LIMIT: '1000000/sec',
    ...settings,
  })
  closing.push(() => copy.stop())
  return copy
}

/** @throws where an upload got another answer than 200 */
export async function send(ground: Ground, url: string, burst: Burst): Promise<LoadResult> {
  execFileSync('sync') // what the last burst left to be written must not slow this one
  const { uploads, parallel } = burst
  const target = { mode: 'multipart', url: `${url}/v3/assets`, expect: '200', key: ground.key } as const
  const file = sampleFile(ground.folder, burst.sizeBytes)
  const load = { file, requests: uploads, parallel, idempotency: true, prefix: 'scale', bodyBytes: -1 }
  const result = await ground.load.run(target, load)
  if (result.errors > 0 || result.count !== uploads)
    throw new Error(`${result.errors} of ${uploads} uploads failed: ${result.firstError}`)
  return result
}
