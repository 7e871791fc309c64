/**
 * Cases 33 to 39: the look inside. Whatever the bytes, there is one verdict however they are cut; nothing but faults of
 * the file is thrown; and what was cut off is never taken for whole where its container can know.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type MediaType, mediaTypeNames } from '../../src/asset.ts'
import { Fault } from '../../src/errors.ts'
import { createInspector } from '../../src/intake/container/inspector.ts'
import { isShort } from '../form.ts'
import { allTypes, inShort, verdictOf } from '../media/judge.ts'
import * as made from '../media/samples.ts'

const { samples } = made
const numRuns = isShort ? 3_000 : 60_000

/** The verdict on these slices; the memory of each is used again before the next comes, as a socket's is. */
function verdictOfSlices(slices: readonly Buffer[]): unknown {
  const inspector = createInspector({ allowed: allTypes })
  try {
    for (const slice of slices) {
      const own = Buffer.from(slice)
      inspector.write(own)
      own.fill(0xff)
    }
    return inspector.end()
  } catch (error) {
    assert.ok(error instanceof Fault, `not a Fault: ${error}`)
    return { reason: error.details?.reason, detected: error.details?.detected, message: error.message }
  }
}

function cutAt(file: Buffer, places: readonly number[]): Buffer[] {
  const cuts = [0, ...places.map((place) => place % (file.length + 1)).toSorted((a, b) => a - b), file.length]
  return cuts.slice(1).map((cut, index) => file.subarray(cuts[index], cut))
}

const type = fc.constantFrom(...mediaTypeNames)
/** A few kilobytes more than the smallest, so that there is more than one slice and more than the first look. */
const sample = fc
  .tuple(type, fc.oneof(fc.constant(0), fc.nat(9_000)))
  .map(([name, more]) => samples[name]({ sizeBytes: samples[name]().length + more }))

/** Pieces of the containers, right and wrong, that a mutated file may get anywhere. */
const pieces = fc.oneof(
  fc.uint8Array({ maxLength: 9 }).map((bytes) => Buffer.from(bytes)),
  fc.constantFrom(
    made.pngSignature,
    made.pngChunk('IEND'),
    made.pngChunk('IDAT', Buffer.alloc(3)),
    made.pngHeader(2 ** 31 - 1, 2 ** 31 - 1),
    Buffer.from('ffffffff49444154', 'hex'),
    made.jpegParts.soi,
    made.jpegParts.eoi,
    made.jpegParts.scan,
    made.jpegSegment(0xfe, Buffer.from('<script>')),
    made.ftyp('isom', 'mp41'),
    made.ftyp('qt  '),
    made.box('moov'),
    made.box('mdat'),
    Buffer.from('000000006d646174', 'hex'),
    Buffer.from('000000016d646174ffffffffffffffff', 'hex'),
    made.ebmlHeader('webm'),
    made.ebmlHeader('matroska'),
    Buffer.from('1853806701ffffffffffffff', 'hex'),
    made.webmParts.cluster,
    made.id3(Buffer.alloc(5)),
    Buffer.from('ID3\x04\0\0\x7f\x7f\x7f\x7f', 'latin1'),
    made.mp3Frame(),
    made.riff('WAVE'),
    made.riffChunk('data', Buffer.alloc(1)),
    Buffer.from('RF64\xff\xff\xff\xffWAVE', 'latin1'),
    Buffer.from('data\xff\xff\xff\xff', 'latin1'),
    Buffer.from('%PDF-1.7\n'),
    Buffer.from('startxref\n0\n%%EOF'),
    Buffer.from('PK\x03\x04'),
    Buffer.from('<html>'),
  ),
)

type Change = { at: number; remove: number; insert: Buffer; flip: number }
const change: fc.Arbitrary<Change> = fc.record({
  at: fc.nat(20_000),
  remove: fc.oneof(fc.constant(0), fc.nat(8), fc.nat(600)),
  insert: fc.oneof(fc.constant(Buffer.alloc(0)), pieces),
  flip: fc.nat(255),
})

function changed(file: Buffer, changes: readonly Change[]): Buffer {
  let result = file
  for (const { at, remove, insert, flip } of changes) {
    const place = at % (result.length + 1)
    const behind = Buffer.from(result.subarray(Math.min(result.length, place + remove)))
    if (behind.length > 0) behind[0] = (behind[0] ?? 0) ^ flip
    result = Buffer.concat([result.subarray(0, place), insert, behind])
  }
  return result
}

const places = fc.array(fc.nat(20_000), { maxLength: 30 })

