/** Copies of the service on the same records and the same store, as many as a test needs. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Sent, send, sha256 } from '../crash/uploads.ts'
import { boundary, multipart, open, type RawConnection, requestHead } from '../raw-http.ts'
import { eventually, type RunningService, startService } from '../service.ts'

export type Copies = {
  databaseUrl: string
  /** Given to every copy. */
  key: string
  env: Record<string, string>
  /** The store of the blobs, a folder that all share. */
  folder: string
  start(env?: Record<string, string>, options?: { through?: string[] }): Promise<RunningService>
  /** Runs a command of ours on the same stores. */
  assetd(...args: string[]): { status: number; output: string }
  rows(table: 'assets' | 'direct_uploads' | 'idempotency_keys', columns?: string): Record<string, unknown>[]
  /** Names of the blobs that are stored, and of those that are begun. */
  blobs(): { stored: string[]; begun: string[] }
  remove(): void
}

const launcher = new URL('../../bin/assetd.mjs', import.meta.url).pathname

/** @param databaseUrl of an empty database */
export function copiesOn(databaseUrl: string, settings: Record<string, string> = {}): Copies {
  const folder = mkdtempSync(join(tmpdir(), 'assetd-copies-'))
  const key = 'k'.repeat(40)
  const env = {
    ASSETD_DATABASE_URL: databaseUrl,
    ASSETD_DATA_DIR: folder,
    ASSETD_API_KEY: key,
    ASSETD_IDEMPOTENCY_LEASE_SECONDS: '6',
    ASSETD_RATE_LIMIT: 'off',
    ...settings,
  }
  const namesIn = (dir: string): string[] => (existsSync(dir) ? readdirSync(dir) : [])
  return {
    databaseUrl,
    key,
    env,
    folder,
    start: (more = {}, options = {}) =>
      startService({ dataDir: folder, env: { ...env, ...more }, ...options }),
    assetd(...args) {
      try {
        const output = execFileSync(process.execPath, [launcher, ...args], {
          env: { ...process.env, ...env },
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'pipe'],
        })
        return { status: 0, output }
      } catch (error) {
        const { status, stdout, stderr } = error as { status: number; stdout: string; stderr: string }
        return { status, output: stdout + stderr }
      }
    },
    rows(table, columns = '*') {
      const query = `SELECT coalesce(json_agg(r), '[]') FROM (SELECT ${columns} FROM ${table}) AS r`
      return JSON.parse(execFileSync('psql', ['-qAt', databaseUrl, '-c', query], { encoding: 'utf8' }))
    },
    blobs() {
      const shards = join(folder, 'blobs')
      return {
        stored: namesIn(shards).flatMap((shard) => namesIn(join(shards, shard))),
        begun: namesIn(join(folder, 'incoming')),
      }
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}

/** Begins an upload under its key, all but its last bytes; resolves once the service has its reservation. */
export async function beginUpload(
  copies: Copies,
  service: RunningService,
  sent: Sent,
): Promise<RawConnection & { finish(): Promise<void> }> {
  const body = multipart([{ name: 'file', fileName: 'a.wav', body: sent.file }])
  const connection = await open(service)
  const head = requestHead('POST /v3/assets HTTP/1.1', [
    `x-api-key: ${service.key}`,
    `Idempotency-Key: ${sent.key}`,
    `Content-Type: multipart/form-data; boundary=${boundary}`,
    `Content-Length: ${body.length}`,
  ])
  await connection.send(head, body.subarray(0, -1_000))
  await eventually(() =>
    assert.ok(copies.rows('idempotency_keys', 'key').some(({ key }) => key === sent.key)),
  )
  return Object.assign(connection, { finish: () => connection.send(body.subarray(-1_000)) })
}

/** Everything acknowledged is served whole by that copy, each key has one asset, and nothing else is left. */
export async function assertWhole(
  copies: Copies,
  service: RunningService,
  all: readonly Sent[],
): Promise<void> {
  for (const sent of all) {
    const before = sent.acknowledged
    // What could not be taken back while the database was gone keeps its key until its lease ends.
    const answer = await eventually(async () => {
      const tried = await send(service, sent)
      if (tried === null) throw new Error('the connection dropped')
      assert.equal(tried.status, 200, tried.body)
      return tried
    }, 20_000)
    if (before !== null) assert.deepEqual([answer.body, answer.replayed], [before, true])
    const { data } = JSON.parse(String(sent.acknowledged)) as { data: { url: string } }
    const response = await fetch(service.url + new URL(data.url).pathname)
    assert.equal(response.status, 200, `the asset of ${sent.key} is acknowledged`)
    assert.equal(sha256(new Uint8Array(await response.arrayBuffer())), sent.sha256)
  }
  await assertNothingStray(copies, all)
}

/** Within some seconds, a lease or two, nothing is there but the assets of these uploads. */
export async function assertNothingStray(copies: Copies, all: readonly Sent[]): Promise<void> {
  await eventually(() => {
    const assets = copies.rows('assets', 'state, sha256, blob_key')
    assert.deepEqual(
      assets.filter(({ state }) => state !== 'completed'),
      [],
      'unfinished rows',
    )
    assert.deepEqual(
      assets.map(({ sha256 }) => String(sha256)).toSorted(),
      all.map((sent) => sent.sha256).toSorted(),
    )
    const { stored, begun } = copies.blobs()
    assert.deepEqual(stored.toSorted(), assets.map(({ blob_key }) => String(blob_key)).toSorted())
    assert.deepEqual(begun, [])
  }, 90_000)
}
