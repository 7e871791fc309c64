/** The service is killed, and its disk fails, while it deletes and while it works through a batch. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Announced, call, put } from '../api.ts'
import { stepsUpTo } from '../form.ts'
import { contentsOf, eventually, type RunningService } from '../service.ts'
import { assertInOrder, assertNothingStray } from './survival.ts'
import { callsDuring, startTraceable, type Thread, trace, whyNotTraceable } from './traced-service.ts'
import { newFile, newUpload, type Sent, send } from './uploads.ts'

const skip = await whyNotTraceable()

const callsOf = {
  files: 'openat,mkdir,pwrite64,pwritev,fsync,fdatasync,close,rename,unlink,link,linkat',
  database: 'pwrite64,pwritev,fsync,fdatasync',
} as const satisfies Partial<Record<Thread, string>>

/** Null where the connection dropped. */
const statusOf = (answer: Promise<{ status: number }>): Promise<number | null> =>
  answer.then(
    ({ status }) => status,
    () => null,
  )

const idOf = (sent: Sent): string => JSON.parse(String(sent.acknowledged)).data.asset_id

describe('killed at the n-th call of a delete: the asset is whole or gone, and nothing is stray', {
  skip,
}, () => {
  for (const [thread, few] of [
    ['files', 3],
    ['database', 5],
  ] as const) {
    it(`case 58: on ${thread}`, async (context) => {
      let service = await startTraceable()
      const { dataDir, key } = service
      const remove = (sent: Sent): Promise<number | null> =>
        statusOf(call(service, 'DELETE', `/v3/assets/${idOf(sent)}`))
      const first = newUpload()
      await send(service, first)
      const calls = await callsDuring(service, { thread, calls: callsOf[thread] }, () => remove(first))
      let deaths = 0
      for (const step of stepsUpTo(calls.length, few)) {
        const { name = '', nth = 0 } = calls[step - 1] ?? {}
        const sent = newUpload()
        await send(service, sent)
        const watched = await trace(service, { thread, calls: name, what: 'signal=KILL', when: String(nth) })
        const status = await remove(sent)
        await Promise.race([service.exited, sleep(status === null ? 10_000 : 300)])
        if (await watched.detach()) {
          deaths++
          service = await startTraceable({ dataDir, env: { ASSETD_API_KEY: key } })
        }
        const { status: left } = await call(service, 'GET', `/v3/assets/${idOf(sent)}`)
        if (status === 200) assert.equal(left, 404, 'what was said to be deleted is')
        assert.equal((await fetch(`${service.url}/files/${idOf(sent)}.wav`)).status, left)
        if (left === 200) assert.equal(await remove(sent), 200)
        await eventually(() => {
          const { assets, blobs } = contentsOf(dataDir)
          assert.deepEqual([assets.length, blobs.length], [0, 0])
        })
      }
      assertInOrder(dataDir)
      assert.ok(deaths > 0)
      context.diagnostic(`${deaths} deaths at ${calls.length} calls`)
      await service.stop()
    })
  }
})

describe('killed, or failed, at the n-th call of a batch in the background: each item is one asset in the end', {
  skip,
}, () => {
  const count = 3

  /** Announces and puts them; gives what drives the batch to its end. */
  async function prepare(service: RunningService): Promise<{ sent: Sent[]; batchId: string }> {
    const sent = Array.from({ length: count }, () => newUpload(newFile(200_000), 'direct'))
    const files = sent.map(({ file }) => ({
      filename: 'a.wav',
      content_type: 'audio/wav',
      size_bytes: file.length,
    }))
    const { json } = await call(service, 'POST', '/v3/assets/direct-uploads/batches', { files })
    for (const [at, item] of (json.data.items as Announced[]).entries()) {
      assert.equal((await put(item, sent[at]?.file ?? Buffer.alloc(0))).status, 200)
    }
    return { sent, batchId: json.data.batch_id }
  }
  const drive = (service: RunningService, batch_id: string): Promise<number | null> =>
    statusOf(call(service, 'POST', '/v3/assets/complete/batches', { batch_id }))

  async function assertDone(service: RunningService, batchId: string, withinMs = 25_000): Promise<void> {
    await eventually(async () => {
      const { json, body } = await call(service, 'GET', `/v3/assets/batches/${batchId}`)
      assert.equal(json.data.counts_by_status.completed, count, body)
    }, withinMs)
  }

  for (const [thread, what, few] of [
    ['files', 'signal=KILL', 5],
    ['database', 'signal=KILL', 5],
    ['files', 'error=EIO', 3],
    ['database', 'error=EIO', 3],
  ] as const) {
    it(`case 59, 62, 96: ${what} on ${thread}`, async (context) => {
      let service = await startTraceable()
      const { dataDir, key } = service
      const stored: Sent[] = []
      const first = await prepare(service)
      const calls = await callsDuring(service, { thread, calls: callsOf[thread] }, async () => {
        await drive(service, first.batchId)
        await assertDone(service, first.batchId)
      })
      stored.push(...first.sent)
      let hits = 0
      for (const step of stepsUpTo(calls.length, few)) {
        const { name = '', nth = 0 } = calls[step - 1] ?? {}
        const { sent, batchId } = await prepare(service)
        const watched = await trace(service, { thread, calls: name, what, when: String(nth) })
        await drive(service, batchId)
        const isHit = (): boolean => watched.calls().some((line) => line.includes('INJECTED'))
        const struckOrDone = eventually(
          async () => isHit() || (await assertDone(service, batchId, 0)),
          10_000,
        )
        await Promise.race([service.exited, struckOrDone.catch(() => {})])
        const dead = await watched.detach()
        if (dead) service = await startTraceable({ dataDir, env: { ASSETD_API_KEY: key } })
        if (dead || isHit()) hits++
        assert.equal(await drive(service, batchId), 202)
        await assertDone(service, batchId)
        stored.push(...sent)
        // These were completed without keys of their own.
        await assertNothingStray(dataDir, stored, { keys: [] })
      }
      assertInOrder(dataDir)
      assert.ok(hits > 0)
      context.diagnostic(`${hits} hits at ${calls.length} calls`)
      await service.stop()
    })
  }
})
