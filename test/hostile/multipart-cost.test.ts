/**
 * Cases 25, 29 and 38: what a body costs is in proportion to its length, whatever is in it. CPU is measured, never the
 * time on the clock; each flood takes turns with plain bytes of the same length, and the best turn of each counts.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { mediaTypeNames } from '../../src/asset.ts'
import { Fault } from '../../src/errors.ts'
import { createMultipartReader, maxPartHeaderBytes, maxParts } from '../../src/intake/multipart.ts'
import { createFileReceiver } from '../../src/intake/receive-file.ts'
import { isShort } from '../form.ts'
import { png, pngChunk, pngHeader, pngSignature } from '../media/samples.ts'
import {
  assertClean,
  baseline,
  boundary as doorBoundary,
  exchange,
  latin1,
  multipart,
  serverPid,
  uploadRequest,
} from '../raw-http.ts'
import { type RunningService, startService } from '../service.ts'

const MiB = 1024 * 1024
const turns = isShort ? 3 : 6
const floodBytes = (isShort ? 16 : 32) * MiB

/** Each beginning of a delimiter, from its first byte to all of them. */
const everyBeginning = (delimiter: string): string =>
  Array.from(delimiter, (_, index) => delimiter.slice(0, index + 1)).join('')

type Flood = { boundary: string; pattern: string; most: number }

const longest = 'A'.repeat(70)
/**
 * `most`: of this many times the CPU of plain bytes. Twice is what case 29 asks for; lines that have all of the
 * boundary and go on must be told from real ones one by one, in a receiver that else does no more than hash.
 */
const floods: Record<string, Flood> = {
  'near-boundaries': { boundary: 'BOUNDARY', pattern: '\r\n--BOUNDAR', most: 2 },
  'CR LF': { boundary: 'BOUNDARY', pattern: '\r\n', most: 2 },
  CR: { boundary: 'BOUNDARY', pattern: '\r', most: 2 },
  LF: { boundary: 'BOUNDARY', pattern: '\n', most: 2 },
  'CR LF CR': { boundary: 'BOUNDARY', pattern: '\r\n\r', most: 2 },
  dashes: { boundary: 'BOUNDARY', pattern: '-', most: 2 },
  'dashes, and a boundary of 69 dashes': { boundary: `${'-'.repeat(69)}A`, pattern: '-', most: 2 },
  'one letter, and a boundary of it': { boundary: longest, pattern: 'A', most: 2 },
  'the longest boundary without its line break': { boundary: longest, pattern: `\n--${longest}`, most: 2 },
  'the longest boundary, one letter short': {
    boundary: longest,
    pattern: `\r\n--${longest.slice(1)}`,
    most: 2,
  },
  'a boundary that repeats itself': { boundary: 'ab'.repeat(35), pattern: 'ab', most: 2 },
  'beginnings of every length': { boundary: 'BOUNDARY', pattern: everyBeginning('\r\n--BOUNDARY'), most: 8 },
  'long beginnings of every length': {
    boundary: longest,
    pattern: everyBeginning(`\r\n--${longest}`),
    most: 8,
  },
  'longer boundaries': { boundary: 'BOUNDARY', pattern: '\r\n--BOUNDARYx', most: 8 },
  'boundaries with one dash': { boundary: 'BOUNDARY', pattern: '\r\n--BOUNDARY-x', most: 8 },
  'boundaries with a CR': { boundary: 'BOUNDARY', pattern: '\r\n--BOUNDARY\r', most: 8 },
  'boundaries with much padding': { boundary: 'B', pattern: `\r\n--B${' '.repeat(250)}x`, most: 8 },
  'boundaries of one letter, longer': { boundary: 'A', pattern: '\r\n--Ax', most: 8 },
  'boundaries of one letter with a CR': { boundary: 'A', pattern: '\r\n--A\r', most: 8 },
}

