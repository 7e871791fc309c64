import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import { type MediaType, mediaTypeNames } from '../asset.ts'
import { Fault } from '../errors.ts'
import { createFileReceiver, type FileSink, maxFieldBytes, type ReceivedFile } from './receive-file.ts'

const png = readFileSync(new URL('../../examples/first-upload.png', import.meta.url))
const sha256 = createHash('sha256').update(png).digest('hex')
const limits = { maxFileBytes: 32 * 1024 * 1024, allowedTypes: new Set<MediaType>(mediaTypeNames) }

const closing = '--B--\r\n'
const part = (name: string, data: Buffer | string, more = '', headers = ''): Buffer =>
  Buffer.concat([
    Buffer.from(`--B\r\nContent-Disposition: form-data; name="${name}"${more}\r\n${headers}\r\n`),
    Buffer.from(data),
    Buffer.from('\r\n'),
  ])
const bodyOf = (...pieces: (Buffer | string)[]): Buffer =>
  Buffer.concat(pieces.map((piece) => Buffer.from(piece)))

/** With the hash of what went to the sink. */
type Hashed = ReceivedFile & { sha256: string }
type Told = { file: Hashed } | { reason: unknown; details: unknown }

function receive(
  slices: Iterable<Buffer>,
  { sink, ...options }: Partial<typeof limits> & { sink?: FileSink } = {},
): Told {
  const hash = createHash('sha256')
  const hashing: FileSink = {
    write(slice) {
      hash.update(slice)
      return sink?.write(slice)
    },
  }
  const receiver = createFileReceiver('B', { ...limits, ...options }, hashing)
  try {
    for (const slice of slices) receiver.write(slice)
    return { file: { ...receiver.end(), sha256: hash.digest('hex') } }
  } catch (error) {
    assert.ok(error instanceof Fault, `not a Fault: ${error}`)
    assert.equal(error.code, 'invalid_parameter')
    assert.equal(error.param, 'file')
    return { reason: error.details?.reason, details: error.details }
  }
}

const reasonOf = (told: Told): unknown => ('reason' in told ? told.reason : 'none')
const fileOf = (told: Told): Hashed | undefined => ('file' in told ? told.file : undefined)

function* slicesOf(body: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < body.length; at += size) yield body.subarray(at, at + size)
}

test('a file: its type, size, hash and name, and its bytes as they were sent', () => {
  const body = bodyOf(
    part('file', png, '; filename="a.png"', 'Content-Type: application/octet-stream\r\n'),
    closing,
  )
  for (const size of [1, 7, 1024, body.length]) {
    const taken: Buffer[] = []
    const sink: FileSink = {
      write(slice) {
        taken.push(slice)
        return undefined
      },
    }
    const file = fileOf(receive(slicesOf(body, size), { sink }))
    assert.equal(file?.type, 'png')
    assert.equal(file?.sizeBytes, png.length)
    assert.equal(file?.sha256, sha256)
    assert.equal(file?.name, 'a.png')
    assert.ok(Buffer.concat(taken).equals(png), `slices of ${size}`)
  }
})

test('case 27: the file may be the first, the last or the middle part; others are ignored', () => {
  const file = part('file', png)
  for (const body of [
    bodyOf(file, closing),
    bodyOf(part('a', '1'), part('b', '2'), file, closing),
    bodyOf(file, part('a', '1'), closing),
    bodyOf('preamble\r\n', part('File', 'x'), file, part('files', 'y'), closing, 'epilogue'),
  ]) {
    assert.equal(fileOf(receive([body]))?.sha256, sha256)
  }
})

test('case 22: a part named file is the file without a file name too', () => {
  assert.equal(fileOf(receive([bodyOf(part('file', png), closing)]))?.name, null)
  assert.equal(fileOf(receive([bodyOf(part('file', png, '; filename=""'), closing)]))?.name, null)
})

test('case 22: no file', () => {
  assert.equal(reasonOf(receive([])), 'missing_file')
  assert.equal(reasonOf(receive([Buffer.from(closing)])), 'missing_file')
  assert.equal(reasonOf(receive([bodyOf(part('photo', png), closing)])), 'missing_file')
  assert.equal(reasonOf(receive([bodyOf(part('file ', png), closing)])), 'missing_file')
})

