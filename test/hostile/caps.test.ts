/** So many uploads at once and no more: the rest is refused before its body is read, and every place is given back. */
import assert from 'node:assert/strict'
import { createHash, randomFillSync } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import { wav } from '../media/samples.ts'
import {
  assertClean,
  assertError,
  baseline,
  boundary,
  multipart,
  open,
  plain,
  type RawConnection,
  requestHead,
} from '../raw-http.ts'
import { eventually, type RunningService, startService, upload } from '../service.ts'

const MiB = 1024 * 1024
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

function freshFile(sizeBytes: number): Buffer {
  const file = wav({ sizeBytes })
  randomFillSync(file, 100)
  return file
}

/** Sends the head of an upload and the first bytes of its body, and leaves it so. */
async function beginUpload(
  service: RunningService,
  { announcedBytes = 100_000, lines = [] as readonly string[] } = {},
): Promise<RawConnection> {
  const connection = await open(service)
  const head = requestHead('POST /v3/assets HTTP/1.1', [
    `x-api-key: ${service.key}`,
    `Content-Type: multipart/form-data; boundary=${boundary}`,
    ...(announcedBytes === 0 ? ['Transfer-Encoding: chunked'] : [`Content-Length: ${announcedBytes}`]),
    ...lines,
  ])
  await connection.send(head)
  return connection
}

describe('the cap on uploads in number', () => {
  let service: RunningService
  before(async () => {
    service = await startService({ env: { ASSETD_MAX_UPLOADS: '8', ASSETD_BODY_IDLE_SECONDS: '20' } })
  })
  after(() => service.stop())

  it('case 56: of 500 at once each is 200 and whole, or 503 with Retry-After; nothing is left, and the next one passes', async () => {
    await (await upload(service, wav())).arrayBuffer()
    const before = baseline(service)
    const files = Array.from({ length: 500 }, () => freshFile(100_000))
    const answers = await Promise.all(
      files.map(async (file) => ({ file, answer: await plain(await upload(service, file)) })),
    )
    const accepted = answers.filter(({ answer }) => answer.status === 200)
    for (const { answer } of answers) {
      if (answer.status === 200) continue
      const error = assertError(answer, { status: 503, code: 'service_unavailable' })
      assert.match(error.message, /busy: 8 uploads are under way/)
      assert.ok(Number(answer.headers['retry-after']) >= 1)
    }
    assert.ok(accepted.length >= 8 && accepted.length < 500, `${accepted.length} were accepted`)
    for (const { file, answer } of accepted) {
      const { url } = (JSON.parse(String(answer.body)) as { data: { url: string } }).data
      assert.equal(sha256(new Uint8Array(await (await fetch(url)).arrayBuffer())), sha256(file))
    }
    // The sockets of our own fetch stay open for a while.
    await assertClean(service, { ...before, descriptors: 600 }, { assets: accepted.length })
    assert.equal((await upload(service, wav())).status, 200)
  })

  it('case 9, 56: who comes too many and waits for 100 Continue is refused without it; a place that is dropped is free again', async () => {
    const before = baseline(service)
    const holders = await Promise.all(Array.from({ length: 8 }, () => beginUpload(service)))
    const asking = { lines: ['Expect: 100-continue'] }
    await eventually(async () => {
      const ready = await fetch(`${service.url}/readyz`)
      const { data } = (await ready.json()) as { data: { status: string; checks: { uploads: string } } }
      assert.deepEqual([ready.status, data.status, data.checks.uploads], [200, 'degraded', 'full'])
    })
    const refused = await beginUpload(service, asking)
    const answer = await refused.answer()
    assertError(answer, { status: 503, code: 'service_unavailable' })
    assert.equal(answer.headers['retry-after'], '2')
    refused.reset()
    const replayOrOther = await fetch(`${service.url}/v3/assets`, {
      method: 'POST',
      headers: { 'x-api-key': 'no' },
    })
    assert.equal(replayOrOther.status, 401, 'credentials come first')
    for (const holder of holders) holder.reset()
    await eventually(async () => {
      const asked = await beginUpload(service, asking)
      const { status } = await asked.answer()
      asked.reset()
      assert.equal(status, 100)
    })
    await assertClean(service, { ...before, descriptors: before.descriptors + 8 })
  })

  it('a key that has its answer is replayed however many uploads are under way', async () => {
    const file = freshFile(50_000)
    const first = await upload(service, file, { 'idempotency-key': 'k' })
    assert.equal(first.status, 200)
    // A place of the test before may be given back only now; then one of these is refused.
    const holders = await eventually(async () => {
      const begun = await Promise.all(Array.from({ length: 8 }, () => beginUpload(service)))
      if ((await upload(service, wav())).status === 503) return begun
      for (const holder of begun) holder.reset()
      throw new Error('one of the eight did not get its place')
    })
    const replay = await upload(service, file, { 'idempotency-key': 'k' })
    assert.equal(replay.status, 200)
    assert.equal(await replay.text(), await first.text())
    // It is not even read where there is no place to: its answer comes with most of it still to be sent.
    const unread = await beginUpload(service, { lines: ['Idempotency-Key: k'] })
    assert.equal((await unread.answer()).status, 200)
    unread.reset()
    const other = await plain(await upload(service, file, { 'idempotency-key': 'another' }))
    assert.equal(other.status, 503)
    for (const holder of holders) holder.reset()
    await eventually(async () =>
      assert.equal((await upload(service, file, { 'idempotency-key': 'another' })).status, 200),
    )
  })
})

describe('the cap on uploads in bytes', () => {
  it('counts what is announced, for a chunked body the most that it may have', async () => {
    const service = await startService({ env: { ASSETD_MAX_UPLOAD_BYTES: String(70 * MiB) } })
    const chunked = await beginUpload(service, { announcedBytes: 0 }) // 33 MiB
    const long = await beginUpload(service, { announcedBytes: 30 * MiB })
    await eventually(async () => assert.equal((await upload(service, freshFile(8 * MiB))).status, 503))
    assert.equal((await upload(service, freshFile(6 * MiB))).status, 200)
    chunked.reset()
    await eventually(async () => assert.equal((await upload(service, freshFile(8 * MiB))).status, 200))
    long.reset()
    await service.stop()
  })
})

describe('many bodies at once', () => {
  it('a refused body is small beside what it would cost to take it', async () => {
    const service = await startService({ env: { ASSETD_MAX_UPLOADS: '1' } })
    const holder = await beginUpload(service)
    await eventually(async () => assert.equal((await upload(service, wav())).status, 503))
    const body = multipart([{ name: 'file', fileName: 'a.wav', body: freshFile(8 * MiB) }])
    const answers = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const connection = await beginUpload(service, { announcedBytes: body.length })
        void connection.send(body)
        const { status } = await connection.answer()
        connection.reset()
        return status
      }),
    )
    assert.deepEqual(new Set(answers), new Set([503]), 'each is heard, though it goes on sending')
    holder.reset()
    await eventually(async () => assert.equal((await upload(service, wav())).status, 200))
    await service.stop()
  })
})
