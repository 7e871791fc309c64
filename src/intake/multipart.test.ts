import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Fault } from '../errors.ts'
import { createMultipartReader, maxPartHeaderBytes, maxParts, multipartBoundary } from './multipart.ts'
import type { PartHead } from './part-head.ts'

const boundary = 'BOUNDARY'

type Event =
  | { part: PartHead }
  | { data: string }
  | { partEnd: true }
  /** Bytes of preamble or epilogue. */
  | { outside: number }

/** All that a reader tells: neighbouring slices are one, so that it does not show how the bytes were cut. */
type Outcome = { events: Event[]; end: string; closed: boolean }

function feed(slices: Iterable<Buffer>, boundaryText = boundary): Outcome {
  const events: Event[] = []
  const reader = createMultipartReader(boundaryText, {
    onPart: (head) => events.push({ part: head }),
    onData(slice) {
      const last = events.at(-1)
      if (last !== undefined && 'data' in last) last.data += slice.toString('latin1')
      else events.push({ data: slice.toString('latin1') })
    },
    onPartEnd: () => events.push({ partEnd: true }),
    onOutside(bytes) {
      const last = events.at(-1)
      if (last !== undefined && 'outside' in last) last.outside += bytes
      else events.push({ outside: bytes })
    },
  })
  try {
    for (const slice of slices) reader.write(slice)
    reader.end()
    return { events, end: 'whole', closed: reader.closed }
  } catch (error) {
    return { events, end: reasonOf(error), closed: reader.closed }
  }
}

function reasonOf(error: unknown): string {
  assert.ok(error instanceof Fault, `not a Fault: ${error}`)
  assert.equal(error.code, 'invalid_parameter')
  assert.equal(error.param, 'file')
  return String(error.details?.reason)
}

function cutAt(body: Buffer, ...places: number[]): Buffer[] {
  const cuts = [0, ...places.toSorted((a, b) => a - b), body.length]
  return cuts.slice(1).map((cut, index) => body.subarray(cuts[index], cut))
}

function* byteByByte(body: Buffer): Generator<Buffer> {
  for (let at = 0; at < body.length; at++) yield body.subarray(at, at + 1)
}

/** Every split point of a short body; of a long one those near its ends and some between. */
function* splitPoints(length: number): Generator<number> {
  for (let at = 1; at < length; at++)
    if (length < 1_200 || at < 80 || at > length - 160 || at % 197 === 0) yield at
}

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1')
const disposition = (name: string): string => `Content-Disposition: form-data; name="${name}"\r\n`
const part = (name: string, data: string, headers = ''): string =>
  `--BOUNDARY\r\n${disposition(name)}${headers}\r\n${data}\r\n`
const closing = '--BOUNDARY--'
const headOf = (name: string): PartHead => ({ name, fileName: null, contentType: null })
const eventsOf = (name: string, data: string): Event[] => [
  { part: headOf(name) },
  ...(data === '' ? [] : [{ data }]),
  { partEnd: true },
]

/** A header block of exactly this many bytes: its lines with their line breaks, without the empty line. */
function headerBlock(size: number): string {
  const padding = 'X-Padding: \r\n'
  return `${disposition('a')}X-Padding: ${'p'.repeat(size - disposition('a').length - padding.length)}\r\n`
}

type Vector = { body: string; end: string; events?: Event[] }

const manyParts = (count: number): string => `${part('p', 'x').repeat(count)}${closing}\r\n`

