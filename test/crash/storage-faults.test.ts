/** What becomes of the service when the disk is full, read-only or gone, and when it comes back. No restart between. */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash, randomFillSync } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { announce, complete, put } from '../api.ts'
import { stepsUpTo } from '../form.ts'
import { wav } from '../media/samples.ts'
import { assertClean, assertError, baseline, plain } from '../raw-http.ts'
import { eventually, type RunningService, startService, upload } from '../service.ts'

const isRoot = process.getuid?.() === 0
const KiB = 1024
const MiB = 1024 * KiB

/** A file system of a few megabytes of its own; null where this user may not mount one. */
function mountTmpfs(sizeBytes: number): string | null {
  if (!isRoot || process.platform !== 'linux') return null
  const folder = mkdtempSync(join(tmpdir(), 'assetd-disk-'))
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeBytes}`, 'tmpfs', folder])
  if (status !== 0) {
    rmSync(folder, { recursive: true })
    return null
  }
  return folder
}

function unmount(folder: string): void {
  execFileSync('umount', [folder])
  rmSync(folder, { recursive: true })
}

const probe = mountTmpfs(MiB)
const skip = probe === null ? 'a small file system has to be mounted, which needs root on Linux' : false
if (probe !== null) unmount(probe)

const freeBytes = (folder: string): number => {
  const { bavail, bsize } = statfsSync(folder)
  return bavail * bsize
}

/** Fills the disk until so much is free. */
function leaveFree(disk: string, bytes: number): void {
  const ballast = join(disk, 'lost+found') // a name that every data folder may have
  rmSync(ballast, { force: true })
  const size = Math.max(0, freeBytes(disk) - bytes)
  writeFileSync(ballast, Buffer.alloc(size))
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

function freshFile(sizeBytes: number): Buffer {
  const file = wav({ sizeBytes })
  randomFillSync(file, 100)
  return file
}

type Stored = { url: string; sha256: string }

async function store(service: RunningService, sizeBytes: number, headers = {}): Promise<Stored> {
  const file = freshFile(sizeBytes)
  const response = await upload(service, file, headers)
  const body = await response.text()
  assert.equal(response.status, 200, body)
  return { url: (JSON.parse(body) as { data: { url: string } }).data.url, sha256: sha256(file) }
}

async function assertRefused(service: RunningService, sizeBytes: number, headers = {}): Promise<void> {
  const answer = await plain(await upload(service, freshFile(sizeBytes), headers))
  assertError(answer, { status: 503, code: 'service_unavailable' })
  assert.ok(Number(answer.headers['retry-after']) >= 1)
}

async function assertServed({ url, sha256: expected }: Stored): Promise<void> {
  const response = await fetch(url)
  assert.equal(response.status, 200)
  assert.equal(sha256(new Uint8Array(await response.arrayBuffer())), expected)
}

async function readiness(
  service: RunningService,
): Promise<[status: number, state: unknown, storage: unknown]> {
  const response = await fetch(`${service.url}/readyz`)
  const body = (await response.json()) as {
    data?: { status: string; checks: { storage: string } }
    error?: { code: string; details: { checks: { storage: string } } }
  }
  const checks = body.data?.checks ?? body.error?.details.checks
  return [response.status, body.data?.status ?? body.error?.code, checks?.storage]
}

describe('a full disk', { skip }, () => {
  const disk = mountTmpfs(48 * MiB) ?? ''
  after(() => unmount(disk))

  it('case 72: the guard refuses before it is full, /readyz says so, reads go on, and room is seen at once', async () => {
    const dataDir = join(disk, 'guarded')
    const service = await startService({ dataDir, env: { ASSETD_MIN_FREE_BYTES: String(10 * MiB) } })
    const early = await store(service, 2 * MiB)
    assert.deepEqual(await readiness(service), [200, 'ready', 'ok'])
    leaveFree(disk, 15 * MiB)
    await eventually(async () => assert.deepEqual(await readiness(service), [200, 'degraded', 'filling']))
    await store(service, MiB)
    const before = baseline(service)
    await assertRefused(service, 8 * MiB)
    leaveFree(disk, 9 * MiB)
    await eventually(async () =>
      assert.deepEqual(await readiness(service), [503, 'service_unavailable', 'low_space']),
    )
    await assertRefused(service, 4 * KiB)
    await assertServed(early)
    await assertClean(service, before)
    leaveFree(disk, 40 * MiB)
    await eventually(async () => assert.deepEqual(await readiness(service), [200, 'ready', 'ok']))
    await store(service, 2 * MiB)
    leaveFree(disk, 48 * MiB)
    await service.stop()
  })

  it('case 69: it fills up in the middle of an upload: 503, nothing is left, reads go on, uploads work again', async () => {
    const dataDir = join(disk, 'unguarded')
    const service = await startService({ dataDir, env: { ASSETD_MIN_FREE_BYTES: '0' } })
    const early = await store(service, MiB)
    const before = baseline(service)
    leaveFree(disk, 5 * MiB)
    for (let times = 0; times < 3; times++) await assertRefused(service, 12 * MiB, { 'idempotency-key': 'k' })
    await assertServed(early)
    await assertClean(service, before)
    leaveFree(disk, 40 * MiB)
    // How much is free is asked for four times a second.
    await eventually(async () => assertServed(await store(service, 12 * MiB, { 'idempotency-key': 'k' })))
    leaveFree(disk, 48 * MiB)
    await service.stop()
  })

  it('case 69: whatever is left, from nothing to enough, an upload is 200 and whole or 503 and gone; the database may be what is full', async () => {
    const dataDir = join(disk, 'scraped')
    const service = await startService({ dataDir, env: { ASSETD_MIN_FREE_BYTES: '0' } })
    const kept = [await store(service, 20 * KiB)]
    let refused = 0
    for (const step of stepsUpTo(40, 14)) {
      leaveFree(disk, (step - 1) * 4 * KiB)
      const file = freshFile(20 * KiB)
      const response = await upload(service, file, { 'idempotency-key': `step-${step}` })
      const answer = await plain(response)
      if (answer.status === 200) {
        kept.push({ url: JSON.parse(String(answer.body)).data.url, sha256: sha256(file) })
      } else {
        assertError(answer, { status: 503, code: 'service_unavailable' })
        refused++
      }
      for (const one of kept) await assertServed(one)
    }
    assert.ok(refused >= 3, `${refused} were refused`)
    leaveFree(disk, 40 * MiB)
    await eventually(async () => kept.push(await store(service, 20 * KiB, { 'idempotency-key': 'step-1' })))
    const before = { ...baseline(service), assets: kept.length, blobs: kept.length }
    await assertClean(service, { ...before, keys: kept.length - 1 })
    leaveFree(disk, 48 * MiB)
    assert.equal(await service.stop(), 0)
  })
})

describe('the log', { skip }, () => {
  it('case 69: its disk is full: the service goes on, without lines; with room there are lines again', async () => {
    const disk = mountTmpfs(MiB) ?? ''
    const log = join(disk, 'log')
    const file = openSync(log, 'a')
    try {
      const service = await startService({ env: { ASSETD_MIN_FREE_BYTES: '0' }, log: file })
      leaveFree(disk, 0)
      for (let times = 0; times < 60; times++) {
        assert.equal((await fetch(`${service.url}/healthz`)).status, 200)
        assert.equal((await upload(service, wav())).status, 200)
      }
      leaveFree(disk, MiB)
      await eventually(async () => {
        const answer = await fetch(`${service.url}/healthz`)
        assert.match(readFileSync(log, 'utf8'), new RegExp(String(answer.headers.get('x-request-id'))))
      })
      assert.equal(await service.stop(), 0)
    } finally {
      closeSync(file)
      unmount(disk)
    }
  })

  it('a reader of it that stops reading holds nothing up', async () => {
    const service = await startService({ log: 'unread' })
    for (let times = 0; times < 1_000; times++) {
      const answer = await fetch(`${service.url}/nothing`, { signal: AbortSignal.timeout(30_000) })
      assert.equal(answer.status, 404)
      await answer.arrayBuffer()
    }
    assert.equal((await upload(service, wav())).status, 200)
    service.child.stderr?.resume()
    assert.equal(await service.stop(), 0)
  })
})

describe('a data folder that cannot work', { skip }, () => {
  it('its blobs are on another disk than what comes in: the start is refused in words', async () => {
    const disk = mountTmpfs(8 * MiB) ?? ''
    const dataDir = mkdtempSync(join(tmpdir(), 'assetd-test-'))
    symlinkSync(disk, join(dataDir, 'blobs'))
    try {
      await assert.rejects(startService({ dataDir }), /blobs\/ is on another disk/)
    } finally {
      unmount(disk)
      rmSync(dataDir, { recursive: true })
    }
  })
})

const readOnly =
  !isRoot || process.platform !== 'linux' ? 'a service under another user needs root on Linux' : false

describe('a data folder that changes under a running service', () => {
  it('case 70: it becomes read-only: 503, reads go on; writable again: uploads work', {
    skip: readOnly,
  }, async () => {
    const nobody = 65_534
    const dataDir = mkdtempSync(join(tmpdir(), 'assetd-test-'))
    chownSync(dataDir, nobody, nobody)
    const service = await startService({ dataDir, uid: nobody })
    const early = await store(service, 20 * KiB)
    chmodSync(join(dataDir, 'incoming'), 0o500)
    assert.deepEqual(await readiness(service), [503, 'service_unavailable', 'failed'])
    await assertRefused(service, 20 * KiB)
    const before = { ...baseline(service), assets: 1, blobs: 1, keys: 0 }
    await assertRefused(service, 20 * KiB)
    await assertServed(early)
    chmodSync(join(dataDir, 'incoming'), 0o700)
    await assertClean(service, before)
    await assertServed(await store(service, 20 * KiB))
    assert.deepEqual(await readiness(service), [200, 'ready', 'ok'])
    await service.stop()
  })

  it('case 73: it is moved away: 503 and unready, never an answer that would be lost; moved back: all is there', async () => {
    const service = await startService()
    const early = await store(service, 20 * KiB)
    renameSync(service.dataDir, `${service.dataDir}.moved`)
    await assertRefused(service, 20 * KiB, { 'idempotency-key': 'k' })
    assert.equal((await readiness(service))[0], 503)
    assert.equal((await fetch(`${service.url}/healthz`)).status, 200)
    assert.equal((await fetch(early.url)).status, 500, 'its bytes are not to be had')
    renameSync(`${service.dataDir}.moved`, service.dataDir)
    await assertServed(early)
    await eventually(async () => void (await store(service, 20 * KiB, { 'idempotency-key': 'k' })))
    assert.deepEqual(await readiness(service), [200, 'ready', 'ok'])
    await service.stop()
  })

  it('case 73: it is removed: 503 until the end, which is an orderly one', async () => {
    const service = await startService()
    await store(service, 20 * KiB)
    rmSync(service.dataDir, { recursive: true })
    for (let times = 0; times < 2; times++) await assertRefused(service, 20 * KiB)
    assert.equal((await readiness(service))[0], 503)
    assert.equal((await fetch(`${service.url}/healthz`)).status, 200)
    assert.equal(await service.stop(), 0)
  })

  it('a folder of blobs that is removed and made again is used again', async () => {
    const service = await startService()
    await store(service, 20 * KiB)
    rmSync(join(service.dataDir, 'blobs'), { recursive: true })
    await assertRefused(service, 20 * KiB)
    execFileSync('mkdir', [join(service.dataDir, 'blobs')])
    await assertServed(await store(service, 20 * KiB))
    await service.stop()
  })

  it('a folder of blobs that is away for a moment has lost no direct upload', async () => {
    const service = await startService()
    const file = wav({ sizeBytes: 20 * KiB })
    const announced = await announce(service, { content_type: 'audio/wav', size_bytes: file.length })
    assert.equal((await put(announced, file)).status, 200)
    const blobs = join(service.dataDir, 'blobs')
    renameSync(blobs, `${blobs}-away`)
    const early = await complete(service, announced.asset_id)
    assertError(early, { status: 503, code: 'service_unavailable' })
    renameSync(`${blobs}-away`, blobs)
    const done = await complete(service, announced.asset_id)
    assert.equal(done.status, 200, done.body)
    await service.stop()
  })
})