test('case 23: a cut body is no file, even where the file itself is whole', () => {
  assert.equal(reasonOf(receive([bodyOf(part('file', png))])), 'malformed_multipart')
  assert.equal(reasonOf(receive([bodyOf(part('file', png), '--B')])), 'malformed_multipart')
})

test('case 26: two files', () => {
  assert.equal(reasonOf(receive([bodyOf(part('file', png), part('file', png), closing)])), 'multiple_files')
  assert.equal(reasonOf(receive([bodyOf(part('file', png), part('file', ''), closing)])), 'multiple_files')
})

test('case 33: an empty file', () => {
  assert.equal(reasonOf(receive([bodyOf(part('file', ''), closing)])), 'empty_file')
})

test('case 34: the limit is inclusive, and nothing above it is handed on', () => {
  const body = bodyOf(part('file', png), closing)
  assert.equal(fileOf(receive([body], { maxFileBytes: png.length }))?.sizeBytes, png.length)
  for (const size of [1, 1024, body.length]) {
    let taken = 0
    const sink: FileSink = {
      write(slice) {
        taken += slice.length
        return undefined
      },
    }
    const told = receive(slicesOf(body, size), { maxFileBytes: png.length - 1, sink })
    assert.equal(reasonOf(told), 'file_too_large')
    assert.equal('details' in told ? (told.details as { max_bytes: number }).max_bytes : 0, png.length - 1)
    assert.ok(taken < png.length)
  }
})

test('the limit is of the file alone: other parts do not count', () => {
  const body = bodyOf(part('a', 'x'.repeat(1000)), part('file', png), closing)
  assert.equal(fileOf(receive([body], { maxFileBytes: png.length }))?.sizeBytes, png.length)
})

test('case 25: 1 MiB for all that is not the file, and not a byte more', () => {
  const file = part('file', png)
  const epilogue = '\r\n' // behind the closing boundary
  const room = maxFieldBytes - epilogue.length
  assert.equal(maxFieldBytes, 1024 * 1024)
  const fits = [
    bodyOf(part('a', 'x'.repeat(room)), file, closing),
    bodyOf(part('a', 'x'.repeat(room - 10)), file, part('b', 'x'.repeat(10)), closing),
    bodyOf('p'.repeat(room), '\r\n', file, closing),
    bodyOf(file, closing, 'e'.repeat(room)),
    bodyOf('p'.repeat(10), '\r\n', part('a', 'x'.repeat(room - 30)), file, closing, 'e'.repeat(20)),
  ]
  for (const [index, body] of fits.entries())
    assert.equal(fileOf(receive([body]))?.sha256, sha256, `body ${index}`)
  const tooMuch = [
    bodyOf(part('a', 'x'.repeat(room + 1)), file, closing),
    bodyOf(part('a', 'x'.repeat(room - 10)), file, part('b', 'x'.repeat(11)), closing),
    bodyOf('p'.repeat(room + 1), '\r\n', file, closing),
    bodyOf(file, closing, 'e'.repeat(room + 1)),
    bodyOf('p'.repeat(10), '\r\n', part('a', 'x'.repeat(room - 30)), file, closing, 'e'.repeat(21)),
  ]
  for (const [index, body] of tooMuch.entries()) {
    for (const size of [65_536, body.length])
      assert.equal(reasonOf(receive(slicesOf(body, size))), 'fields_too_large', `body ${index}`)
  }
})

test('case 36: a file of no known type is refused with its first bytes, and says what it was declared as', () => {
  const receiver = createFileReceiver('B', limits, { write: () => undefined })
  const gif = bodyOf('GIF89a', Buffer.alloc(65_536))
  assert.throws(
    () => receiver.write(part('file', gif, '', 'Content-Type: image/png\r\n')),
    (error) =>
      error instanceof Fault &&
      error.details?.reason === 'unsupported_type' &&
      error.details.declared === 'image/png',
  )
})

test('every fault of a file tells what was declared and detected, null where nothing was, and what is allowed', () => {
  for (const body of [
    bodyOf(part('a', 'x'.repeat(maxFieldBytes + 1)), closing),
    bodyOf(part('file', ''), closing),
    bodyOf(part('file', png.subarray(0, -20)), closing),
    bodyOf(part('file', 'GIF89a'), closing),
  ]) {
    const outcome = receive([body])
    assert.ok('details' in outcome)
    const { declared, allowed, ...rest } = outcome.details as Record<string, unknown>
    assert.equal(declared, null)
    assert.ok(Array.isArray(allowed) && allowed.includes('image/png'))
    assert.ok('detected' in rest && typeof rest.reason === 'string')
  }
})