const vectors: Record<string, Vector> = {
  'one part': {
    body: `${part('a', 'one')}${closing}\r\n`,
    end: 'whole',
    events: [...eventsOf('a', 'one'), { outside: 2 }],
  },
  'nothing behind the closing boundary': {
    body: part('a', 'one') + closing,
    end: 'whole',
    events: eventsOf('a', 'one'),
  },
  'several parts': {
    body: `${part('a', 'one')}${part('b', '')}${part('c', 'three')}${closing}`,
    end: 'whole',
    events: [...eventsOf('a', 'one'), ...eventsOf('b', ''), ...eventsOf('c', 'three')],
  },
  'a file name and a type': {
    body: `--BOUNDARY\r\nCONTENT-DISPOSITION: Form-Data; name="file"; filename="a \\"b\\".png"\r\ncontent-type:image/png\r\n\r\nx\r\n${closing}`,
    end: 'whole',
    events: [
      { part: { name: 'file', fileName: 'a "b".png', contentType: 'image/png' } },
      { data: 'x' },
      { partEnd: true },
    ],
  },
  'a file name in UTF-8': {
    body: Buffer.from(
      `--BOUNDARY\r\nContent-Disposition: form-data; name="file"; filename="é☃.png"\r\n\r\n\r\n${closing}`,
    ).toString('latin1'),
    end: 'whole',
    events: [{ part: { name: 'file', fileName: 'é☃.png', contentType: null } }, { partEnd: true }],
  },
  'a file name in Latin-1': {
    body: `--BOUNDARY\r\nContent-Disposition: form-data; name="file"; filename="\xe9.png"\r\n\r\n\r\n${closing}`,
    end: 'whole',
    events: [{ part: { name: 'file', fileName: 'é.png', contentType: null } }, { partEnd: true }],
  },
  // case 28
  'a preamble': {
    body: `This is a preamble.\r\n\r\n${part('a', 'one')}${closing}`,
    end: 'whole',
    events: [{ outside: 21 }, ...eventsOf('a', 'one')],
  },
  'a preamble that is one line break': {
    body: `\r\n${part('a', 'one')}${closing}`,
    end: 'whole',
    events: eventsOf('a', 'one'),
  },
  'a preamble that looks like a boundary': {
    body: `--BOUNDARx\r\n--BOUNDARY-\r\n${part('a', 'one')}${closing}`,
    end: 'whole',
    events: [{ outside: 23 }, ...eventsOf('a', 'one')],
  },
  'a boundary in the middle of a preamble line': {
    body: `xx--BOUNDARY\r\n${part('a', 'one')}${closing}`,
    end: 'whole',
    events: [{ outside: 12 }, ...eventsOf('a', 'one')],
  },
  'an epilogue': {
    body: `${part('a', 'one')}${closing}\r\nThe epilogue.\r\n${part('b', 'no part')}`,
    end: 'whole',
    events: [...eventsOf('a', 'one'), { outside: 17 + part('b', 'no part').length }],
  },
  'blanks after the boundaries': {
    body: `--BOUNDARY \t \r\n${disposition('a')}\r\none\r\n--BOUNDARY\t\r\n${disposition('b')}\r\ntwo\r\n--BOUNDARY-- \t\r\n`,
    end: 'whole',
    events: [...eventsOf('a', 'one'), ...eventsOf('b', 'two'), { outside: 4 }],
  },
  'more blanks after a boundary than are an accident': {
    body: `--BOUNDARY${' '.repeat(300)}\r\n${disposition('a')}\r\none\r\n${closing}`,
    end: 'malformed_multipart',
  },
  'LF alone': {
    body: `${part('a', 'one')}${closing}\r\n`.replaceAll('\r\n', '\n'),
    end: 'malformed_multipart',
    events: [{ outside: `${part('a', 'one')}${closing}\r\n`.replaceAll('\r\n', '\n').length }],
  },
  'LF alone in the headers of a part': {
    body: `--BOUNDARY\r\n${disposition('a').replace('\r\n', '\n')}X: y\r\n\r\none\r\n${closing}`,
    end: 'malformed_multipart',
  },
  'LF alone before a boundary': {
    body: `--BOUNDARY\r\n${disposition('a')}\r\none\n${closing}`,
    end: 'malformed_multipart',
  },
  // case 29
  'data that is nearly a boundary': {
    body: `${part('a', '\r\n--BOUNDAR\r\n--BOUNDAR\r\r\n--\r\n-\r\n\r\n--BOUNDARX')}${closing}`,
    end: 'whole',
    events: eventsOf('a', '\r\n--BOUNDAR\r\n--BOUNDAR\r\r\n--\r\n-\r\n\r\n--BOUNDARX'),
  },
  'data that begins with a longer boundary': {
    body: `${part('a', 'x\r\n--BOUNDARYx\r\n--BOUNDARY-x\r\n--BOUNDARY \tx\r\n--BOUNDARY \rx')}${closing}`,
    end: 'whole',
    events: eventsOf('a', 'x\r\n--BOUNDARYx\r\n--BOUNDARY-x\r\n--BOUNDARY \tx\r\n--BOUNDARY \rx'),
  },
  'a longer boundary as the first bytes of data': {
    body: `${part('a', '--BOUNDARYx')}${closing}`,
    end: 'whole',
    events: eventsOf('a', '--BOUNDARYx'),
  },
  'a longer boundary as the last bytes of data': {
    body: `${part('a', '\r\n--BOUNDARYx')}${closing}`,
    end: 'whole',
    events: eventsOf('a', '\r\n--BOUNDARYx'),
  },
  'a boundary, a CR, and then a real boundary': {
    body: `--BOUNDARY\r\n${disposition('a')}\r\none\r\n--BOUNDARY\r\r\n${closing}`,
    end: 'whole',
    events: eventsOf('a', 'one\r\n--BOUNDARY\r'),
  },
  'a boundary, blanks and a CR, and then a real boundary': {
    body: `--BOUNDARY\r\n${disposition('a')}\r\none\r\n--BOUNDARY \t\r\r\n${closing}`,
    end: 'whole',
    events: eventsOf('a', 'one\r\n--BOUNDARY \t\r'),
  },
  'a boundary and LF': {
    body: `${part('a', 'one\r\n--BOUNDARY\ntwo')}${closing}`,
    end: 'whole',
    events: eventsOf('a', 'one\r\n--BOUNDARY\ntwo'),
  },
  'a boundary with LF before it': {
    body: `${part('a', 'one\n--BOUNDARY\r\ntwo')}${closing}`,
    end: 'whole',
    events: eventsOf('a', 'one\n--BOUNDARY\r\ntwo'),
  },
  'line breaks alone as data': {
    body: `${part('a', '\r\n\r\n\r\r\n\n\r')}${closing}`,
    end: 'whole',
    events: eventsOf('a', '\r\n\r\n\r\r\n\n\r'),
  },
  'no data, and no line break of its own before the boundary': {
    body: `--BOUNDARY\r\n${disposition('a')}\r\n${closing}`,
    end: 'whole',
    events: eventsOf('a', ''),
  },
  // case 22, 23
  'the closing boundary alone': { body: `${closing}\r\n`, end: 'whole', events: [{ outside: 2 }] },
  'no byte at all': { body: '', end: 'missing_file', events: [] },
  'no boundary at all': { body: 'hello', end: 'malformed_multipart', events: [{ outside: 5 }] },
  'another boundary': {
    body: `${part('a', 'x')}${closing}`.replaceAll('BOUNDARY', 'OTHER'),
    end: 'malformed_multipart',
  },
  'no dashes before the boundary': { body: 'BOUNDARY\r\n\r\n\r\nBOUNDARY--', end: 'malformed_multipart' },
  'no closing boundary': { body: part('a', 'one'), end: 'malformed_multipart' },
  'one dash too few at the end': { body: `${part('a', 'one')}--BOUNDARY-`, end: 'malformed_multipart' },
  'a boundary that is the last thing': { body: `${part('a', 'one')}--BOUNDARY`, end: 'malformed_multipart' },
  // case 24, 25: headers
  'no headers': { body: `--BOUNDARY\r\n\r\none\r\n${closing}`, end: 'malformed_multipart', events: [] },
  'no name': {
    body: `--BOUNDARY\r\nContent-Disposition: form-data\r\n\r\none\r\n${closing}`,
    end: 'malformed_multipart',
  },
  'another disposition': {
    body: `--BOUNDARY\r\nContent-Disposition: attachment; name="a"\r\n\r\none\r\n${closing}`,
    end: 'malformed_multipart',
  },
  'two dispositions': {
    body: `--BOUNDARY\r\n${disposition('a')}${disposition('b')}\r\n\r\n${closing}`,
    end: 'malformed_multipart',
  },
  'two types': {
    body: part('a', '', 'Content-Type: a/b\r\ncontent-type: a/b\r\n') + closing,
    end: 'malformed_multipart',
  },
  'a disposition that gives the name twice': {
    body: `--BOUNDARY\r\nContent-Disposition: form-data; name="a"; name="b"\r\n\r\n\r\n${closing}`,
    end: 'malformed_multipart',
  },
  'a quote that does not end': {
    body: `--BOUNDARY\r\nContent-Disposition: form-data; name="a\r\n\r\n\r\n${closing}`,
    end: 'malformed_multipart',
  },
  'a folded header': { body: part('a', '', 'X-Long: a\r\n b\r\n') + closing, end: 'malformed_multipart' },
  'a header without a colon': { body: part('a', '', 'nonsense\r\n') + closing, end: 'malformed_multipart' },
  'a header without a name': { body: part('a', '', ': x\r\n') + closing, end: 'malformed_multipart' },
  'a blank before a colon': { body: part('a', '', 'X-A : x\r\n') + closing, end: 'malformed_multipart' },
  'NUL in a header': { body: part('a', '', 'X-A: \0\r\n') + closing, end: 'malformed_multipart' },
  'CR in a header': { body: part('a', '', 'X-A: a\rb\r\n') + closing, end: 'malformed_multipart' },
  'a header called __proto__': {
    body: part('__proto__', 'x', '__proto__: x\r\n') + closing,
    end: 'whole',
    events: eventsOf('__proto__', 'x'),
  },
  'headers of exactly 16 KiB': {
    body: `--BOUNDARY\r\n${headerBlock(maxPartHeaderBytes)}\r\none\r\n${closing}`,
    end: 'whole',
    events: eventsOf('a', 'one'),
  },
  'headers of 16 KiB and one byte': {
    body: `--BOUNDARY\r\n${headerBlock(maxPartHeaderBytes + 1)}\r\none\r\n${closing}`,
    end: 'fields_too_large',
    events: [],
  },
  'headers that never end': {
    body: `--BOUNDARY\r\n${'X: y\r\n'.repeat(10_000)}`,
    end: 'fields_too_large',
    events: [],
  },
  '100 parts': { body: manyParts(maxParts), end: 'whole' },
  '101 parts': { body: manyParts(maxParts + 1), end: 'too_many_parts' },
  '1,000 parts without a byte': { body: `${part('p', '').repeat(1_000)}${closing}`, end: 'too_many_parts' },
}

