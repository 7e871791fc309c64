/** Clients that take their time: none holds what is not its own, and those that are honest are let go on. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { isShort } from '../form.ts'
import { samples } from '../media/samples.ts'
import {
  assertClean,
  assertError,
  type Baseline,
  baseline,
  chunked,
  descriptors,
  exchange,
  fileBody,
  latin1,
  multipart,
  open,
  plain,
  type RawConnection,
  requestHead,
  residentBytes,
  serverPid,
  uploadHead,
  uploadRequest,
} from '../raw-http.ts'
import { contentsOf, eventually, type RunningService, startService, upload } from '../service.ts'

const MiB = 1024 * 1024
const png = samples.png({ sizeBytes: 12_000 })

/** Sends `bytes` at about this rate, until all are sent, an answer comes, or the connection ends. */
async function trickle(connection: RawConnection, bytes: Uint8Array, bytesPerSecond: number): Promise<void> {
  let ended = false
  const end = (): void => {
    ended = true
  }
  connection.socket.once('data', end).once('close', end)
  const startedAt = performance.now()
  let sent = 0
  while (sent < bytes.length && !ended) {
    await sleep(100)
    const due = Math.min(bytes.length, Math.floor(((performance.now() - startedAt) / 1000) * bytesPerSecond))
    if (due > sent) void connection.send(bytes.subarray(sent, due))
    sent = Math.max(sent, due)
  }
}

