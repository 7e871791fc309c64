/** The database, locked, deleted, replaced and broken by somebody else while the service runs. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { copyFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, it } from 'node:test'
import { wav } from '../media/samples.ts'
import { assertClean, assertError, baseline, plain } from '../raw-http.ts'
import { assetd, eventually, type RunningService, startService, upload } from '../service.ts'

const fileOf = (service: RunningService): string => join(service.dataDir, 'assetd.sqlite')

/**
 * Somebody else takes the database for writing. A service that just started still writes of its own, so this waits
 * its turn; on a slow machine the lock was refused, and the test failed for that.
 *
 * @returns gives it back
 */
function lock(service: RunningService): () => void {
  const other = new DatabaseSync(fileOf(service), { timeout: 5_000 })
  other.exec('BEGIN IMMEDIATE')
  return () => {
    other.exec('ROLLBACK')
    other.close()
  }
}

async function readiness(service: RunningService): Promise<number> {
  const response = await fetch(`${service.url}/readyz`)
  await response.arrayBuffer()
  return response.status
}

async function store(service: RunningService, headers = {}): Promise<string> {
  const response = await upload(service, wav(), headers)
  const body = await response.text()
  assert.equal(response.status, 200, body)
  return (JSON.parse(body) as { data: { url: string } }).data.url
}

async function assertRefused(service: RunningService): Promise<void> {
  const answer = await plain(await upload(service, wav()))
  assertError(answer, { status: 503, code: 'service_unavailable' })
  assert.ok(Number(answer.headers['retry-after']) >= 1)
}

async function assertServed(url: string): Promise<void> {
  const response = await fetch(url)
  assert.equal(response.status, 200)
  const bytes = new Uint8Array(await response.arrayBuffer())
  assert.equal(
    createHash('sha256').update(bytes).digest('hex'),
    createHash('sha256').update(wav()).digest('hex'),
  )
}

describe('the database of a running service', () => {
  it('case 73: locked for longer than we wait: 503 with Retry-After, no partial asset, reads go on; then all is well', async () => {
    const service = await startService()
    const url = await store(service)
    const before = baseline(service)
    const unlock = lock(service)
    const startedMs = performance.now()
    const refused = assertRefused(service)
    await assertServed(url)
    assert.equal(await readiness(service), 503)
    await refused
    assert.ok(performance.now() - startedMs < 20_000, 'within the busy timeout, and some')
    unlock()
    await eventually(async () => assert.equal(await readiness(service), 200))
    await assertClean(service, { ...before, descriptors: before.descriptors + 2 })
    await store(service)
    await service.stop()
  })

  it('case 73: locked for a moment: the upload waits and passes', async () => {
    const service = await startService()
    setTimeout(lock(service), 1_500)
    await store(service)
    await service.stop()
  })

  for (const [what, damage] of [
    ['deleted', (file: string) => rmSync(file)],
    [
      'replaced by an older copy',
      (file: string) => {
        copyFileSync(file, `${file}.copy`)
        renameSync(`${file}.copy`, file)
      },
    ],
  ] as const) {
    it(`case 73: ${what}: no upload is acknowledged that the next start would not find`, async () => {
      const service = await startService()
      const url = await store(service)
      damage(fileOf(service))
      for (let times = 0; times < 2; times++) await assertRefused(service)
      assert.equal(await readiness(service), 503)
      await assertServed(url)
      assert.equal(await service.stop(), 0)
    })
  }

  it('case 73: overwritten with garbage: no wrong answer, no crash, and fsck says so', async () => {
    const first = await startService()
    const path = new URL(await store(first)).pathname
    await first.stop({ keepData: true }) // from here on all is in the file, and nothing in its log
    const service = await startService({ dataDir: first.dataDir })
    const url = service.url + path
    const { size } = statSync(fileOf(service))
    writeFileSync(fileOf(service), Buffer.alloc(size, 0xa5), { flag: 'r+' })
    for (let times = 0; times < 3; times++) {
      const answer = await plain(await upload(service, wav()))
      assert.ok([200, 503].includes(answer.status), `${answer.status} ${answer.body}`)
      const read = await fetch(url)
      const bytes = Buffer.from(await read.arrayBuffer())
      if (read.status === 200) assert.deepEqual(bytes, wav())
      else assert.ok([500, 503].includes(read.status), String(read.status))
    }
    assert.equal((await fetch(`${service.url}/healthz`)).status, 200)
    await service.stop({ keepData: true, signal: 'SIGKILL' })
    const { status, stderr, stdout } = assetd(service.dataDir, 'fsck')
    assert.equal(status, 1)
    assert.match(stdout + stderr, /database/)
    rmSync(service.dataDir, { recursive: true })
  })
})