test('case 35: the name and the declared type do not count, the bytes do', () => {
  const body = bodyOf(part('file', png, '; filename="x.pdf"', 'Content-Type: video/mp4\r\n'), closing)
  assert.equal(fileOf(receive([body]))?.type, 'png')
})

test('case 30: Content-Transfer-Encoding is not undone', () => {
  const headers = 'Content-Transfer-Encoding: base64\r\n'
  assert.equal(
    reasonOf(receive([bodyOf(part('file', png.toString('base64'), '', headers), closing)])),
    'unsupported_type',
  )
  assert.equal(fileOf(receive([bodyOf(part('file', png, '', headers), closing)]))?.sha256, sha256)
})

test('a type that is switched off is refused', () => {
  const told = receive([bodyOf(part('file', png), closing)], { allowedTypes: new Set(['pdf']) })
  assert.equal(reasonOf(told), 'unsupported_type')
})

test('a sink that asks to wait makes the sender wait, for that write alone', () => {
  const wait = Promise.resolve()
  let calls = 0
  // It asks on its first slice and not on the second, which comes in the same write.
  const sink: FileSink = { write: () => (calls++ === 0 ? wait : undefined) }
  const receiver = createFileReceiver('B', limits, sink)
  const start = part('file', '').subarray(0, -2)
  // 13 is a CR: it is held back until the next byte, so the data comes in two pieces.
  assert.equal(receiver.write(bodyOf(start, png.subarray(0, 4), Buffer.from([13]))), wait)
  calls = 0
  assert.equal(receiver.write(png.subarray(5, 40)), wait)
  assert.ok(calls > 1)
  assert.equal(receiver.write(png.subarray(40, 80)), undefined)
})

test('closed: true from the closing boundary on, not earlier', () => {
  const receiver = createFileReceiver('B', limits, { write: () => undefined })
  receiver.write(part('file', png))
  receiver.write(Buffer.from('--B-'))
  assert.equal(receiver.closed, false)
  receiver.write(Buffer.from('-'))
  assert.equal(receiver.closed, true)
  assert.equal(receiver.end().sizeBytes, png.length)
})

/** Bodies that are wrong in two ways at once: which one is told must not hang on how the network cut them. */
const wrongTwice: Record<string, { body: Buffer; maxFileBytes: number }> = {
  'an unknown type, and too large': {
    body: bodyOf(part('file', 'x'.repeat(60_000)), closing),
    maxFileBytes: 50_000,
  },
  'a damaged picture, and too large': {
    body: bodyOf(part('file', bodyOf(png.subarray(0, 2_500), Buffer.alloc(60_000))), closing),
    maxFileBytes: 50_000,
  },
  'too large, and a second file': {
    body: bodyOf(part('file', png), part('file', png), closing),
    maxFileBytes: 2_000,
  },
  'an unknown type, and cut': { body: part('file', 'x'.repeat(500)), maxFileBytes: 2_000 },
  'too large fields, and no file': {
    body: bodyOf(part('a', 'x'.repeat(maxFieldBytes + 1)), closing),
    maxFileBytes: 2_000,
  },
}

for (const [name, { body, maxFileBytes }] of Object.entries(wrongTwice)) {
  test(`case 28: ${name}: the same answer however the body is cut`, () => {
    const whole = receive([body], { maxFileBytes })
    assert.ok('reason' in whole)
    for (const size of [body.length > 100_000 ? 997 : 7, 100, 1_000])
      assert.deepEqual(receive(slicesOf(body, size), { maxFileBytes }), whole, `slices of ${size}`)
  })
}

test('any cut of any body with a good picture gives the same file', () => {
  const body = bodyOf('--B \r\n', part('a', 'one').subarray(5), part('file', png), part('b', ''), closing)
  const expected = fileOf(receive([body]))
  assert.equal(expected?.sha256, sha256)
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 3_000 }), { minLength: 1, maxLength: 40 }), (sizes) => {
      const slices: Buffer[] = []
      for (let at = 0, turn = 0; at < body.length; turn++) {
        const size = sizes[turn % sizes.length] ?? 1
        slices.push(body.subarray(at, at + size))
        at += size
      }
      assert.deepEqual(fileOf(receive(slices)), expected)
    }),
    { numRuns: 40 },
  )
})