for (const [name, { body, end, events }] of Object.entries(vectors)) {
  test(`B22–B32: ${name}`, () => {
    const all = bytes(body)
    const whole = feed([all])
    assert.equal(whole.end, end)
    assert.equal(whole.closed, end === 'whole')
    if (events !== undefined) assert.deepEqual(whole.events, events)
    for (const at of splitPoints(all.length)) assert.deepEqual(feed(cutAt(all, at)), whole, `cut at ${at}`)
    assert.deepEqual(feed(byteByByte(all)), whole, 'byte by byte')
  })
}

test('the headers of 16 KiB are not counted together: each part has its own', () => {
  const one = `--BOUNDARY\r\n${headerBlock(maxPartHeaderBytes)}\r\none\r\n`
  assert.equal(feed([bytes(one + one + one + closing)]).end, 'whole')
})

test('101 parts: the first 100 have been told, the message says how many may be', () => {
  const { events } = feed([bytes(manyParts(maxParts + 1))])
  assert.equal(events.filter((event) => 'part' in event).length, 100)
  assert.equal(events.filter((event) => 'partEnd' in event).length, 100)
})

/** Bytes that a careless reader takes for a boundary, or loses while it looks for one. */
const hostileData = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        '\r',
        '\n',
        '\r\n',
        '-',
        '--',
        ' ',
        '\t',
        '\r\n--',
        '\r\n-',
        '\r\n--BOUNDAR',
        '\r\n\r\n',
      ),
      fc.constantFrom('--BOUNDARY', 'BOUNDARY', '\r\n--BOUNDARY', '\r\n--BOUNDARYx', '--BOUNDARY-', 'Y'),
      fc.uint8Array({ maxLength: 24 }).map((some) => Buffer.from(some).toString('latin1')),
    ),
    { maxLength: 40 },
  )
  .map((pieces) => pieces.join(''))
  .filter((data) => !/\r\n--BOUNDARY(--|[ \t]*\r\n)/.test(`\r\n${data}\r\n`))

