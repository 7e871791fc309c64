/**
 * Cases 21 to 32: bodies that stopped, fooled or filled other readers. Each has one answer, however it is cut, in our
 * reader and at the door; nothing of it stays, and the next upload works.
 */
import assert from 'node:assert/strict'
import { createHash, randomInt } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import fc from 'fast-check'
import { mediaTypeNames } from '../../src/asset.ts'
import { Fault } from '../../src/errors.ts'
import { createMultipartReader, multipartBoundary } from '../../src/intake/multipart.ts'
import { createFileReceiver, type ReceivedFile } from '../../src/intake/receive-file.ts'
import { isShort } from '../form.ts'
import {
  assertClean,
  assertError,
  baseline,
  chunked,
  exchange,
  fileBody,
  multipart,
  open,
  type RawAnswer,
  requestHead,
  serverPid,
  uploadHead,
  uploadRequest,
} from '../raw-http.ts'
import { type RunningService, startService } from '../service.ts'
import { image, vectors } from './multipart-vectors.ts'

type Told = { file: ReceivedFile; stored: string } | { reason: unknown; message: string; details: unknown }

/** What the reader tells of a body in these slices, and the bytes that it would have stored. */
function receive(contentType: string, slices: Iterable<Buffer>): Told {
  const limits = { maxFileBytes: 32 * 1024 * 1024, allowedTypes: new Set(mediaTypeNames) }
  const stored = createHash('sha256')
  try {
    const receiver = createFileReceiver(multipartBoundary(contentType), limits, {
      write(slice) {
        stored.update(slice)
        return undefined
      },
    })
    for (const slice of slices) receiver.write(slice)
    return { file: receiver.end(), stored: stored.digest('hex') }
  } catch (error) {
    assert.ok(error instanceof Fault, `not a Fault: ${error}`)
    assert.equal(error.param, 'file')
    return { reason: error.details?.reason, message: error.message, details: error.details }
  }
}

function* slicesOf(body: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < body.length; at += size) yield body.subarray(at, at + size)
}

/** Every place of a short body; of a long one, which is long by repeating itself, those near its ends and some between. */
function* splitPoints(length: number): Generator<number> {
  const [edge, between] = length > 200_000 ? [60, 20] : isShort ? [100, 200] : [600, 2_000]
  const every = length <= 4_096 ? 1 : Math.ceil(length / between)
  for (let at = 1; at < length; at++) if (at < edge || at > length - 2 * edge || at % every === 0) yield at
}

describe('cases 21–32: one answer, however the body is cut', () => {
  for (const { story, body, contentType, expected } of vectors) {
    test(`cases 21–32: ${story}`, () => {
      const whole = receive(contentType, [body])
      if (expected === 200) {
        assert.ok('file' in whole, JSON.stringify(whole))
        assert.equal(whole.file.type, 'png')
        assert.ok(whole.file.sizeBytes - image.length <= 2, 'no more than a line break was added')
      } else {
        assert.ok('reason' in whole, JSON.stringify(whole))
        assert.equal(whole.reason, expected)
      }
      for (const at of splitPoints(body.length))
        assert.deepEqual(
          receive(contentType, [body.subarray(0, at), body.subarray(at)]),
          whole,
          `cut at ${at}`,
        )
      const sizes = body.length > 200_000 ? [997, 65_536] : [1, 2, 3, 7, 64, 1_000]
      for (const size of sizes)
        assert.deepEqual(receive(contentType, slicesOf(body, size)), whole, `slices of ${size}`)
    })
  }

  test('case 31: no name became a member of every object', () => {
    assert.equal(Reflect.get({}, 'polluted'), undefined)
    assert.deepEqual(Object.keys(Object.prototype), [])
  })
})