test('cases 35 and 39: any damage to any sample: one verdict, however it is cut', (context) => {
  const seen = new Map<unknown, number>()
  fc.assert(
    fc.property(sample, fc.array(change, { maxLength: 4 }), places, (file, changes, cuts) => {
      const bytes = changed(file, changes)
      const whole = verdictOf(bytes)
      const kind = 'type' in whole ? 'accepted' : whole.reason
      seen.set(kind, (seen.get(kind) ?? 0) + 1)
      assert.deepEqual(verdictOfSlices(cutAt(bytes, cuts)), whole)
      assert.deepEqual(verdictOfSlices([bytes]), whole, 'in one piece')
    }),
    { numRuns },
  )
  context.diagnostic(JSON.stringify(Object.fromEntries(seen)))
  for (const kind of ['accepted', 'corrupt_file', 'unsupported_type'])
    assert.ok((seen.get(kind) ?? 0) > numRuns / 100, `only ${seen.get(kind)} were ${kind}`)
})

test('case 37: two files in one: one verdict, however it is cut, and never that of the second alone', () => {
  const head = fc.tuple(sample, fc.nat(5_000)).map(([file, bytes]) => file.subarray(0, bytes))
  fc.assert(
    fc.property(
      head,
      fc.tuple(type, sample),
      fc.array(change, { maxLength: 1 }),
      places,
      (first, [, second], changes, cuts) => {
        const bytes = changed(Buffer.concat([first, second]), changes)
        const whole = verdictOf(bytes)
        assert.deepEqual(verdictOfSlices(cutAt(bytes, cuts)), whole)
        // What is told begins like it: nothing is taken for a type whose mark stands further behind.
        if ('type' in whole)
          assert.ok(beginsLike(whole.type, bytes), `${whole.type}: ${bytes.toString('hex', 0, 16)}`)
      },
    ),
    { numRuns },
  )
})

function beginsLike(name: MediaType, bytes: Buffer): boolean {
  /** In hexadecimal, two digits a byte. */
  const marks: Record<MediaType, RegExp> = {
    png: /^89504e470d0a1a0a/,
    jpeg: /^ffd8ff/,
    mp4: /^.{8}66747970/,
    webm: /^1a45dfa3/,
    mp3: /^(494433|ff[ef])/,
    wav: /^(52494646|52463634|42573634).{8}57415645/,
    pdf: /^255044462d/,
  }
  return marks[name].test(bytes.toString('hex', 0, 12))
}

test('case 35: a whole sample and bytes behind it: one verdict, wherever between them it is cut', () => {
  const behind = fc
    .array(fc.oneof(pieces, sample), { minLength: 1, maxLength: 4 })
    .map((all) => Buffer.concat(all))
  fc.assert(
    fc.property(
      sample,
      behind,
      fc.array(fc.integer({ min: -20, max: 40 }), { maxLength: 4 }),
      (file, more, near) => {
        const bytes = Buffer.concat([file, more])
        const whole = verdictOf(bytes)
        for (const cuts of [[file.length], near.map((place) => file.length + Math.min(place, more.length))])
          assert.deepEqual(verdictOfSlices(cutAt(bytes, cuts)), whole)
      },
    ),
    { numRuns },
  )
})

test('case 39: a sample of any size, cut anywhere, is not whole where its container can know', () => {
  const cut = fc.tuple(type, fc.nat(9_000), fc.nat(20_000), fc.boolean())
  fc.assert(
    fc.property(cut, ([name, more, place, nearEnd]) => {
      const bare = samples[name]().length
      const file = samples[name]({ sizeBytes: bare + more })
      const missing = 1 + (place % (nearEnd ? Math.min(file.length, 40) : file.length))
      const rest = file.subarray(0, file.length - missing)
      const told = inShort(rest)
      // An MP3 has no end to miss: from its second frame on it is one. Of a PDF the last line break is no part, and the
      // byte that an odd size puts behind a WAV is none either.
      const frames = 10 + 17 + (more % 417) + 417
      if (name === 'mp3') assert.ok(told !== 'mp3' || rest.length >= frames, `${rest.length} bytes`)
      else if (told === name)
        assert.ok(
          missing === 1 && (name === 'pdf' || (name === 'wav' && more % 2 === 1)),
          `${name} without ${missing} bytes`,
        )
      else assert.match(told, /^(corrupt_file|unsupported_type|empty_file) /)
    }),
    { numRuns },
  )
})

test('case 38: no damaged sample takes more than 50 ms of CPU, a moment of the machine apart', () => {
  let slowest = 0
  fc.assert(
    fc.property(sample, fc.array(change, { minLength: 1, maxLength: 6 }), (file, changes) => {
      const bytes = changed(file, changes)
      let least = Number.POSITIVE_INFINITY
      // What took long once is tried again: a collection of garbage is not the file's fault.
      for (let turn = 0; turn < 4 && least > 50; turn++) {
        const start = process.cpuUsage()
        verdictOfSlices([bytes])
        const { user, system } = process.cpuUsage(start)
        least = Math.min(least, (user + system) / 1_000)
      }
      slowest = Math.max(slowest, least)
      assert.ok(least <= 50, `${least} ms`)
    }),
    { numRuns: numRuns / 3 },
  )
  assert.ok(slowest > 0)
})