const places = fc.array(fc.nat(), { maxLength: 12 })

test('any data comes out as it was sent, however it is cut', () => {
  fc.assert(
    fc.property(fc.array(hostileData, { minLength: 1, maxLength: 3 }), places, (all, cuts) => {
      const body = bytes(all.map((data, index) => part(`p${index}`, data)).join('') + closing)
      const expected = {
        events: all.flatMap((data, index) => eventsOf(`p${index}`, data)),
        end: 'whole',
        closed: true,
      }
      assert.deepEqual(feed(cutAt(body, ...cuts.map((cut) => cut % (body.length + 1)))), expected)
      assert.deepEqual(feed(byteByByte(body)), expected)
    }),
    { numRuns: 1_500 },
  )
})

test('any bytes at all: one outcome, a Fault or whole, however they are cut', () => {
  const anything = fc
    .array(
      fc.oneof(
        fc.constantFrom('--BOUNDARY', '\r\n--BOUNDARY', '--', '-', '\r', '\n', '\r\n', '\r\n\r\n', ' '),
        fc.constantFrom(disposition('a'), part('b', 'x'), closing, ': ', 'X-A: b\r\n'),
        fc.string({ maxLength: 4 }),
      ),
      { maxLength: 30 },
    )
    .map((pieces) => bytes(pieces.join('')))
  fc.assert(
    fc.property(anything, places, (body, cuts) => {
      const whole = feed([body])
      assert.equal(whole.closed, whole.end === 'whole')
      assert.deepEqual(feed(cutAt(body, ...cuts.map((cut) => cut % (body.length + 1)))), whole)
      assert.deepEqual(feed(byteByByte(body)), whole)
    }),
    { numRuns: 1_500 },
  )
})