describe('cases 21–32: at the door', () => {
  let service: RunningService
  before(async () => {
    service = await startService()
    assert.equal((await good()).status, 200)
  })
  after(() => service.stop())

  const good = (): Promise<RawAnswer> =>
    exchange(service, [uploadRequest({ key: service.key, body: fileBody(image) })])

  test('cases 21–32: each has the answer of the reader, and the next upload works', async () => {
    const pid = serverPid(service)
    const start = baseline(service)
    let taken = 0
    for (const { story, body, contentType, expected } of vectors) {
      const request = uploadRequest({ key: service.key, body, contentType })
      const answer = await exchange(service, [request])
      if (expected === 200) {
        assert.equal(answer.status, 200, `${story}: ${answer.body}`)
        taken++
      } else {
        assertError(answer, { status: 400, code: 'invalid_parameter', param: 'file', reason: expected })
      }
      assert.equal((await good()).status, 200, `the upload after: ${story}`)
      taken++
    }
    await assertClean(service, start, { assets: taken })
    assert.equal(serverPid(service), pid, 'it is the process that it was')
  })

  test('case 28: each in chunks of a byte, as far as it is short', async () => {
    const start = baseline(service)
    let taken = 0
    for (const { story, body, contentType, expected } of vectors) {
      if (body.length > 1_500) continue
      const pieces = Array.from(body, (byte) => Buffer.from([byte]))
      const head = uploadHead({ key: service.key, body, contentType, length: 'chunked' })
      const answer = await exchange(service, [head, chunked(...pieces)])
      if (expected === 200) taken++
      else assertError(answer, { status: 400, reason: expected })
      assert.equal(answer.status, expected === 200 ? 200 : 400, `${story}: ${answer.body}`)
    }
    assert.ok(taken > 20, `${taken} were taken`)
    await assertClean(service, start, { assets: taken })
  })

  test('case 12, multer CVE-2025-47935 and CVE-2026-2359: connections that drop within a body leave nothing', async () => {
    const pid = serverPid(service)
    const start = baseline(service)
    const body = fileBody(image)
    const cuts = Array.from({ length: isShort ? 40 : 200 }, (_, at) => at % (body.length - 6))
    for (const [turn, cut] of cuts.entries()) {
      const connection = await open(service)
      await connection.send(uploadHead({ key: service.key, body }), body.subarray(0, cut))
      if (turn % 2 === 0) connection.reset()
      else connection.socket.destroy()
    }
    await assertClean(service, start)
    assert.equal((await good()).status, 200)
    assert.equal(serverPid(service), pid)
  })

  test('case 32: whatever a file is called, its bytes are served under a name of ours', async () => {
    const start = baseline(service)
    const seed = randomInt(2 ** 31)
    // Everything but what ends a quoted name or a line.
    const text = fc
      .string({ unit: 'binary', maxLength: 300 })
      .map((name) => Buffer.from(name.replace(/[\0\r\n"\\]/g, '_')))
    const bytes = fc
      .uint8Array({ maxLength: 300 })
      .map((name) => Buffer.from(name.map((byte) => ([0, 10, 13, 34, 92].includes(byte) ? 95 : byte))))
    const names = fc.sample(fc.oneof(text, bytes), { numRuns: isShort ? 60 : 600, seed })
    for (const name of names) {
      const head = Buffer.concat([
        Buffer.from('Content-Disposition: form-data; name="file"; filename="'),
        name,
        Buffer.from('"'),
      ])
      const answer = await exchange(service, [
        uploadRequest({ key: service.key, body: multipart([{ head, body: image }]) }),
      ])
      const shown = `seed ${seed}, ${name.toString('hex')}`
      assert.equal(answer.status, 200, shown)
      const { url, asset_id: id } = JSON.parse(answer.body.toString()).data
      assert.equal(new URL(url).pathname, `/files/${id}.png`, shown)
      const served = await exchange(service, [requestHead(`GET /files/${id}.png HTTP/1.1`)])
      assert.equal(served.headers['content-disposition'], `inline; filename="${id}.png"`, shown)
      assert.ok(served.body.equals(image), shown)
    }
    await assertClean(service, start, { assets: names.length })
  })
})

describe('case 23: bodies that stop, on connections that stay', () => {
  test('case 23: wherever a body stops, the answer is 408 once it was idle, and nothing stays', async () => {
    const service = await startService({ env: { ASSETD_BODY_IDLE_SECONDS: '1' } })
    try {
      const start = baseline(service)
      const body = Buffer.concat([Buffer.from('preamble\r\n'), fileBody(image)])
      const head = body.indexOf('Content-Type')
      const data = body.indexOf('\r\n\r\n') + 4
      const last = body.lastIndexOf('--')
      const places = [0, 4, 12, head, data - 2, data, data + 1, data + image.length, last - 1, last, last + 1]
      const stopped = await Promise.all(
        places.flatMap((place) =>
          [body.length, 'chunked' as const].map(async (length) => {
            const connection = await open(service)
            const sent = body.subarray(0, place)
            // A chunk of no bytes would be the end of the body.
            const pieces = length === 'chunked' && place > 0 ? chunked(sent).subarray(0, -5) : sent
            await connection.send(uploadHead({ key: service.key, body, length }), pieces)
            return { connection, place, length }
          }),
        ),
      )
      for (const { connection, place, length } of stopped) {
        const answer = await connection.answer({ withinMs: 20_000 })
        assertError(answer, { status: 408, code: 'request_timeout' })
        assert.equal(answer.headers.connection, 'close', `${place}, ${length}`)
        connection.reset()
      }
      await assertClean(service, start)
    } finally {
      await service.stop()
    }
  })
})

describe('case 25: memory', () => {
  const MiB = 1024 * 1024
  /** Parts of bodies that go on for 32 MiB, each fed from the same 64 KiB of memory. */
  const endless: Record<string, { before: string; pattern: string; outside: boolean }> = {
    'a preamble': { before: 'x', pattern: 'preamble\r\n', outside: true },
    'a preamble of near-boundaries': { before: 'x', pattern: '\r\n--', outside: true },
    'an epilogue': { before: '--B--', pattern: '\r\n--B', outside: true },
    'a field': {
      before: '--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n',
      pattern: 'v',
      outside: false,
    },
    'a field of longer boundaries': {
      before: '--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n',
      pattern: '\r\n--Bx',
      outside: false,
    },
  }
  for (const [name, { before, pattern, outside }] of Object.entries(endless)) {
    test(`case 25: ${name} of 32 MiB takes less than 1 MiB of memory`, () => {
      const seen = { data: 0, outside: 0 }
      const reader = createMultipartReader('B', {
        onPart() {},
        onData(slice) {
          seen.data += slice.length
        },
        onPartEnd() {},
        onOutside(bytes) {
          seen.outside += bytes
        },
      })
      const slice = Buffer.alloc(64 * 1024, pattern)
      reader.write(Buffer.from(before))
      const start = process.memoryUsage().arrayBuffers
      for (let fed = 0; fed < 32 * MiB; fed += slice.length) {
        reader.write(slice)
        const grown = process.memoryUsage().arrayBuffers - start
        assert.ok(grown < MiB, `${grown} bytes more after ${fed}`)
      }
      assert.ok(seen[outside ? 'outside' : 'data'] > 32 * MiB - 64 * 1024)
    })
  }
})