describe('slow senders', { concurrency: true }, () => {
  describe('slow heads', { concurrency: true }, () => {
    let service: RunningService
    before(async () => {
      service = await startService()
      await (await upload(service, png)).arrayBuffer()
    })
    after(() => service.stop())

    it('case 19: 200 heads that dribble in end with 408 at the time limit, while others are served', async () => {
      const before = baseline(service)
      const heads = [
        'GET /healthz HTTP/1.1\r\nHost: a.test\r\nX-A: ',
        'GE',
        'POST /v3/assets HTTP/1.1\r\n',
        '\r\n',
      ]
      const startedAt = performance.now()
      const slow = await Promise.all(Array.from({ length: 200 }, () => open(service)))
      const kept = slow.slice(0, 20) // these were answered once before
      for (const one of kept) {
        await one.send(requestHead('GET /healthz HTTP/1.1'))
        assert.equal((await one.answer()).status, 200)
      }
      // Blank lines alone begin no request: a connection that was answered stays idle with them.
      const headOf = (at: number): string => heads[at < kept.length ? 0 : at % heads.length] ?? ''
      slow.forEach((one, at) => void one.send(headOf(at)))
      let served = 0
      const dribble = setInterval(() => {
        slow.forEach((one, at) => {
          if (at % heads.length === 0) void one.send('a')
        })
      }, 1_000)
      let isOver = false
      const serving = (async () => {
        while (!isOver) {
          assert.equal((await exchange(service, [requestHead('GET /healthz HTTP/1.1')])).status, 200)
          assert.equal(
            (await exchange(service, [uploadRequest({ key: service.key, body: fileBody(png) })])).status,
            200,
          )
          served++
          await sleep(500)
        }
      })()
      const ends = await Promise.allSettled(
        slow.map(async (one) => {
          assertError(await one.answer({ withinMs: 40_000 }), {
            status: 408,
            code: 'request_timeout',
            param: null,
          })
          await one.closed(10_000)
          const seconds = (performance.now() - startedAt) / 1000
          assert.ok(seconds > 15 && seconds < 40, `after ${seconds} s`)
        }),
      )
      clearInterval(dribble)
      isOver = true
      await serving
      assert.deepEqual(
        ends.flatMap((end) => (end.status === 'rejected' ? [String(end.reason)] : [])),
        [],
      )
      assert.ok(served >= 10)
      for (const one of slow) one.reset()
      // The idle connection of the next test may have come meanwhile.
      await assertClean(service, { ...before, descriptors: before.descriptors + 1 }, { assets: served })
    })

    it('case 20: a connection that was answered and is idle is closed at the time that it was told', {
      skip: isShort && 'it takes more than a minute: in the long form',
    }, async () => {
      const idle = await open(service)
      await idle.send(requestHead('GET /healthz HTTP/1.1'))
      assert.equal((await idle.answer()).headers['keep-alive'], 'timeout=65')
      const startedAt = performance.now()
      assert.equal(await idle.closed(90_000), 'end')
      const seconds = (performance.now() - startedAt) / 1000
      assert.ok(seconds >= 64, `${seconds} s`)
    })
  })

  describe('slow bodies', { concurrency: true }, () => {
    let service: RunningService
    let clean: Baseline
    before(async () => {
      service = await startService({
        env: { ASSETD_BODY_IDLE_SECONDS: '2', ASSETD_MIN_BYTES_PER_SECOND: '1000' },
      })
      await (await upload(service, png)).arrayBuffer()
      clean = baseline(service)
    })
    after(async () => {
      await assertClean(service, clean, { assets: taken })
      await service.stop()
    })
    let taken = 0

    const filler = 'x'.repeat(10_000)
    const bodies = {
      'a file': fileBody(png),
      'another part': multipart([
        { name: 'note', body: filler },
        { fileName: 'a.png', body: png.subarray(0, 0) },
      ]),
      'bytes before the parts': Buffer.concat([latin1(`${filler}\r\n`), fileBody(png)]),
      'the head of a part': multipart([{ head: `X-A: ${filler}`, body: png }]),
    }
    for (const [what, body] of Object.entries(bodies)) {
      for (const length of [undefined, 'chunked'] as const) {
        const how = length ?? 'with a length'
        it(`case 81: ${what}, ${how}, below the least rate: 408, heard, and nothing is left`, async () => {
          const connection = await open(service)
          const sent = length === undefined ? body : chunked(body)
          await connection.send(
            uploadHead({ key: service.key, body, ...(length === undefined ? {} : { length }) }),
          )
          const startedAt = performance.now()
          void trickle(connection, sent, 400)
          const error = assertError(await connection.answer({ withinMs: 20_000 }), {
            status: 408,
            code: 'request_timeout',
            param: null,
          })
          assert.match(error.message, /bytes a second came, and at least 1000 must/)
          const seconds = (performance.now() - startedAt) / 1000
          assert.ok(seconds < 10, `after ${seconds} s`)
          await connection.closed(10_000)
          connection.reset()
        })
      }
    }

    for (const length of [undefined, 'chunked'] as const) {
      it(`case 81: far longer than any time limit, but above the least rate, ${length ?? 'with a length'}: 200`, async () => {
        const body = fileBody(samples.png({ sizeBytes: isShort ? 24_000 : 80_000 }))
        const sent = length === undefined ? body : chunked(body)
        const connection = await open(service)
        await connection.send(
          uploadHead({ key: service.key, body, ...(length === undefined ? {} : { length }) }),
        )
        const startedAt = performance.now()
        await trickle(connection, sent, 2_000)
        const answer = await connection.answer()
        assert.equal(answer.status, 200, String(answer.body))
        assert.ok(performance.now() - startedAt > (isShort ? 10_000 : 35_000))
        taken++
        connection.reset()
      })
    }

    it('case 81: a client that has sent a part and stops is told so, whatever it sent', async () => {
      const body = fileBody(png)
      await Promise.all(
        [0, 1, 60, 200, 5_000, body.length - 1].map(async (sent) => {
          const connection = await open(service)
          await connection.send(uploadHead({ key: service.key, body }), body.subarray(0, sent))
          const error = assertError(await connection.answer(), { status: 408, code: 'request_timeout' })
          assert.match(error.message, /no byte came for 2 seconds|bytes a second came/)
          await connection.closed(10_000)
          connection.reset()
        }),
      )
    })

    it('case 10, 81: a refused body that trickles on is heard, and let go within half a minute', async () => {
      const connection = await open(service)
      const announced = Buffer.alloc(1 * MiB)
      await connection.send(uploadHead({ key: 'unknown', body: announced }))
      assertError(await connection.answer(), { status: 401 })
      const startedAt = performance.now()
      const pulse = setInterval(() => void connection.send('x'), 500)
      await connection.closed(60_000).finally(() => clearInterval(pulse))
      const seconds = (performance.now() - startedAt) / 1000
      assert.ok(seconds > 5 && seconds < 45, `after ${seconds} s`)
      connection.reset()
    })
  })
})

