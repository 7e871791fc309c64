import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { assertCorrupt, inShort, inspect } from '../../../test/media/judge.ts'
import { riff, riffChunk, u32le, u64le, wav, wavFormat } from '../../../test/media/samples.ts'

const format = wavFormat()
const sound = riffChunk('data', Buffer.alloc(100))

/** A file that says what it likes about its sizes. */
function file(form: string, riffBytes: number, ...chunks: Buffer[]): Buffer {
  return Buffer.concat([Buffer.from(form), u32le(riffBytes), Buffer.from('WAVE'), ...chunks])
}

function claimed(id: string, size: number, contents: Buffer): Buffer {
  return Buffer.concat([Buffer.from(id), u32le(size), contents])
}

function ds64(riffBytes: number, dataBytes: number): Buffer {
  return riffChunk('ds64', Buffer.concat([u64le(riffBytes), u64le(dataBytes), u64le(0), u32le(0)]))
}

describe('WAV', () => {
  test('case 35: the plain form: RIFF size 2084, fmt of 16 bytes, data of 2048', () => {
    const plain = wav()
    assert.equal(plain.readUInt32LE(4), 2084)
    assert.equal(plain.readUInt32LE(40), 2048)
    assert.deepEqual(inspect(plain), { type: 'wav', width: null, height: null })
  })

  test('case 35: broadcast chunks before and after the sound', () => {
    assert.equal(inShort(riff('WAVE', riffChunk('bext', Buffer.alloc(602)), format, sound)), 'wav')
    assert.equal(
      inShort(
        riff('WAVE', riffChunk('JUNK', Buffer.alloc(3)), format, sound, riffChunk('LIST', Buffer.alloc(26))),
      ),
      'wav',
    )
  })

  test('case 38: sizes that a streaming writer left open', () => {
    for (const open of [0, 0xffff_ffff]) {
      assert.equal(inShort(file('RIFF', open, format, sound)), 'wav')
      assert.equal(inShort(file('RIFF', open, format, claimed('data', open, Buffer.alloc(77)))), 'wav')
      assert.equal(inShort(file('RIFF', open, format, claimed('data', open, Buffer.alloc(0)))), 'wav')
    }
  })

  test('case 38: RF64 and BW64', () => {
    const bytes = 4 + 36 + format.length + sound.length
    const open = claimed('data', 0xffff_ffff, Buffer.alloc(100))
    for (const form of ['RF64', 'BW64']) {
      assert.equal(inShort(file(form, 0xffff_ffff, ds64(bytes, 100), format, open)), 'wav')
      assert.equal(inShort(file(form, 0xffff_ffff, ds64(0, 0), format, open)), 'wav', 'streamed')
      assertCorrupt(file(form, 0xffff_ffff, ds64(bytes, 101), format, open), 'inside the chunk "data"')
      assertCorrupt(file(form, 0xffff_ffff, format, open), 'must begin with a chunk "ds64"')
      assertCorrupt(
        file(form, 0xffff_ffff, riffChunk('ds64', Buffer.alloc(16)), format, open),
        'must begin with',
      )
    }
    assertCorrupt(
      file('RF64', 0xffff_ffff, ds64(2 ** 40, 2 ** 40), format, open),
      'says it has 1099511627776 bytes',
    )
  })

  test('case 38: RIFF sizes that do not fit the file', () => {
    const exact = 4 + format.length + sound.length
    for (const off of [-8, -1, 1, 8])
      assert.equal(inShort(file('RIFF', exact + off, format, sound)), 'wav', `${off}`)
    assert.equal(inShort(file('RIFF', 10, format, sound)), 'wav', 'too small says nothing of damage')
    assertCorrupt(file('RIFF', exact + 9, format, sound), 'goes on for 9 bytes after the sound')
    assertCorrupt(file('RIFF', 0xffff_fffe, format, sound), 'after the sound')
  })

  test('case 39: the sound must not be cut', () => {
    assertCorrupt(wav().subarray(0, -1), 'inside the chunk "data" at byte 36, which says it has 2048 bytes')
    assertCorrupt(file('RIFF', 0, format, claimed('data', 101, Buffer.alloc(100))), 'inside the chunk "data"')
    assertCorrupt(wav().subarray(0, 40), 'no chunk "data"')
    assertCorrupt(wav().subarray(0, 20), 'inside the chunk "fmt "')
    assertCorrupt(wav().subarray(0, 12), 'no chunk "data"')
  })

  test('case 39: a pad byte may be missing at the end', () => {
    const odd = claimed('data', 5, Buffer.alloc(5))
    assert.equal(inShort(file('RIFF', 4 + format.length + odd.length, format, odd)), 'wav')
    assert.equal(inShort(file('RIFF', 4 + format.length + odd.length + 1, format, odd)), 'wav')
  })

  test('case 39: fmt must be there, before data', () => {
    assertCorrupt(riff('WAVE', sound), 'before any "fmt "')
    assertCorrupt(riff('WAVE', sound, format), 'before any "fmt "')
    assertCorrupt(riff('WAVE', riffChunk('fmt ', Buffer.alloc(12)), sound), 'only 12 bytes')
    assertCorrupt(riff('WAVE', format), 'no chunk "data"')
  })

  test('case 36: other RIFF files', () => {
    assert.equal(inShort(riff('WEBP', riffChunk('VP8 ', Buffer.alloc(10)))), 'unsupported_type image/webp')
    assert.equal(
      inShort(riff('AVI ', riffChunk('LIST', Buffer.alloc(10)))),
      'unsupported_type video/x-msvideo',
    )
    assert.equal(inShort(file('RIFX', 100, format, sound)), 'unsupported_type null')
    assert.equal(inShort(file('RIFF', 100).subarray(0, 8)), 'unsupported_type null')
  })

  test('case 38: the budget of chunks is named', () => {
    assertCorrupt(
      file('RIFF', 0, Buffer.alloc(8 * 20_000, riffChunk('JUNK', Buffer.alloc(0))), format, sound),
      'budget of WAV chunks',
    )
  })
})
