import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { assertCorrupt, inShort, inspect } from '../../../test/media/judge.ts'
import { id3, mp3, mp3Frame } from '../../../test/media/samples.ts'

const frame = mp3Frame()
const frames = Buffer.alloc(frame.length * 3, frame)

function headed(header: number[], bytes: number): Buffer {
  const one = Buffer.alloc(bytes)
  one.set(header)
  return Buffer.concat([one, one])
}

describe('MP3', () => {
  test('case 35: with a tag, and without', () => {
    assert.deepEqual(inspect(mp3()), { type: 'mp3', width: null, height: null })
    assert.equal(inShort(frames), 'mp3')
  })

  test('case 39: every version, rate and padding that Layer III has', () => {
    const headers: [number[], number][] = [
      [[0xff, 0xfb, 0x10, 0], 104], // MPEG-1, 32 kbit/s, 44.1 kHz
      [[0xff, 0xfa, 0xe4, 0], 960], // MPEG-1 with CRC, 320 kbit/s, 48 kHz
      [[0xff, 0xfb, 0xea, 0xc0], 1441], // MPEG-1, 320 kbit/s, 32 kHz, padded, mono
      [[0xff, 0xf3, 0x80, 0xc0], 208], // MPEG-2, 64 kbit/s, 22.05 kHz
      [[0xff, 0xe3, 0x18, 0xc0], 72], // MPEG-2.5, 8 kbit/s, 8 kHz
    ]
    for (const [header, bytes] of headers) {
      assert.equal(inShort(headed(header, bytes)), 'mp3', header.toString())
      assert.equal(inShort(headed(header, bytes + 1)), 'unsupported_type null', `${header}, a byte more`)
    }
  })

  test('case 36: other MPEG audio', () => {
    assert.equal(inShort(headed([0xff, 0xfd, 0x80, 0], 417)), 'unsupported_type audio/mp2')
    assert.equal(inShort(headed([0xff, 0xff, 0x80, 0], 276)), 'unsupported_type audio/mp1')
    assert.equal(inShort(headed([0xff, 0xfb, 0x00, 0], 300)), 'unsupported_type audio/mpeg', 'free format')
    assert.equal(
      inShort(Buffer.concat([id3(Buffer.alloc(9)), headed([0xff, 0xfd, 0x80, 0], 417)])),
      'unsupported_type audio/mp2',
    )
  })

  test('case 36: other audio behind an ID3 tag', () => {
    const tagged = (sound: Buffer) => inShort(Buffer.concat([id3(Buffer.alloc(30)), sound]))
    assert.equal(tagged(Buffer.from('fLaC and more')), 'unsupported_type audio/flac')
    assert.equal(tagged(headed([0xff, 0xf1, 0x50, 0x80, 0x02, 0x1f, 0xfc], 16)), 'unsupported_type audio/aac')
    assert.equal(tagged(Buffer.from('<script>alert(1)</script>')), 'corrupt_file audio/mpeg')
  })

  test('case 38: a tag larger than the file', () => {
    const tag = Buffer.concat([Buffer.from('ID3\x03\0\0\x7f\x7f\x7f\x7f', 'latin1'), frames])
    assertCorrupt(tag, 'which says it has 268435465 bytes')
    assertCorrupt(Buffer.from('ID3\x03\0'), 'inside the head of its ID3 tag')
    assertCorrupt(id3(Buffer.alloc(10)), 'no MP3 frames follow')
  })

  test('case 38: a tag whose head is damaged', () => {
    for (const head of ['ID3\x05\0\0\0\0\0\0', 'ID3\x03\xff\0\0\0\0\0', 'ID3\x03\0\0\x80\0\0\0']) {
      assertCorrupt(Buffer.concat([Buffer.from(head, 'latin1'), frames]), 'head of its ID3 tag is damaged')
    }
  })

  test('case 39: tags with a footer, several tags, zero bytes after them', () => {
    const footed = Buffer.concat([Buffer.from('ID3\x04\0\x10\0\0\0\x05', 'latin1'), Buffer.alloc(15), frames])
    assert.equal(inShort(footed), 'mp3')
    assert.equal(inShort(Buffer.concat([id3(Buffer.alloc(5)), id3(Buffer.alloc(9)), frames])), 'mp3')
    assert.equal(inShort(Buffer.concat([id3(Buffer.alloc(5)), Buffer.alloc(20_000), frames])), 'mp3')
    assertCorrupt(
      Buffer.concat([id3(Buffer.alloc(5)), Buffer.alloc(100_000), frames]),
      'budget of zero bytes',
    )
    assertCorrupt(Buffer.concat([Buffer.alloc(10 * 17, id3(Buffer.alloc(0))), frames]), 'budget of ID3 tags')
  })

  test('case 39: how much more is at hand changes nothing', () => {
    const tag = id3(Buffer.alloc(9))
    const farFreeFormat = Buffer.alloc(5_000)
    farFreeFormat.set([0xff, 0xfb, 0x00, 0])
    farFreeFormat.set([0xff, 0xfb, 0x00, 0], 4_500)
    const farAac = Buffer.alloc(6_000) // whose first frame says that it has 5,000 bytes
    farAac.set([0xff, 0xf1, 0x50, 0x82, 0x71, 0x1f, 0xfc])
    for (const file of [farFreeFormat, farAac].map((sound) => Buffer.concat([tag, sound])))
      assert.equal(inShort(file), inShort(file, { sliceBytes: 1 }))
  })

  test('case 39: one frame is enough behind a tag only', () => {
    assert.equal(inShort(Buffer.concat([id3(Buffer.alloc(5)), frame])), 'mp3')
    assertCorrupt(Buffer.concat([id3(Buffer.alloc(5)), frame]).subarray(0, -1), 'before its second frame')
    assertCorrupt(frame, 'before its second frame')
    assertCorrupt(frame.subarray(0, 100), 'before its second frame')
  })

  test('case 39: a second frame that does not go with the first', () => {
    const other = Buffer.from(frame)
    other[2] = 0x94 // 48 kHz
    assert.equal(inShort(Buffer.concat([frame, other])), 'unsupported_type null')
    assertCorrupt(Buffer.concat([id3(Buffer.alloc(5)), frame, other]), 'no MP3 frames follow')
  })
})
