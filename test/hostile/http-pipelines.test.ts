/** Requests one behind the other on one connection: carried out where the answer is heard, and never without bound. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { isShort } from '../form.ts'
import { samples } from '../media/samples.ts'
import {
  assertClean,
  assertError,
  baseline,
  descriptors,
  fileBody,
  latin1,
  open,
  peakResidentBytes,
  plain,
  type RawAnswer,
  type RawConnection,
  requestHead,
  residentBytes,
  serverPid,
  type UploadRequest,
  uploadHead,
  uploadRequest,
} from '../raw-http.ts'
import { eventually, type RunningService, startService, upload as uploadByFetch } from '../service.ts'

const MiB = 1024 * 1024
const png = samples.png({ sizeBytes: 300 })
const alive = requestHead('GET /healthz HTTP/1.1')

let service: RunningService
before(async () => {
  service = await startService()
  await (await uploadByFetch(service, png)).arrayBuffer()
})
after(() => service.stop())

const upload = (more: Partial<UploadRequest> = {}): Buffer =>
  uploadRequest({ key: service.key, body: fileBody(png), ...more })

/** Every answer until the connection ends. */
async function allAnswers(connection: RawConnection): Promise<RawAnswer[]> {
  const answers: RawAnswer[] = []
  await connection.closed(20_000)
  while (connection.rest().length > 0) answers.push(await connection.answer())
  return answers
}

/** The path of a public file that no buffer of a connection holds. */
async function storeLarge(): Promise<string> {
  const stored = await plain(await uploadByFetch(service, samples.png({ sizeBytes: 16 * MiB })))
  const { url } = (JSON.parse(String(stored.body)) as { data: { url: string } }).data
  return new URL(url).pathname
}

describe('what is carried out is heard', () => {
  it('case 13: uploads in front of a half-close are all answered, and the last answer alone says that it is', async () => {
    const before = baseline(service)
    for (const length of [undefined, 'chunked'] as const) {
      const connection = await open(service)
      const one = length === undefined ? upload() : upload({ length })
      void connection.send(one, alive, one)
      connection.finish()
      const answers = await allAnswers(connection)
      assert.deepEqual(
        answers.map(({ status, headers }) => [status, headers.connection]),
        [
          [200, 'keep-alive'],
          [200, 'keep-alive'],
          [200, 'close'],
        ],
      )
    }
    await assertClean(service, before, { assets: 4 })
  })

  it('case 13: of twenty uploads at once as many are stored as are answered, and the rest is dropped', async () => {
    for (const how of ['at once', 'one by one', 'and a half-close'] as const) {
      const before = baseline(service)
      const connection = await open(service)
      const uploads = Array.from({ length: 20 }, () => upload())
      if (how === 'one by one') for (const one of uploads) await connection.send(one)
      else void connection.send(...uploads)
      if (how === 'and a half-close') connection.finish()
      else if (how === 'one by one')
        void connection.send(requestHead('GET /healthz HTTP/1.1', ['Connection: close']))
      const answers = await allAnswers(connection)
      assert.ok(answers.every(({ status }) => status === 200))
      assert.ok(answers.length >= 8, `${how}: ${answers.length} answers`)
      if (how !== 'one by one') assert.equal(answers.length, 8, how)
      assert.equal(answers.at(-1)?.headers.connection, 'close')
      const stored = answers.filter(({ body }) => String(body).includes('"asset_id"')).length
      await assertClean(service, before, { assets: stored })
    }
  })

  it('case 13: behind an answer that says close nothing is carried out, whatever the reason', async () => {
    const before = baseline(service)
    const key = `Idempotency-Key: ${randomUUID()}`
    const large = latin1('x'.repeat(60_000))
    const refused: [string, (string | Uint8Array)[], number][] = [
      ['asked to close', [requestHead('GET /healthz HTTP/1.1', ['Connection: close'])], 200],
      ['HTTP/1.0', ['GET /healthz HTTP/1.0\r\n\r\n'], 200],
      ['a rejected body', [uploadHead({ key: 'unknown', body: large })], 401],
    ]
    for (const [what, send, status] of refused) {
      const connection = await open(service)
      await connection.send(...send)
      if (status === 401) {
        await connection.send(large.subarray(1_000))
        await sleep(50)
        await connection.send(large.subarray(0, 1_000))
      }
      void connection.send(upload({ lines: [key] }))
      const answers = await allAnswers(connection)
      assert.deepEqual([what, ...answers.map((one) => one.status)], [what, status])
      connection.reset()
    }
    await assertClean(service, before)
  })

  it('case 13: behind an answer that is under way, a fault ends the connection; what waits between is not carried out', async () => {
    const path = await storeLarge()
    const before = baseline(service)
    const connection = await open(service)
    connection.socket.pause()
    const waiting = upload({ lines: [`Idempotency-Key: ${randomUUID()}`] })
    await connection.send(requestHead(`GET ${path} HTTP/1.1`))
    await sleep(200)
    await connection.send(waiting, 'no HTTP at all\r\n\r\n')
    await sleep(200)
    connection.socket.resume()
    const answers = await allAnswers(connection)
    assert.equal(answers[0]?.body.length, 16 * MiB)
    assert.equal(answers.length, 1)
    await assertClean(service, before)
  })

  it('case 20: while the service ends, nothing is carried out behind the answer that says close', async () => {
    const ending = await startService()
    const holder = await open(ending)
    const body = fileBody(png)
    await holder.send(uploadHead({ key: ending.key, body }), body.subarray(0, 100))
    await eventually(async () => {
      const ready = (await (await fetch(`${ending.url}/readyz`)).json()) as { data: { checks: object } }
      assert.ok(ready)
    })
    ending.child.kill('SIGTERM')
    await eventually(async () => assert.equal((await fetch(`${ending.url}/readyz`)).status, 503))
    const connection = await open(ending)
    void connection.send(alive, alive, alive)
    const answers = await allAnswers(connection)
    assert.deepEqual(
      answers.map(({ status, headers }) => [status, headers.connection]),
      [[200, 'close']],
    )
    await holder.send(body.subarray(100))
    assert.equal((await holder.answer()).status, 200, 'what ran before ends well')
    assert.equal(await ending.exited, 0)
    const seen = ending.log().filter((line) => line.route === '/healthz')
    assert.equal(seen.length, 1, 'the log has the one that was answered')
  })
})