/** Milliseconds of CPU that this takes. */
function cpuOf(work: () => void): number {
  const start = process.cpuUsage()
  work()
  const { user, system } = process.cpuUsage(start)
  return (user + system) / 1000
}

/** The least CPU of each, taking turns, so that a busy moment of the machine does not fall on one of them alone. */
function leastOf<Name extends string>(works: Record<Name, () => void>, rounds = turns): Record<Name, number> {
  const least = {} as Record<Name, number>
  for (let round = 0; round < rounds; round++) {
    for (const name of Object.keys(works) as Name[])
      least[name] = Math.min(least[name] ?? Number.POSITIVE_INFINITY, cpuOf(works[name]))
  }
  return least
}

/** A whole picture with any bytes in it: a private chunk that the format allows to hold anything. */
function pictureOf(pattern: string, bytes: number): Buffer {
  const behind = png().subarray(pngSignature.length + pngHeader(4, 3).length + pngChunk('paDd').length)
  const padding = pngChunk('paDd', Buffer.alloc(bytes, pattern, 'latin1'))
  return Buffer.concat([pngSignature, pngHeader(4, 3), padding, behind])
}

const plainText = 'plain text '
const fileHead = (boundary: string): string =>
  `--${boundary}\r\nContent-Disposition: form-data; name="file"\r\n\r\n`

/** What the door does with a body beside the network and the disk: parts, hash, and a look inside. */
function receive(boundary: string, body: Buffer, sliceBytes: number): void {
  const limits = { maxFileBytes: 33 * MiB, allowedTypes: new Set(mediaTypeNames) }
  const hash = createHash('sha256') // where it goes to is what hashes it
  const receiver = createFileReceiver(boundary, limits, { write: (slice) => void hash.update(slice) })
  for (let at = 0; at < body.length; at += sliceBytes) receiver.write(body.subarray(at, at + sliceBytes))
  assert.equal(receiver.end().type, 'png')
}

function bodyOf(boundary: string, pattern: string, bytes: number): Buffer {
  return Buffer.concat([
    latin1(fileHead(boundary)),
    pictureOf(pattern, bytes),
    latin1(`\r\n--${boundary}--\r\n`),
  ])
}

describe('case 29: a flood in a file', () => {
  for (const [name, { boundary, pattern, most }] of Object.entries(floods)) {
    test(`case 29: ${name}: at most ${most} times the CPU of plain bytes, and twice that of half as many`, (context) => {
      const plain = bodyOf(boundary, plainText, floodBytes)
      const full = bodyOf(boundary, pattern, floodBytes)
      const half = bodyOf(boundary, pattern, floodBytes / 2)
      const least = leastOf({
        plain: () => receive(boundary, plain, 65_536),
        full: () => receive(boundary, full, 65_536),
        half: () => receive(boundary, half, 65_536),
      })
      const times = least.full / least.plain
      context.diagnostic(`${least.full.toFixed(0)} ms of CPU, ${times.toFixed(1)} times plain bytes`)
      assert.ok(times < most, `${times} times`)
      assert.ok(least.full < 3 * least.half + 20, `${least.full} ms, and ${least.half} ms for half`)
    })
  }
})

describe('case 29: slices as small as a client can make them', () => {
  for (const [sliceBytes, bytes] of [
    [1, MiB / 4],
    [7, MiB],
    [1_000, 8 * MiB],
  ] as const) {
    test(`case 29: slices of ${sliceBytes}: no flood costs more than 8 times plain bytes`, (context) => {
      const works: Record<string, () => void> = {}
      for (const [name, { boundary, pattern }] of Object.entries({
        plain: { boundary: 'BOUNDARY', pattern: plainText },
        ...floods,
      })) {
        const body = bodyOf(boundary, pattern, bytes)
        works[name] = () => receive(boundary, body, sliceBytes)
      }
      const { plain = 0, ...others } = leastOf(works, 2)
      const worst = Object.entries(others).toSorted(([, a], [, b]) => b - a)[0] ?? ['none', 0]
      context.diagnostic(`plain ${plain.toFixed(0)} ms; worst ${worst[0]}: ${worst[1].toFixed(0)} ms`)
      for (const [name, ms] of Object.entries(others))
        assert.ok(ms < 8 * plain, `${name}: ${ms} ms, plain ${plain}`)
    })
  }
})

