/** `assetd copy`: from a data folder to PostgreSQL and a bucket, and back, as processes. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import { announce, call, put } from '../api.ts'
import { newFile, newUpload, type Sent, send, sha256 } from '../crash/uploads.ts'
import {
  assetd,
  contentsOf,
  launcher,
  type RunningService,
  startService,
  withoutSettings,
} from '../service.ts'
import { noPostgres, type PostgresServer, startPostgres } from './postgres.ts'
import { credentials, freshBucket, type S3Server } from './s3.ts'
import { noVersitygw, startVersitygw } from './versitygw.ts'

describe('assetd copy', { skip: noPostgres || noVersitygw, concurrency: false }, () => {
  let postgres: PostgresServer
  let s3: S3Server
  before(async () => {
    postgres = await startPostgres()
    s3 = await startVersitygw()
  })
  after(async () => {
    await postgres.remove()
    await s3.remove()
  })

  type Target = { options: string[]; env: Record<string, string> }

  async function shared(): Promise<Target> {
    const [url, { bucket }] = [await postgres.freshUrl(), await freshBucket(s3)]
    const endpoint = `http://127.0.0.1:${s3.port}`
    return {
      options: [
        ...['--to-database', url, '--to-s3-bucket', bucket, '--to-s3-endpoint', endpoint],
        ...['--to-s3-force-path-style', 'on', '--to-s3-region', 'us-east-1'],
      ],
      env: {
        ...credentials,
        ASSETD_DATABASE_URL: url,
        ASSETD_S3_BUCKET: bucket,
        ASSETD_S3_ENDPOINT: endpoint,
        ASSETD_S3_FORCE_PATH_STYLE: 'on',
        ASSETD_S3_REGION: 'us-east-1',
      },
    }
  }

  function folder(context: TestContext): string {
    const made = mkdtempSync(join(tmpdir(), 'assetd-copy-'))
    context.after(() => rmSync(made, { recursive: true, force: true }))
    return made
  }

  type Run = { status: number | null; out: string; errors: string }
  async function run(env: Record<string, string>, args: string[], isEnough?: () => boolean): Promise<Run> {
    const child = spawn(process.execPath, [launcher, ...args], {
      env: { ...withoutSettings(process.env), ...credentials, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let [out, errors] = ['', '']
    child.stdout.on('data', (data) => {
      out += data
    })
    child.stderr.on('data', (data) => {
      errors += data
    })
    const watch = setInterval(() => isEnough?.() && child.kill('SIGTERM'), 20)
    const status = await new Promise<number | null>((resolve) => child.once('close', resolve))
    clearInterval(watch)
    return { status, out, errors }
  }

  /** What a client can see of a service, but for the host in its URLs. */
  async function seen(service: RunningService, all: readonly Sent[]): Promise<unknown> {
    const strip = (text: string): string =>
      text.replaceAll(service.url, '<url>').replace(/"request_id":"[^"]*"/g, '')
    const files = []
    for (const sent of all) {
      const { asset_id, url } = JSON.parse(String(sent.acknowledged)).data
      const response = await fetch(service.url + new URL(url).pathname)
      const bytes = new Uint8Array(await response.arrayBuffer())
      const headers = ['etag', 'last-modified', 'content-type'].map((name) => response.headers.get(name))
      files.push([
        response.status,
        sha256(bytes),
        headers,
        strip((await call(service, 'GET', `/v3/assets/${asset_id}`)).body),
      ])
    }
    const list = strip((await call(service, 'GET', '/v3/assets?limit=100')).body)
    const search = strip((await call(service, 'GET', '/v3/assets/search?type=image&query=png')).body)
    return { files, list, search }
  }

  /** A service with a little of everything. */
  async function filled(dataDir: string) {
    const service = await startService({ dataDir, env: { ASSETD_PUBLIC_URL: 'https://media.example.com' } })
    const all = [newUpload(), newUpload(), newUpload(), newUpload()]
    for (const sent of all) assert.equal((await send(service, sent))?.status, 200)
    const file = newFile(100_000)
    const announced = await announce(service, { content_type: 'audio/wav', size_bytes: file.length })
    const upload_url =
      service.url + new URL(announced.upload_url).pathname + new URL(announced.upload_url).search
    await put({ ...announced, upload_url }, file)
    const completed = await call(service, 'POST', `/v3/assets/${announced.asset_id}/complete`, {})
    assert.equal(completed.status, 200)
    all.push({ ...newUpload(file), acknowledged: completed.body })
    await announce(service, { content_type: 'audio/wav', size_bytes: 5 }) // never put
    const key = assetd(dataDir, 'keys', 'create').stdout.trim()
    const revoked = assetd(dataDir, 'keys', 'create').stdout.trim()
    assert.equal(assetd(dataDir, 'keys', 'revoke', revoked).status, 0)
    const token = assetd(dataDir, 'tokens', 'create').stdout.trim()
    return { service, all, key, revoked, token }
  }

  const statusWith = async (service: RunningService, headers: Record<string, string>): Promise<number> => {
    const response = await fetch(`${service.url}/v3/users/me`, { headers })
    await response.arrayBuffer()
    return response.status
  }

  test('there and back: ids, URLs, keys, tokens, answers and bytes are the same', async (context) => {
    const dataDir = folder(context)
    const { service, all, key, revoked, token } = await filled(dataDir)
    const original = await seen(service, all)
    await service.stop({ keepData: true })

    const target = await shared()
    const there = await run({ ASSETD_DATA_DIR: dataDir }, ['copy', ...target.options])
    assert.equal(there.status, 0, there.errors)
    assert.match(there.out, /^5 assets copied \(\d+ bytes\), 0 there already, 0 wrong/)
    const again = await run({ ASSETD_DATA_DIR: dataDir }, ['copy', '--json', ...target.options])
    assert.deepEqual(JSON.parse(again.out), { copied: 0, copied_bytes: 0, skipped: 5, wrong: 0, removed: 0 })

    const back = join(folder(context), 'back')
    const publicUrl = { ASSETD_PUBLIC_URL: 'https://media.example.com' }
    const inBucket = { ...target.env, ASSETD_API_KEY: service.key, ...publicUrl }
    const moved = await startService({ env: inBucket })
    const returned = await run(target.env, ['copy', '--to-data-dir', back])
    assert.equal(returned.status, 0, returned.errors)
    const home = await startService({ dataDir: back, env: { ASSETD_API_KEY: service.key, ...publicUrl } })
    for (const copy of [moved, home]) {
      assert.deepEqual(await seen(copy, all), original)
      assert.equal(await statusWith(copy, { 'x-api-key': key }), 200)
      assert.equal(await statusWith(copy, { 'x-api-key': revoked }), 401)
      assert.equal(await statusWith(copy, { authorization: `Bearer ${token}` }), 200)
      for (const sent of all.slice(0, 4)) {
        const replay = await send(copy, sent)
        assert.deepEqual([replay?.status, replay?.body, replay?.replayed], [200, sent.acknowledged, true])
      }
    }
    await home.stop({ keepData: true })
    await moved.stop()
    for (const env of [target.env, { ASSETD_DATA_DIR: back }] as Record<string, string>[]) {
      const fsck = await run(env, ['fsck', '--deep'])
      assert.equal(fsck.status, 0, fsck.out + fsck.errors)
      assert.match(fsck.out, /^5 assets, \d+ bytes, all read; 0 disagreements/)
    }
    assert.deepEqual(contentsOf(back).incoming, [])
  })

  test('cut off and run again: what is there is not done twice, what was deleted meanwhile goes, and nothing starts on a half', async (context) => {
    const dataDir = folder(context)
    const { service, all } = await filled(dataDir)
    const more = Array.from({ length: 60 }, () => newUpload(newFile(2_000_000)))
    for (const sent of more) assert.equal((await send(service, sent))?.status, 200)
    const target = await shared()
    const count = "SELECT count(*) FROM assets WHERE state = 'completed'"
    const isUnderWay = (): boolean =>
      Number(spawnSync('psql', ['-qAt', String(target.env.ASSETD_DATABASE_URL), '-c', count]).stdout) >= 8
    const cut = await run({ ASSETD_DATA_DIR: dataDir }, ['copy', ...target.options], isUnderWay)
    assert.notEqual(cut.status, 0, 'it was cut off')
    await assert.rejects(
      startService({ env: target.env }),
      /a copy into these records was not finished: run assetd copy again/,
    )
    const [first] = all as [Sent]
    const { asset_id } = JSON.parse(String(first.acknowledged)).data
    assert.equal((await call(service, 'DELETE', `/v3/assets/${asset_id}`)).status, 200)
    await service.stop({ keepData: true })
    const rest = await run({ ASSETD_DATA_DIR: dataDir }, ['copy', '--json', ...target.options])
    assert.equal(rest.status, 0, rest.errors)
    const { copied, skipped, wrong, removed } = JSON.parse(rest.out)
    assert.deepEqual([copied + skipped, wrong], [64, 0])
    assert.ok(skipped > 0 && copied > 0 && removed === 1, rest.out)
    const fsck = await run(target.env, ['fsck', '--deep'])
    assert.match(fsck.out, /^64 assets, \d+ bytes, all read; 0 disagreements/)
  })

  test('what is damaged stays behind, named, and the others go', async (context) => {
    const dataDir = folder(context)
    const { service } = await filled(dataDir)
    await service.stop({ keepData: true })
    const [one, two] = contentsOf(dataDir).assets as [Record<string, unknown>, Record<string, unknown>]
    const pathOf = ({ blob_key }: Record<string, unknown>): string =>
      join(dataDir, 'blobs', String(blob_key).slice(0, 2), String(blob_key))
    truncateSync(pathOf(one), 10)
    rmSync(pathOf(two))
    const { options } = await shared()
    const copied = await run({ ASSETD_DATA_DIR: dataDir }, ['copy', ...options])
    assert.equal(copied.status, 1)
    assert.match(copied.out, /^3 assets copied .* 2 wrong/)
    assert.match(copied.errors, new RegExp(`wrong: ${one.asset_id}: its file has 10 bytes`))
    assert.match(copied.errors, new RegExp(`wrong: ${two.asset_id}: its file is missing`))
  })

  test('a target that is in use, or too little of one, is refused in one line', async (context) => {
    const dataDir = folder(context)
    const { service } = await filled(dataDir)
    await service.stop({ keepData: true })
    const used = folder(context)
    await (await startService({ dataDir: used })).stop({ keepData: true })
    const env = { ASSETD_DATA_DIR: dataDir }
    for (const [args, words, status] of [
      [
        ['--to-data-dir', used],
        /^assetd: the records of the target are those of a service already: name an empty target\n$/,
        1,
      ],
      [[], /^assetd: copy needs to know where records and files go[^\n]*\n$/, 2],
      [['--to-database', 'postgres://h/d'], /^assetd: copy needs to know where/, 2],
      [['--to-s3-bucket', 'No', '--to-data-dir', used], /^assetd: --to-s3-bucket is "No"[^\n]*\n$/, 2],
      [['--to-data-dir', dataDir], /^assetd: [^\n]*\n$/, 1],
    ] as const) {
      const refused = await run(env, ['copy', ...args])
      assert.match(refused.errors, words)
      assert.equal(refused.status, status)
    }
    const closed = await shared()
    const away = closed.options.map((word) => word.replace(/127\.0\.0\.1:\d+$/, '127.0.0.1:1'))
    const refused = await run(env, [
      'copy',
      ...away.map((word) => (word.startsWith('postgres') ? String(closed.env.ASSETD_DATABASE_URL) : word)),
    ])
    assert.match(refused.errors, /^assetd: The bucket .* cannot be reached: is --to-s3-endpoint [^\n]*\n$/)
    assert.equal(refused.status, 1, 'it ends')
    const others = folder(context)
    await (await startService({ dataDir: others })).stop({ keepData: true })
    const target = await shared()
    assert.equal((await run(env, ['copy', ...target.options])).status, 0)
    const theirs = await run({ ASSETD_DATA_DIR: others }, ['copy', ...target.options])
    assert.match(theirs.errors, /are a copy of another service: name an empty target\n$/)
    assert.ok(readdirSync(dataDir).length > 0)
  })
})