test('case 23: a body cut anywhere before its closing boundary is a Fault, and never tells more than was sent', () => {
  fc.assert(
    fc.property(fc.array(hostileData, { minLength: 1, maxLength: 3 }), (all) => {
      const body = bytes(
        `preamble\r\n${all.map((data, index) => part(`p${index}`, data, 'Content-Type: a/b\r\n')).join('')}${closing}\r\nepilogue`,
      )
      const wholeFrom = body.lastIndexOf(closing) + closing.length
      for (let length = 0; length < body.length; length++) {
        const { events, end, closed } = feed([body.subarray(0, length)])
        if (length >= wholeFrom) assert.equal(end, 'whole')
        else
          assert.equal(end, length === 0 ? 'missing_file' : 'malformed_multipart', `cut to ${length} bytes`)
        assert.equal(closed, length >= wholeFrom)
        const told = events.flatMap((event) => ('data' in event ? [event.data] : []))
        const sent = all.filter((data) => data !== '')
        for (const [index, data] of told.entries()) {
          if (index < told.length - 1) assert.equal(data, sent[index])
          else assert.ok(sent[index]?.startsWith(data))
        }
      }
    }),
    { numRuns: 60 },
  )
})

test('a boundary of any legal characters is found', () => {
  const legal = "0123456789ABCXYZabcxyz'()+_,-./:=? "
  const boundaries = fc
    .string({ unit: fc.constantFrom(...legal), minLength: 1, maxLength: 70 })
    .filter((text) => !text.endsWith(' '))
  fc.assert(
    fc.property(boundaries, fc.uint8Array({ maxLength: 200 }), (text, data) => {
      assert.equal(multipartBoundary(`multipart/form-data; boundary="${text}"`), text)
      const body = Buffer.concat([
        bytes(`--${text}\r\n${disposition('a')}\r\n`),
        data,
        bytes(`\r\n--${text}--`),
      ])
      const expected = eventsOf('a', Buffer.from(data).toString('latin1'))
      assert.deepEqual(feed(byteByByte(body), text), { events: expected, end: 'whole', closed: true })
    }),
  )
})

