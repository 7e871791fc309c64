import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { crc32 as nativeCrc32 } from 'node:zlib'
import fc from 'fast-check'
import { drive } from './drive.ts'
import { crc32, findPair, maxTakeBytes, peek, skip, tail, take, type Walk } from './walk.ts'

function feed<T>(walk: Walk<T>, file: Buffer, sliceBytes: number): T {
  const driven = drive(walk)
  for (let at = 0; at < file.length; at += sliceBytes) {
    const slice = Buffer.from(file.subarray(at, at + sliceBytes))
    driven.write(slice)
    slice.fill(0)
  }
  return driven.end()
}

const file = Buffer.from(Array.from({ length: 1000 }, (_, index) => (index * 7) & 255))

/** One of each ask, with what a plain reading of the file would answer. */
function* everyAsk(): Walk<unknown[]> {
  const seen: unknown[] = []
  seen.push((yield* peek(10)).subarray(0, 10).toString('hex'))
  seen.push((yield* take(4)).toString('hex'))
  seen.push((yield* peek(30)).subarray(0, 30).toString('hex'))
  seen.push((yield* peek(3)).subarray(0, 3).toString('hex'))
  seen.push(yield* skip(20))
  seen.push((yield* take(0)).length)
  seen.push(yield* crc32(100, 5))
  seen.push(yield* findPair(file.readUInt8(300), file.readUInt8(301)))
  seen.push((yield* take(2)).toString('hex'))
  const { last, sizeBytes } = yield* tail(50)
  seen.push(last.toString('hex'), sizeBytes)
  seen.push((yield* take(5)).length, (yield* peek(5)).length, yield* skip(5), yield* findPair(1, 2))
  return seen
}

describe('drive', () => {
  test('every ask is answered the same for slices of every size', () => {
    // Bytes repeat after 256, so the pair of 300 and 301 is first met at 44 and 45, passed; next at 300.
    const expected = [
      file.toString('hex', 0, 10),
      file.toString('hex', 0, 4),
      file.toString('hex', 4, 34),
      file.toString('hex', 4, 7),
      20,
      0,
      { bytes: 100, crc: nativeCrc32(file.subarray(24, 124), 5) },
      true,
      file.toString('hex', 302, 304),
      file.toString('hex', 950),
      1000,
      ...[0, 0, 0, false],
    ]
    for (let sliceBytes = 1; sliceBytes <= 1000; sliceBytes++) {
      assert.deepEqual(feed(everyAsk(), file, sliceBytes), expected, `slices of ${sliceBytes}`)
    }
  })

  test('case 38: how much was skipped is exact, however large the length that lies', () => {
    for (const bytes of [2 ** 53 + 2, 2 ** 61 + 12_345, 2 ** 64]) {
      for (const sliceBytes of [1, 3, 999, 1000])
        assert.equal(feed(skip(bytes), file, sliceBytes), 1000, `${bytes}, slices of ${sliceBytes}`)
    }
  })

  test('asks that the file cannot fill are answered with what there is', () => {
    const asks: [() => Walk<unknown>, unknown][] = [
      [() => take(2000), file],
      [() => skip(2000), 1000],
      [() => crc32(2000), { bytes: 1000, crc: nativeCrc32(file) }],
      [() => findPair(1, 1), false],
      [() => tail(2000), { last: file, sizeBytes: 1000 }],
      [() => peek(2000), file],
    ]
    for (const sliceBytes of [1, 7, 999, 1000]) {
      for (const [ask, expected] of asks) assert.deepEqual(feed(ask(), file, sliceBytes), expected)
    }
  })

  test('no ask may hold more than the limit', () => {
    const asks: ((bytes: number) => Walk<unknown>)[] = [take, peek, tail]
    for (const ask of asks) {
      assert.throws(() => feed(ask(maxTakeBytes + 1), file, 10), RangeError)
      feed(ask(maxTakeBytes), file, 10)
    }
  })

  test('a pair is found where it first is, in bytes that are full of its halves', () => {
    const bytes = fc
      .array(fc.constantFrom(0xff, 0xd9, 0x00), { maxLength: 400 })
      .map((list) => Buffer.from(list))
    function* found(): Walk<number> {
      return (yield* findPair(0xff, 0xd9)) ? (yield* tail(1)).sizeBytes - (yield* skip(1)) : -1
    }
    function* restAfter(): Walk<number> {
      return (yield* findPair(0xff, 0xd9)) ? yield* skip(1e9) : -1
    }
    fc.assert(
      fc.property(bytes, fc.integer({ min: 1, max: 50 }), (haystack, sliceBytes) => {
        const at = haystack.indexOf(Buffer.from([0xff, 0xd9]))
        assert.equal(feed(restAfter(), haystack, sliceBytes), at < 0 ? -1 : haystack.length - at - 2)
        assert.equal(feed(found(), haystack, sliceBytes), at < 0 ? -1 : haystack.length)
      }),
      { numRuns: 1000 },
    )
  })
})
