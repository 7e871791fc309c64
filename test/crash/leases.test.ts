/** Who owns an upload when processes stop, die and wake up: two processes of one service on one data folder. */
import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { wav } from '../media/samples.ts'
import { boundary, multipart, open, type RawConnection, requestHead, serverPid } from '../raw-http.ts'
import { contentsOf, eventually, type RunningService, startService, upload } from '../service.ts'

const furtherProcess = fileURLToPath(new URL('further-process.ts', import.meta.url))
const skip =
  process.platform === 'linux' ? false : 'finds the process of the service in /proc, which Linux alone has'

const file = wav({ sizeBytes: 600_000 })
const body = multipart([{ name: 'file', fileName: 'a.wav', body: file }])
const heldBack = 1_000

/** Begins an upload under a key, all but its last bytes. */
async function beginUpload(service: RunningService, key: string): Promise<RawConnection> {
  const before = contentsOf(service.dataDir).assets.length
  const connection = await open(service)
  const head = requestHead('POST /v3/assets HTTP/1.1', [
    `x-api-key: ${service.key}`,
    `Idempotency-Key: ${key}`,
    `Content-Type: multipart/form-data; boundary=${boundary}`,
    `Content-Length: ${body.length}`,
  ])
  await connection.send(head, body.subarray(0, -heldBack))
  await eventually(() => {
    const { assets, incoming } = contentsOf(service.dataDir)
    assert.equal(assets.length, before + 1)
    assert.ok(incoming.length > 0)
  })
  return connection
}

const finish = (connection: RawConnection): Promise<void> => connection.send(body.subarray(-heldBack))

/** The id under which the service claims what it reserves. */
function serviceIdOf(service: RunningService): string {
  const pending = contentsOf(service.dataDir).assets.find(({ state }) => state === 'pending')
  return String(pending?.service_id)
}

const join = (service: RunningService, leaseSeconds: number): Promise<RunningService> =>
  startService({
    dataDir: service.dataDir,
    program: [furtherProcess, serviceIdOf(service)],
    env: { ASSETD_API_KEY: service.key, ASSETD_IDEMPOTENCY_LEASE_SECONDS: String(leaseSeconds) },
  })

async function statusWith(service: RunningService, key: string): Promise<number> {
  const response = await upload(service, file, { 'idempotency-key': key })
  if (response.status === 409) assert.ok(Number(response.headers.get('retry-after')) >= 1)
  await response.arrayBuffer()
  return response.status
}

function assertOneAsset(dataDir: string): void {
  const { assets, blobs, incoming } = contentsOf(dataDir)
  assert.deepEqual(
    assets.map(({ state }) => state),
    ['completed'],
  )
  assert.deepEqual(
    blobs,
    assets.map(({ blob_key }) => blob_key),
  )
  assert.deepEqual(incoming, [])
}

describe('two processes of one service', { skip }, () => {
  it('case 49, 54: the owner is stopped, its lease ends, the other one takes over; woken up, it cannot commit', async () => {
    const first = await startService({ env: { ASSETD_IDEMPOTENCY_LEASE_SECONDS: '4' } })
    const zombie = await beginUpload(first, 'k')
    const second = await join(first, 4)
    await sleep(5_000)
    assert.equal(await statusWith(second, 'k'), 409, 'a running owner keeps its lease')

    process.kill(serverPid(first), 'SIGSTOP')
    try {
      await eventually(async () => assert.equal(await statusWith(second, 'k'), 200))
    } finally {
      process.kill(serverPid(first), 'SIGCONT')
    }
    const kept = await upload(second, file, { 'idempotency-key': 'k' })
    const keptBody = await kept.text()
    await finish(zombie)
    const refused = await zombie.answer()
    assert.equal(refused.status, 503, refused.body.toString())
    assert.match(refused.body.toString(), /interrupted for longer than its lease/)
    zombie.reset()

    await eventually(() => assertOneAsset(first.dataDir))
    for (const service of [first, second]) {
      const replay = await upload(service, file, { 'idempotency-key': 'k' })
      assert.equal(replay.headers.get('idempotent-replayed'), 'true')
      assert.equal(await replay.text(), keptBody)
    }
    assert.equal(await second.stop({ keepData: true }), 0)
    assert.equal(await first.stop(), 0)
  })

  it('case 54: the owner dies while another process lives: 409 until its lease ends, then the key is free', async () => {
    const first = await startService({ env: { ASSETD_IDEMPOTENCY_LEASE_SECONDS: '6' } })
    const helper = await beginUpload(first, 'only-to-learn-the-id')
    const second = await join(first, 6)
    helper.reset()
    await eventually(() => assert.equal(contentsOf(first.dataDir).assets.length, 0))
    const lost = await beginUpload(second, 'k')
    await second.stop({ keepData: true, signal: 'SIGKILL' })
    assert.equal(await statusWith(first, 'k'), 409)
    await eventually(async () => assert.equal(await statusWith(first, 'k'), 200))
    lost.reset()
    await first.stop({ keepData: true })
    const again = await startService({ dataDir: first.dataDir })
    assertOneAsset(first.dataDir)
    await again.stop()
  })
})

describe('a restart on the same data folder', () => {
  it('case 54: frees the claims of the dead service at once, however long their leases', async () => {
    const first = await startService({ env: { ASSETD_IDEMPOTENCY_LEASE_SECONDS: '3600' } })
    const lost = await beginUpload(first, 'k')
    await first.stop({ keepData: true, signal: 'SIGKILL' })
    lost.reset()
    const second = await startService({ dataDir: first.dataDir })
    assert.deepEqual(contentsOf(first.dataDir).incoming, [])
    assert.equal(await statusWith(second, 'k'), 200)
    assertOneAsset(first.dataDir)
    await second.stop({ keepData: true })
    rmSync(first.dataDir, { recursive: true })
  })
})