describe('slow readers', () => {
  let service: RunningService
  let pid: number
  let path: string
  before(async () => {
    service = await startService()
    pid = serverPid(service)
    const stored = await plain(await upload(service, samples.png({ sizeBytes: 32 * MiB })))
    path = new URL((JSON.parse(String(stored.body)) as { data: { url: string } }).data.url).pathname
  })
  after(() => service.stop())

  const openBlobs = (): number => descriptors(pid).filter((target) => target.includes('/blobs/')).length

  /** They ask, and then take nothing. */
  async function readersOf(count: number, target = path): Promise<RawConnection[]> {
    const readers = await Promise.all(Array.from({ length: count }, () => open(service)))
    await Promise.all(
      readers.map(async (reader) => {
        reader.socket.pause()
        await reader.send(requestHead(`GET ${target} HTTP/1.1`))
      }),
    )
    if (target === path) await eventually(() => assert.equal(openBlobs(), count))
    return readers
  }

  it('case 82: 200 readers of 32 MB, some at 1 kB/s and some at nothing: memory is flat, and all is given back', async () => {
    const start = residentBytes(pid)
    const readers = await readersOf(200)
    await sleep(1_000)
    const early = residentBytes(pid)
    const sip = setInterval(() => {
      for (const reader of readers.slice(0, 100)) reader.socket.read(100)
    }, 100)
    const peaks: number[] = []
    for (let at = 0; at < (isShort ? 10 : 60); at++) {
      await sleep(500)
      peaks.push(residentBytes(pid))
      assert.equal((await exchange(service, [requestHead('GET /healthz HTTP/1.1')])).status, 200)
    }
    clearInterval(sip)
    const each = (Math.max(...peaks) - start) / readers.length
    // Three slices of 128 KiB each, and what the collector has not got to yet: nothing like the file's 32 MiB.
    assert.ok(each < 2 * MiB, `${Math.round(each)} bytes a reader`)
    assert.ok(Math.max(...peaks) - early < 48 * MiB, `it grows: ${early} to ${Math.max(...peaks)}`)
    assert.equal((await upload(service, png)).status, 200)
    for (const reader of readers) reader.reset()
    await eventually(() => assert.equal(openBlobs(), 0), 5_000)
  })

  it('case 82: a client that leaves in the middle: its file is closed soon', async () => {
    for (const how of ['reset', 'destroy'] as const) {
      const readers = await readersOf(20)
      for (const reader of readers) {
        if (how === 'reset') reader.reset()
        else reader.socket.destroy()
      }
      await eventually(() => assert.equal(openBlobs(), 0), 5_000) // a second, on a machine that does nothing else
    }
  })

  it('case 82: a reader that takes nothing more is let go after some minutes', {
    skip: isShort && 'it takes minutes: in the long form',
  }, async () => {
    const held = contentsOf(service.dataDir).assets.length
    const sockets = (): number => descriptors(pid).filter((target) => target.startsWith('socket:')).length
    const socketsBefore = sockets()
    // The page's script, five times on each connection: more than the systems at both ends buffer.
    const script = '/docs/swagger-ui-bundle.js'
    const readers = [...(await readersOf(100)), ...(await readersOf(100, script))]
    for (const reader of readers.slice(100))
      await reader.send(requestHead(`GET ${script} HTTP/1.1`).repeat(4))
    await eventually(() => assert.equal(sockets(), socketsBefore + readers.length))
    await eventually(() => assert.ok(sockets() <= socketsBefore), 300_000)
    assert.equal(openBlobs(), 0)
    for (const reader of readers) reader.reset()
    assert.equal(contentsOf(service.dataDir).assets.length, held)
  })
})
