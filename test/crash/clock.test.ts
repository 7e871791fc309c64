/** The wall clock is set, days on and days back, under a running service: Debian's libfaketime does it. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { wav } from '../media/samples.ts'
import { boundary, multipart, open, requestHead } from '../raw-http.ts'
import {
  assetd,
  assetdBeside,
  contentsOf,
  eventually,
  type RunningService,
  startService,
  upload,
} from '../service.ts'
import { fakedClock, noFaketime } from './faketime.ts'

const dayMs = 86_400_000

describe('the wall clock is set under a running service', { skip: noFaketime }, () => {
  const clock = fakedClock()
  let service: RunningService
  before(async () => {
    service = await startService({ env: { ...clock.env, ASSETD_IDEMPOTENCY_LEASE_SECONDS: '10' } })
  })
  after(async () => {
    await service.stop()
    clock.remove()
  })

  /** The wall clock as the service sees it. */
  async function clockOfService(): Promise<number> {
    const response = await fetch(`${service.url}/healthz`)
    await response.arrayBuffer()
    return Date.parse(response.headers.get('date') ?? '')
  }

  async function jumpTo(offset: string, ms: number): Promise<void> {
    clock.set(offset)
    // Node.js renews the Date header once a second.
    await eventually(async () => assert.ok(Math.abs((await clockOfService()) - Date.now() - ms) < 60_000))
  }

  async function answerFor(key: string): Promise<{ status: number; body: string; replayed: boolean }> {
    const response = await upload(service, wav(), { 'idempotency-key': key })
    const body = await response.text()
    return { status: response.status, body, replayed: response.headers.get('idempotent-replayed') === 'true' }
  }

  for (const [words, offset, jumpMs] of [
    ['three days on', '+3d', 3 * dayMs],
    ['a day back', '-1d', -dayMs],
  ] as const) {
    it(`case 53, 85: ${words}: answers replay, leases hold, a running upload and its file are left alone, new ones work`, async () => {
      await jumpTo('+0', 0)
      const [kept, running] = [`kept-${offset.slice(1)}`, `running-${offset.slice(1)}`]
      const first = await answerFor(kept)
      assert.equal(first.status, 200)
      const body = multipart([{ name: 'file', fileName: 'a.wav', body: wav({ sizeBytes: 600_000 }) }])
      const connection = await open(service)
      const head = requestHead('POST /v3/assets HTTP/1.1', [
        `x-api-key: ${service.key}`,
        `Idempotency-Key: ${running}`,
        `Content-Type: multipart/form-data; boundary=${boundary}`,
        `Content-Length: ${body.length}`,
      ])
      await connection.send(head, body.subarray(0, -100))
      await eventually(() => assert.equal(contentsOf(service.dataDir).incoming.length, 1))

      await jumpTo(offset, jumpMs)
      assert.deepEqual(await answerFor(kept), { ...first, replayed: true })
      assert.equal((await answerFor(running)).status, 409, 'the lease of a running upload is not over')
      // Another process, which sees the new date alone, looks for what is old.
      const gc = await assetdBeside(service.dataDir, 'gc', '--older-than', '1h', '--json')
      assert.equal(gc.status, 0, gc.stderr)
      assert.equal((JSON.parse(gc.stdout) as { removed: number }).removed, 0)
      await connection.send(body.subarray(-100))
      assert.equal((await connection.answer()).status, 200)
      connection.reset()
      assert.equal((await answerFor(`new-${offset.slice(1)}`)).status, 200)
      const { assets } = contentsOf(service.dataDir)
      const newest = Math.max(...assets.map(({ completed_at_ms }) => Number(completed_at_ms)))
      assert.ok(
        Math.abs(newest - Date.now() - Math.max(jumpMs, 0)) < 120_000 || jumpMs < 0,
        'times are of the wall',
      )
    })
  }

  it('case 85: tokens go by the wall clock: one that is to expire in an hour is expired three days on', async () => {
    await jumpTo('+0', 0)
    const token = assetd(service.dataDir, 'tokens', 'create', '--expires', '1h').stdout.trim()
    const status = async (): Promise<number> => {
      const form = new FormData()
      form.append('file', new Blob([new Uint8Array(wav())]), 'a.wav')
      const headers = { authorization: `Bearer ${token}` }
      const response = await fetch(`${service.url}/v3/assets`, { method: 'POST', headers, body: form })
      await response.arrayBuffer()
      return response.status
    }
    assert.equal(await status(), 200)
    await jumpTo('+3d', 3 * dayMs)
    assert.equal(await status(), 401)
    await jumpTo('+0', 0)
    assert.equal(await status(), 200)
  })

  it('case 76, 85: a limit that is used up is not renewed by a clock that is set', async () => {
    clock.set('+0')
    const limited = await startService({ env: { ...clock.env, ASSETD_RATE_LIMIT: '2/hour' } })
    const status = async (): Promise<number> => (await upload(limited, wav())).status
    assert.deepEqual([await status(), await status(), await status()], [200, 200, 429])
    for (const offset of ['+3d', '-3d']) {
      clock.set(offset)
      assert.equal(await status(), 429, offset)
    }
    clock.set('+0')
    await limited.stop()
  })
})