test('data slices are views of what was written: nothing is copied', () => {
  const body = bytes(part('a', 'some data of a part') + closing)
  let seen: Buffer | undefined
  const reader = createMultipartReader(boundary, {
    onPart() {},
    onData(slice) {
      seen = slice
    },
    onPartEnd() {},
    onOutside() {},
  })
  reader.write(body)
  assert.equal(seen?.buffer, body.buffer)
})

test('what a handler throws comes out of write', () => {
  const stop = new Error('stop')
  const reader = createMultipartReader(boundary, {
    onPart() {
      throw stop
    },
    onData() {},
    onPartEnd() {},
    onOutside() {},
  })
  assert.throws(() => reader.write(bytes(part('a', 'one'))), stop)
})

/** Of CPU, for 16 MiB: far above what it takes, far below what anything quadratic would. */
const mostMs = 1_500

type Cost = { ms: number; writes: number; pieces: number }

/** What 16 MiB of this data cost in slices as sockets give them; CPU is the best of at most three runs. */
function costOf(pattern: string, sliceBytes = 65_536, megabytes = 16): Cost {
  const data = bytes(pattern.repeat(Math.floor((megabytes * 1024 * 1024) / pattern.length)))
  const tail = bytes(`\r\n${closing}`)
  const head = bytes(`--BOUNDARY\r\n${disposition('a')}\r\n`)
  const cost = { ms: Number.POSITIVE_INFINITY, writes: Math.ceil(data.length / sliceBytes), pieces: 0 }
  for (let run = 0; run < 3; run++) {
    let received = 0
    cost.pieces = 0
    const reader = createMultipartReader(boundary, {
      onPart() {},
      onData(slice) {
        received += slice.length
        cost.pieces++
      },
      onPartEnd() {},
      onOutside() {},
    })
    const before = process.cpuUsage()
    reader.write(head)
    for (let at = 0; at < data.length; at += sliceBytes) reader.write(data.subarray(at, at + sliceBytes))
    reader.write(tail)
    reader.end()
    const { user, system } = process.cpuUsage(before)
    cost.ms = Math.min(cost.ms, (user + system) / 1000)
    assert.equal(received, data.length)
    if (cost.ms < mostMs) break
  }
  return cost
}

const costly = {
  'line breaks': '\r\n',
  CRs: '\r',
  dashes: '-',
  'near-boundaries': '\r\n--BOUNDAR',
  'longer boundaries': '\r\n--BOUNDARYx',
  'boundaries with a dash': '\r\n--BOUNDARY-',
  'boundaries with blanks': `\r\n--BOUNDARY${' '.repeat(60)}x`,
}

for (const [name, pattern] of Object.entries(costly)) {
  test(`case 29: 16 MiB of ${name} take linear time`, (context) => {
    const { ms, writes, pieces } = costOf(pattern)
    context.diagnostic(`${Math.round(ms)} ms of CPU for 16 MiB`)
    assert.ok(ms < mostMs, `${ms} ms`)
    // Each piece is hashed, inspected and gathered by itself: in crumbs of 6 bytes a file costs a hundred times more.
    assert.ok(pieces <= 8 * writes, `${pieces} pieces for ${writes} slices`)
  })
}

