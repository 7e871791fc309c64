import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { assertCorrupt, inShort, inspect } from '../../../test/media/judge.ts'
import { jpeg, jpegParts, jpegSegment } from '../../../test/media/samples.ts'

const { soi, app0, frame, scan, eoi } = jpegParts

function frameOf(width: number, height: number, marker = 0xc0): Buffer {
  const size = [height >> 8, height & 255, width >> 8, width & 255]
  return jpegSegment(marker, Buffer.from([8, ...size, 1, 1, 0x11, 0]))
}

describe('JPEG', () => {
  test('case 35: a picture tells its pixels', () => {
    assert.deepEqual(inspect(jpeg()), { type: 'jpeg', width: 8, height: 8 })
  })

  test('case 39: every kind of frame', () => {
    for (let marker = 0xc0; marker <= 0xcf; marker++) {
      const isFrame = ![0xc4, 0xc8, 0xcc].includes(marker)
      const file = Buffer.concat([soi, frameOf(640, 480, marker), scan, eoi])
      if (isFrame) assert.deepEqual(inspect(file), { type: 'jpeg', width: 640, height: 480 })
      else assertCorrupt(file, 'before any frame header')
    }
  })

  test('case 39: a height of 0 is told later (DNL) and is null here; a width of 0 cannot be', () => {
    assert.deepEqual(inspect(Buffer.concat([soi, frameOf(640, 0), scan, eoi])), {
      type: 'jpeg',
      width: 640,
      height: null,
    })
    assertCorrupt(Buffer.concat([soi, frameOf(0, 480), scan, eoi]), 'no width')
  })

  test('case 37: bytes after the end are allowed, and a script in a comment', () => {
    const comment = jpegSegment(0xfe, Buffer.from('<script>alert(1)</script>'))
    assert.equal(inShort(Buffer.concat([soi, comment, frame, scan, eoi, Buffer.from('<?php')])), 'jpeg')
  })

  test('case 39: an end marker inside metadata is none', () => {
    const thumbnail = jpegSegment(0xe1, jpeg())
    assert.equal(inShort(Buffer.concat([soi, thumbnail, frame, scan, eoi])), 'jpeg')
    assertCorrupt(Buffer.concat([soi, thumbnail, frame, scan]), 'before its end marker')
  })

  test('case 39: fill bytes before a marker are legal', () => {
    assert.equal(
      inShort(Buffer.concat([soi, Buffer.alloc(9, 0xff), frame, Buffer.alloc(3, 0xff), scan, eoi])),
      'jpeg',
    )
  })

  test('case 39: what cannot be parsed', () => {
    assertCorrupt(Buffer.concat([soi, Buffer.from([0xff])]), 'before its picture data')
    assertCorrupt(Buffer.concat([soi, app0, Buffer.from('junk')]), 'no marker where one should be')
    assertCorrupt(
      Buffer.concat([soi, Buffer.from([0xff, 0xe0, 0, 1]), frame, scan, eoi]),
      'impossible length',
    )
    assertCorrupt(Buffer.concat([soi, eoi]), 'FF D9 at byte 2 does not belong')
    assertCorrupt(Buffer.concat([soi, frame, soi, scan, eoi]), 'FF D8')
    assertCorrupt(Buffer.concat([soi, app0, scan, eoi]), 'before any frame header')
    assertCorrupt(Buffer.concat([soi, jpegSegment(0xc0, Buffer.alloc(5)), scan, eoi]), 'frame header')
    assertCorrupt(Buffer.concat([soi, jpegSegment(0xc0, Buffer.alloc(6)), scan, eoi]), 'frame header')
    assertCorrupt(
      Buffer.concat([soi, frame, jpegSegment(0xda, Buffer.alloc(9)).subarray(0, 7)]),
      'inside the segment FF DA',
    )
  })

  test('case 38: an end that is nearly there, in slices of every size', () => {
    const almost = Buffer.alloc(40_000, Buffer.from([0xff, 0xd8, 0xff, 0xff, 0xd9 - 1]))
    const file = Buffer.concat([soi, frame, scan, almost, Buffer.from([0xff]), Buffer.from([0xff, 0xd9])])
    for (const sliceBytes of [1, 2, 3, 7, 16_384, 16_385, file.length]) {
      assert.equal(inShort(file, { sliceBytes }), 'jpeg', `slices of ${sliceBytes}`)
      assert.equal(
        inShort(file.subarray(0, -1), { sliceBytes }),
        'corrupt_file image/jpeg',
        `cut, ${sliceBytes}`,
      )
    }
  })

  test('case 38: budgets are named', () => {
    assertCorrupt(
      Buffer.concat([soi, Buffer.alloc(100_000, jpegSegment(0xfe, Buffer.alloc(0)))]),
      'JPEG segments',
    )
    assertCorrupt(Buffer.concat([soi, Buffer.alloc(100_000, 0xff)]), 'JPEG fill bytes')
  })

  test('case 38: the budget of fill bytes is one for all segments together', () => {
    const filled = Buffer.concat([Buffer.alloc(9_000, 0xff), jpegSegment(0xfe, Buffer.alloc(0))])
    const file = Buffer.concat([soi, filled, filled, jpeg().subarray(2)])
    assertCorrupt(file, 'budget of JPEG fill bytes')
  })
})