/** Outside of parts the receiver stops at 1 MiB; the machine alone must be linear all the same. */
function readOutside(boundary: string, pieces: Buffer[], sliceBytes = 65_536): number {
  let outside = 0
  const reader = createMultipartReader(boundary, {
    onPart() {},
    onData() {},
    onPartEnd() {},
    onOutside(bytes) {
      outside += bytes
    },
  })
  for (const piece of pieces) {
    for (let at = 0; at < piece.length; at += sliceBytes) reader.write(piece.subarray(at, at + sliceBytes))
  }
  reader.end()
  return outside
}

describe('cases 25 and 29: a flood outside of all parts', () => {
  const whole = (boundary: string): Buffer => latin1(`\r\n${fileHead(boundary)}x\r\n--${boundary}--`)
  for (const [name, { boundary, pattern }] of Object.entries(floods)) {
    test(`cases 25 and 29: ${name} as preamble and as epilogue`, (context) => {
      const flood = Buffer.alloc(floodBytes, pattern, 'latin1')
      const half = flood.subarray(0, floodBytes / 2)
      const before = latin1('p')
      const { preamble, halfPreamble, epilogue } = leastOf(
        {
          preamble: () =>
            assert.ok(readOutside(boundary, [before, flood, whole(boundary)]) > flood.length - 8),
          halfPreamble: () =>
            assert.ok(readOutside(boundary, [before, half, whole(boundary)]) > half.length - 8),
          epilogue: () => assert.equal(readOutside(boundary, [whole(boundary), flood]), flood.length),
        },
        3,
      )
      context.diagnostic(`${preamble.toFixed(0)} ms of CPU as preamble, ${epilogue.toFixed(1)} as epilogue`)
      assert.ok(preamble < 3 * halfPreamble + 20, `${preamble} ms, and ${halfPreamble} ms for half`)
      assert.ok(epilogue < 50, `${epilogue} ms: behind the closing boundary nothing is looked for`)
    })
  }
})

/** Parts, each with a head of this many bytes. Gives how it ended. */
function readHeads(
  head: (bytes: number) => string,
  bytes: number,
  { parts = maxParts, sliceBytes = 65_536 } = {},
): string {
  const one = latin1(`--B\r\n${head(bytes)}\r\n\r\nx\r\n`)
  const reader = createMultipartReader('B', { onPart() {}, onData() {}, onPartEnd() {}, onOutside() {} })
  try {
    for (let part = 0; part < parts; part++) {
      for (let at = 0; at < one.length; at += sliceBytes) reader.write(one.subarray(at, at + sliceBytes))
    }
    reader.write(latin1('--B--'))
    reader.end()
    return 'whole'
  } catch (error) {
    assert.ok(error instanceof Fault, String(error))
    return String(error.details?.reason)
  }
}

const disposition = 'Content-Disposition: form-data; name="a"'
const fill = (pattern: string, bytes: number): string =>
  pattern.repeat(Math.ceil(bytes / pattern.length)).slice(0, Math.max(0, bytes))