test('case 29: slices of one byte take linear time', (context) => {
  const { ms } = costOf('\r\n--BOUNDAR', 1, 1)
  context.diagnostic(`${Math.round(ms)} ms of CPU for 1 MiB`)
  assert.ok(ms < mostMs, `${ms} ms`)
})

test('case 29: header lines in slices of one byte take linear time', () => {
  const body = bytes(`--BOUNDARY\r\n${headerBlock(maxPartHeaderBytes)}\r\none\r\n`)
  const before = process.cpuUsage()
  for (let run = 0; run < 5; run++) feed(byteByByte(body))
  assert.ok(process.cpuUsage(before).user / 1000 < 1_000)
})

// case 21
const contentTypes: [contentType: string | undefined, outcome: { boundary: string } | { reason: string }][] =
  [
    ['multipart/form-data; boundary=abc', { boundary: 'abc' }],
    ['multipart/form-data;boundary=abc', { boundary: 'abc' }],
    ['Multipart/Form-Data; BOUNDARY=AbC', { boundary: 'AbC' }],
    ['multipart/form-data; charset=utf-8; boundary="a b"', { boundary: 'a b' }],
    [
      'multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW',
      { boundary: '----WebKitFormBoundary7MA4YWxkTrZu0gW' },
    ],
    [`multipart/form-data; boundary=${'x'.repeat(70)}`, { boundary: 'x'.repeat(70) }],
    [undefined, { reason: 'missing_file' }],
    ['', { reason: 'missing_file' }],
    ['application/json', { reason: 'missing_file' }],
    ['application/x-www-form-urlencoded', { reason: 'missing_file' }],
    ['multipart/mixed; boundary=abc', { reason: 'missing_file' }],
    ['multipart/form-dataX; boundary=abc', { reason: 'missing_file' }],
    ['text/plain; multipart/form-data; boundary=abc', { reason: 'missing_file' }],
    ['multipart/form-data', { reason: 'malformed_multipart' }],
    ['multipart/form-data;', { reason: 'malformed_multipart' }],
    ['multipart/form-data; boundary', { reason: 'malformed_multipart' }],
    ['multipart/form-data; boundary=', { reason: 'malformed_multipart' }],
    ['multipart/form-data; boundary=""', { reason: 'malformed_multipart' }],
    ['multipart/form-data; boundary="abc', { reason: 'malformed_multipart' }],
    ['multipart/form-data; boundary="abc "', { reason: 'malformed_multipart' }],
    [`multipart/form-data; boundary=${'x'.repeat(71)}`, { reason: 'malformed_multipart' }],
    ['multipart/form-data; boundary=a; boundary=a', { reason: 'malformed_multipart' }],
    ['multipart/form-data; boundary=a, multipart/form-data; boundary=b', { reason: 'malformed_multipart' }],
    ['multipart/form-data; boundary="a\rb"', { reason: 'malformed_multipart' }],
    ['multipart/form-data; boundary="a\r\nb"', { reason: 'malformed_multipart' }],
    ['multipart/form-data; boundary=a;b', { reason: 'malformed_multipart' }],
    ['multipart/form-data; boundary=a*b', { reason: 'malformed_multipart' }],
    ['multipart/form-data; boundary="é"', { reason: 'malformed_multipart' }],
  ]

for (const [contentType, outcome] of contentTypes) {
  test(`case 21: Content-Type ${JSON.stringify(contentType)?.slice(0, 90)}`, () => {
    let found: unknown
    try {
      found = { boundary: multipartBoundary(contentType) }
    } catch (error) {
      found = { reason: reasonOf(error) }
    }
    assert.deepEqual(found, outcome)
  })
}

test('case 21: the message of a long Content-Type is short', () => {
  assert.throws(
    () => multipartBoundary(`application/${'x'.repeat(10_000)}`),
    (error: Error) => error.message.length < 400 && error.message.includes('application/xxx'),
  )
})
