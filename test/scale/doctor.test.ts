/** `assetd doctor` on real stores, sound ones and others, and `assetd migrate`. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { exampleFile, launcher, startService, upload, withoutSettings } from '../service.ts'
import { noPostgres, type PostgresServer, startPostgres } from './postgres.ts'
import { noRedis, type RedisServer, startRedis } from './redis.ts'
import { credentials, freshBucket, type S3Server } from './s3.ts'
import { noVersitygw, startVersitygw } from './versitygw.ts'

const run = (env: Record<string, string>, ...args: string[]) => {
  const all = { ...withoutSettings(process.env), ...credentials, ...env }
  return spawnSync(process.execPath, [launcher, ...args], { encoding: 'utf8', env: all })
}
const findings = (text: string): Record<string, unknown>[] =>
  text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))

describe('assetd doctor', { skip: noPostgres || noVersitygw || noRedis }, () => {
  let postgres: PostgresServer
  let s3: S3Server
  let redis: RedisServer
  const dataDir = mkdtempSync(join(tmpdir(), 'assetd-doctor-'))
  before(async () => {
    postgres = await startPostgres()
    s3 = await startVersitygw()
    redis = await startRedis()
  })
  after(async () => {
    await postgres.remove()
    await s3.remove()
    await redis.remove()
    rmSync(dataDir, { recursive: true })
  })

  async function sound(): Promise<Record<string, string>> {
    const { bucket } = await freshBucket(s3)
    return {
      ASSETD_DATABASE_URL: await postgres.freshUrl(),
      ASSETD_S3_BUCKET: bucket,
      ASSETD_S3_ENDPOINT: `http://127.0.0.1:${s3.port}`,
      ASSETD_S3_REGION: 'us-east-1',
      ASSETD_S3_FORCE_PATH_STYLE: 'on',
      ASSETD_REDIS_URL: redis.url,
    }
  }

  test('a line for each that works, before the first start, after migrate and after a start', async () => {
    const env = await sound()
    const first = run(env, 'doctor')
    assert.equal(first.status, 0, first.stdout + first.stderr)
    assert.match(first.stdout, /^ok {4}records: PostgreSQL at .*: version 1\d.*, no schema yet/m)
    assert.match(first.stdout, /^ok {4}files: The bucket .*: .*put.* work$/m)
    assert.match(first.stdout, /^ok {4}counters: Redis at /m)
    assert.match(run(env, 'doctor').stdout, /no schema yet/, 'it has changed nothing')
    assert.equal(run(env, 'migrate').status, 0)
    assert.match(run(env, 'doctor').stdout, /, schema \d+, answers/)
    const service = await startService({ env })
    await service.stop()
    const last = run(env, 'doctor', '--json')
    assert.deepEqual(
      findings(last.stdout).map(({ what, verdict }) => [what, verdict]),
      [
        ['records', 'ok'],
        ['files', 'ok'],
        ['together', 'ok'],
        ['counters', 'ok'],
      ],
    )
    assert.doesNotMatch(first.stdout + last.stdout, /not-a-secret|assetd:secret/)
  })

  test('case 98: a line for each that does not, what to do, and status 1; the same stops a start', async () => {
    const env = await sound()
    const [slack, elsewhere] = [await postgres.freshUrl({ synchronous_commit: 'off' }), await sound()]
    await (await startService({ env: elsewhere })).stop()
    for (const [wrong, words] of [
      [
        { ASSETD_DATABASE_URL: slack },
        /FAIL {2}records: PostgreSQL at .*synchronous_commit=off.*set it to on/,
      ],
      [
        { ASSETD_DATABASE_URL: 'postgres://u:canary@127.0.0.1:1/d' },
        /FAIL {2}records: PostgreSQL at 127.0.0.1:1\/d cannot be used: .*ECONNREFUSED/,
      ],
      [{ ASSETD_S3_BUCKET: 'not-there' }, /FAIL {2}files: The bucket not-there .*/],
      [{ AWS_SECRET_ACCESS_KEY: 'canary' }, /FAIL {2}files: The bucket .*/],
      [{ ASSETD_REDIS_URL: 'redis://:canary@127.0.0.1:2' }, /FAIL {2}counters: Redis at 127.0.0.1:2 .*/],
    ] as [Record<string, string>, RegExp][]) {
      const settings = { ...env, ...wrong }
      const told = run(settings, 'doctor')
      assert.match(told.stdout, words)
      assert.equal(told.status, 1)
      assert.doesNotMatch(told.stdout + told.stderr, /canary|not-a-secret/)
      await assert.rejects(startService({ env: settings }), (error) => {
        assert.match(String(error), /ended with 1: assetd: [^\n]+\n$/)
        assert.doesNotMatch(String(error), /canary|not-a-secret/)
        return true
      })
    }
    const pages = { ...env, ASSETD_PUBLIC_URL: 'https://media.example.com' }
    const shy = run(pages, 'doctor')
    assert.match(
      shy.stdout,
      /^note {2}browsers: The bucket .* does not let pages of https:\/\/media\.example\.com put files/m,
    )
    assert.equal(shy.status, 0, 'not everybody has pages')
    const named = run({ ...pages, ASSETD_CORS_ORIGINS: 'https://app.example.com' }, 'doctor')
    assert.match(named.stdout, /^FAIL {2}browsers: .*app\.example\.com.*CORS rule/m)
    assert.equal(named.status, 1)
    const crossed = { ...elsewhere, ASSETD_S3_BUCKET: String(env.ASSETD_S3_BUCKET) }
    assert.match(run(crossed, 'doctor').stdout, /FAIL {2}together: the bucket .*assetd copy/)
    await assert.rejects(
      startService({ env: crossed }),
      /the bucket .* is not the one that these records belong to/,
    )
  })

  test('fsck with the bucket away says so, and takes no asset from its readers; with another bucket it refuses', async () => {
    const env = await sound()
    const service = await startService({ env })
    const stored = (await (await upload(service, exampleFile)).json()) as { data: { url: string } }
    const isServed = async () => (await fetch(stored.data.url)).status
    const away = run({ ...env, ASSETD_S3_ENDPOINT: 'http://127.0.0.1:1' }, 'fsck', '--deep')
    assert.equal(away.status, 1)
    assert.match(away.stderr, /^assetd: [^\n]*ECONNREFUSED[^\n]*\n$/)
    assert.equal(await isServed(), 200)
    for (const command of [
      ['fsck', '--deep'],
      ['gc', '--older-than', '0s'],
    ]) {
      const other = run({ ...env, ASSETD_S3_PREFIX: 'others' }, ...command)
      assert.match(
        other.stderr,
        /^assetd: the bucket .* is not the one that these records belong to[^\n]*\n$/,
      )
      assert.equal(other.status, 1)
    }
    const beside = {
      ...(await sound()),
      ASSETD_S3_BUCKET: String(env.ASSETD_S3_BUCKET),
      ASSETD_S3_PREFIX: 'beside',
    }
    const second = await startService({ env: beside })
    assert.equal((await upload(second, exampleFile)).status, 200)
    assert.match(
      run(env, 'fsck', '--deep').stdout,
      /^1 assets, .* 0 disagreements/m,
      'a longer prefix is of others',
    )
    assert.equal(await isServed(), 200)
    await second.stop()
    await service.stop()
  })

  test('the embedded default: before the first start, while it runs, and with a wrong folder', async () => {
    const env = { ASSETD_DATA_DIR: join(dataDir, 'new') }
    assert.match(run(env, 'doctor').stdout, /nothing there yet/)
    assert.deepEqual(readdirSync(dataDir), [])
    const service = await startService({ dataDir: env.ASSETD_DATA_DIR })
    const running = run(env, 'doctor')
    assert.equal(running.status, 0, running.stdout)
    assert.match(running.stdout, /sound, and a service runs on it/)
    await service.stop()
  })
})