/** Heads that made other readers slow or large: tornado, Rack, PHP, python-multipart, commons-fileupload, dicer. */
const heads: Record<string, { head: (bytes: number) => string; end: string }> = {
  'many short lines': { head: (bytes) => `${disposition}\r\n${fill('a:\r\n', bytes - 60)}b:`, end: 'whole' },
  'lines that are blank but for a colon': {
    head: (bytes) => `${disposition}\r\n${fill(':\r\n', bytes - 60)}`,
    end: 'malformed_multipart',
  },
  'one long line without a colon': {
    head: (bytes) => `${disposition}\r\n${fill('a', bytes - 60)}`,
    end: 'malformed_multipart',
  },
  'many folded lines': {
    head: (bytes) => `${disposition}\r\n${fill('a:\r\n \r\n ', bytes - 60)}a`,
    end: 'malformed_multipart',
  },
  'one long value': { head: (bytes) => `${disposition}\r\na:${fill(' ', bytes - 60)}`, end: 'whole' },
  'a name full of escapes': {
    head: (bytes) => `Content-Disposition: form-data; name="${fill('a\\\\', bytes - 60)}aa"`,
    end: 'whole',
  },
  'a name of backslashes that never ends': {
    head: (bytes) => `Content-Disposition: form-data; name="${fill('\\', bytes - 60)}`,
    end: 'malformed_multipart',
  },
  'quotes alone': {
    head: (bytes) => `Content-Disposition: form-data; name=${fill('"', bytes - 60)}`,
    end: 'malformed_multipart',
  },
  'semicolons alone': { head: (bytes) => `${disposition}${fill(';', bytes - 60)}`, end: 'whole' },
  'quoted semicolons': { head: (bytes) => `${disposition}; b="${fill(';', bytes - 60)}"`, end: 'whole' },
  'many quoted semicolons': {
    head: (bytes) =>
      `${disposition}${Array.from({ length: Math.floor((bytes - 60) / 12) }, (_, at) => `; p${at}=";"`.slice(0, 12)).join('')}`,
    end: 'whole',
  },
  'many parameters': {
    head: (bytes) =>
      `${disposition}${Array.from({ length: Math.floor((bytes - 60) / 10) }, (_, at) => `; p${at}=x`).join('')}`,
    end: 'whole',
  },
  'equals signs': {
    head: (bytes) => `${disposition}; ${fill('=', bytes - 60)}`,
    end: 'malformed_multipart',
  },
  'blanks before a value': {
    head: (bytes) => `Content-Disposition:${fill(' \t', bytes - 80)}form-data; name="a"`,
    end: 'whole',
  },
  'blanks between parameters': {
    head: (bytes) => `${disposition}${fill('; \t', bytes - 60)}`,
    end: 'whole',
  },
  'a nested name': {
    head: (bytes) => `Content-Disposition: form-data; name="a${fill('[b]', bytes - 60)}"`,
    end: 'whole',
  },
  'encoded words': {
    head: (bytes) => `Content-Disposition: form-data; name="${fill('=?utf-8?B?', bytes - 60)}"`,
    end: 'whole',
  },
  'bytes that are no UTF-8': {
    head: (bytes) => `Content-Disposition: form-data; name="${fill('\xe2\x82', bytes - 60)}"`,
    end: 'whole',
  },
}