describe('floods of small requests', () => {
  const flood = latin1('GET / HTTP/1.1\r\n\r\n'.repeat(3_640)).subarray(0, 65_536)

  it('case 82, 84: many connections with 64 KB of small requests each: memory stays, and others are answered', async () => {
    const flooded = await startService({ env: { ASSETD_LOG_LEVEL: 'warn' } })
    const pid = serverPid(flooded)
    const timed = async (): Promise<number> => {
      const start = performance.now()
      assert.equal((await fetch(`${flooded.url}/healthz`)).status, 200)
      return performance.now() - start
    }
    await timed()
    const resident = residentBytes(pid)
    const crowd = await Promise.all(Array.from({ length: isShort ? 300 : 800 }, () => open(flooded)))
    for (const connection of crowd) void connection.send(flood)
    const waits: number[] = []
    for (let at = 0; at < 5; at++) waits.push(await timed())
    await Promise.all(crowd.map((connection) => connection.closed(60_000)))
    const grown = peakResidentBytes(pid) - resident
    assert.ok(Math.max(...waits) < 5_000, `/healthz took ${waits.map(Math.round)} ms`)
    assert.ok(grown < 128 * MiB, `${crowd.length} connections cost ${Math.round(grown / MiB)} MiB`)
    for (const connection of crowd) connection.reset()
    await eventually(async () =>
      assert.ok(descriptors(pid).length < 50, `${descriptors(pid).length} are held`),
    )
    await flooded.stop()
  })

  it('case 82, 84: a connection that never ends its flood gets its answers and no more', async () => {
    const connection = await open(service)
    let sent = 0
    let ended = false
    void connection.closed(30_000).then(() => {
      ended = true
    })
    while (!ended && sent < 50 * MiB) {
      await connection.send(flood)
      sent += flood.length
    }
    assert.ok(ended, `${sent} bytes were taken`)
    // The reset that ends it may overtake the answer: whoever still sends then has no right to hear it.
    const heard = connection.rest().toString('latin1')
    assert.match(heard, /^$|^HTTP\/1\.1 400 /)
    assert.ok(heard.split('HTTP/1.1 400 ').length <= 9, heard)
    connection.reset()
  })

  it('case 9, 13: expectations and refusals in a row are answered in their order', async () => {
    const connection = await open(service)
    void connection.send(
      alive,
      requestHead('GET /nowhere HTTP/1.1'),
      requestHead('GET /healthz HTTP/1.1', ['Expect: foo']),
      requestHead('DELETE /v3/assets HTTP/1.1'),
      upload({ body: fileBody(latin1('no media')) }),
      upload(),
    )
    const statuses: number[] = []
    for (let at = 0; at < 6; at++) statuses.push((await connection.answer()).status)
    assert.deepEqual(statuses, [200, 404, 417, 405, 400, 200])
    void connection.send(requestHead('GET /nowhere HTTP/1.1', ['Connection: close']))
    assertError(await connection.answer(), { status: 404 })
    await connection.closed()
  })
})