describe('case 25: heads of parts', () => {
  for (const [name, { head, end }] of Object.entries(heads)) {
    test(`case 25: ${name}: twice the head, at most about twice the CPU`, (context) => {
      const most = maxPartHeaderBytes - 40
      for (const bytes of [most / 2, most]) {
        assert.equal(readHeads(head, bytes), end)
        assert.equal(readHeads(head, bytes, { parts: 2, sliceBytes: 1 }), end)
      }
      const { full, half, byteByByte } = leastOf(
        {
          full: () => readHeads(head, most),
          half: () => readHeads(head, most / 2),
          byteByByte: () => readHeads(head, most, { parts: 10, sliceBytes: 1 }),
        },
        3,
      )
      context.diagnostic(
        `${full.toFixed(0)} ms of CPU for ${maxParts} parts; ${byteByByte.toFixed(0)} ms for 10, byte by byte`,
      )
      assert.ok(full < 3 * half + 20, `${full} ms, and ${half} ms for half`)
      assert.ok(full < 1_000, `${full} ms`)
      assert.ok(byteByByte < 1_000, `${byteByByte} ms for ten of them byte by byte`)
    })
  }

  test('case 25: 32 MiB of empty parts, of boundaries and of heads without an end stop at their limit', () => {
    const endings: [string, string, string][] = [
      ['empty parts', `--B\r\n${disposition}\r\n\r\n\r\n`, 'too_many_parts'],
      ['parts without headers', '--B\r\n\r\n\r\n', 'malformed_multipart'],
      ['boundaries alone', '--B\r\n', 'fields_too_large'],
      ['lines without an end', '--B\r\na: b\r\nc: ', 'fields_too_large'],
    ]
    for (const [what, pattern, reason] of endings) {
      const body = Buffer.alloc(32 * MiB, pattern, 'latin1')
      let consumed = 0
      const reader = createMultipartReader('B', { onPart() {}, onData() {}, onPartEnd() {}, onOutside() {} })
      const { once } = leastOf(
        {
          once() {
            assert.throws(
              () => {
                for (consumed = 0; consumed < body.length; consumed += 4_096)
                  reader.write(body.subarray(consumed, consumed + 4_096))
              },
              (error) => error instanceof Fault && error.details?.reason === reason,
              what,
            )
          },
        },
        1,
      )
      assert.ok(consumed < 64 * 1024, `${what}: ${consumed} bytes were read`)
      assert.ok(once < 500, `${what}: ${once} ms`)
    }
  })
})

describe('case 29 at the door', () => {
  let service: RunningService
  before(async () => {
    service = await startService()
  })
  after(() => service.stop())

  /** User and system time of the serving process, in ticks of 10 ms. */
  const ticksOf = (pid: number): number => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return Number(fields[11]) + Number(fields[12])
  }

  const noProc = process.platform === 'linux' ? false : 'CPU time is read from /proc, which Linux alone has'

  test('case 29: a file of near-boundaries costs the service less than twice a plain one, whole boundaries less than four times', {
    skip: noProc,
  }, async (context) => {
    const pid = serverPid(service)
    const start = baseline(service)
    const bytes = 16 * MiB
    const requestOf = (pattern: string, boundary: string): Buffer =>
      uploadRequest({
        key: service.key,
        body: multipart([{ body: pictureOf(pattern, bytes) }], boundary),
        contentType: `multipart/form-data; boundary=${boundary}`,
      })
    const requests = new Map([
      ['plain', requestOf(plainText, doorBoundary)],
      ['near-boundaries', requestOf(`\r\n--${doorBoundary.slice(0, -1)}`, doorBoundary)],
      ['CR LF', requestOf('\r\n', doorBoundary)],
      ['longer boundaries', requestOf(`\r\n--${doorBoundary}x`, doorBoundary)],
      ['boundaries of one letter, longer', requestOf('\r\n--Ax', 'A')],
      ['boundaries with much padding', requestOf(`\r\n--B${' '.repeat(250)}x`, 'B')],
    ])
    const least = new Map<string, number>()
    let taken = 0
    for (let round = 0; round < turns; round++) {
      for (const [name, request] of requests) {
        const ticks = ticksOf(pid)
        const answer = await exchange(service, [request], { withinMs: 60_000 })
        assert.equal(answer.status, 200, answer.body.toString())
        taken++
        least.set(name, Math.min(least.get(name) ?? Number.POSITIVE_INFINITY, ticksOf(pid) - ticks))
      }
    }
    const plain = least.get('plain') ?? 0
    context.diagnostic([...least].map(([name, ticks]) => `${name}: ${ticks * 10} ms`).join(', '))
    const asked = new Set(['plain', 'near-boundaries', 'CR LF'])
    for (const [name, ticks] of least) {
      // Two ticks are what the clock itself may be off.
      const most = (asked.has(name) ? 2 : 4) * plain + 2
      assert.ok(ticks <= most, `${name}: ${ticks * 10} ms, plain ${plain * 10}`)
    }
    await assertClean(service, start, { assets: taken })
  })
})
