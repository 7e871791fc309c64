import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { assertCorrupt, inShort, inspect } from '../../../test/media/judge.ts'
import { png, pngChunk, pngHeader, pngSignature, u32be } from '../../../test/media/samples.ts'

const pixels = pngChunk('IDAT', Buffer.from('pixels'))
const end = pngChunk('IEND')

function file(...chunks: Buffer[]): Buffer {
  return Buffer.concat([pngSignature, ...chunks])
}

function damaged(chunk: Buffer): Buffer {
  const copy = Buffer.from(chunk)
  copy.writeUInt8(copy.readUInt8(copy.length - 1) ^ 1, copy.length - 1)
  return copy
}

describe('PNG', () => {
  test('case 35: a picture tells its pixels', () => {
    assert.deepEqual(inspect(png()), { type: 'png', width: 4, height: 3 })
  })

  test('case 33: signature alone, or less of it', () => {
    for (const bytes of [4, 7]) assertCorrupt(pngSignature.subarray(0, bytes), 'ends inside the signature')
    assertCorrupt(pngSignature, 'ends inside its header')
  })

  test('case 37: bytes after IEND are allowed', () => {
    assert.equal(inShort(Buffer.concat([png(), Buffer.from('<script>alert(1)</script>')])), 'png')
    assert.equal(
      inShort(file(pngHeader(1, 1), pngChunk('tEXt', Buffer.from('<script>')), pixels, end)),
      'png',
    )
  })

  test('case 38: the largest width and height pass, larger and none do not', () => {
    assert.deepEqual(inspect(file(pngHeader(0x7fff_ffff, 0x7fff_ffff), pixels, end)), {
      type: 'png',
      width: 0x7fff_ffff,
      height: 0x7fff_ffff,
    })
    assertCorrupt(file(pngHeader(0x8000_0000, 1), pixels, end), '2147483648 by 1 pixels')
    assertCorrupt(file(pngHeader(1, 0x8000_0000), pixels, end), 'pixels')
    assertCorrupt(file(pngHeader(0, 1), pixels, end), '0 by 1 pixels')
    assertCorrupt(file(pngHeader(1, 0), pixels, end), '1 by 0 pixels')
  })

  test('case 38: a chunk that claims more than there is, or than PNG allows', () => {
    const claim = (length: number) => Buffer.concat([u32be(length), Buffer.from('IDAT'), Buffer.alloc(100)])
    assertCorrupt(file(pngHeader(1, 1), claim(0xffff_ffff)), 'longer than PNG allows')
    assertCorrupt(file(pngHeader(1, 1), claim(0x7fff_ffff)), 'which says it has 2147483647 bytes')
  })

  test('case 38: pixels and compressed text are never inflated', () => {
    const notDeflated = pngChunk('IDAT', Buffer.alloc(1_000_000, 0xff))
    assert.equal(
      inShort(file(pngHeader(1, 1), pngChunk('zTXt', Buffer.alloc(1000)), notDeflated, end)),
      'png',
    )
  })

  test('case 39: IHDR must come first, be whole and make sense', () => {
    assertCorrupt(
      file(pngChunk('tEXt', Buffer.alloc(13)), pngHeader(1, 1), pixels, end),
      'first chunk is "tEXt"',
    )
    assertCorrupt(file(pngChunk('IHDR', Buffer.alloc(14)), pixels, end), 'not an "IHDR" of 13 bytes')
    assertCorrupt(file(damaged(pngHeader(1, 1)), pixels, end), 'does not match its checksum')
    assertCorrupt(file(pngHeader(1, 1, 4, 2), pixels, end), 'colour type 2 with 4 bits')
    assertCorrupt(file(pngHeader(1, 1, 8, 5), pixels, end), 'colour type 5')
    const interlace2 = pngChunk('IHDR', Buffer.concat([u32be(1), u32be(1), Buffer.from([8, 2, 0, 0, 2])]))
    assertCorrupt(file(interlace2, pixels, end), 'interlace')
  })

  test('case 39: every allowed mix of colour type and bit depth', () => {
    const mixes = { 0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16] }
    for (let colour = 0; colour < 8; colour++) {
      for (let depth = 0; depth <= 17; depth++) {
        const legal = Object.entries(mixes).some(
          ([type, depths]) => +type === colour && depths.includes(depth),
        )
        const expected = legal ? 'png' : 'corrupt_file image/png'
        assert.equal(inShort(file(pngHeader(1, 1, depth, colour), pixels, end)), expected)
      }
    }
  })

  test('case 39: checksums of critical chunks must be good, of others not', () => {
    assertCorrupt(file(pngHeader(1, 1), damaged(pixels), end), 'the chunk "IDAT" at byte 33 does not match')
    assertCorrupt(file(pngHeader(1, 1), pixels, damaged(end)), '"IEND"')
    assertCorrupt(file(pngHeader(1, 1), damaged(pngChunk('PLTE', Buffer.alloc(3))), pixels, end), '"PLTE"')
    assert.equal(inShort(file(pngHeader(1, 1), damaged(pngChunk('tEXt')), pixels, end)), 'png')
  })

  test('case 39: no pixels, no end, no chunk', () => {
    assertCorrupt(file(pngHeader(1, 1), end), 'no pixels')
    assertCorrupt(file(pngHeader(1, 1), pixels), 'before its last chunk "IEND"')
    assertCorrupt(
      file(pngHeader(1, 1), pixels, Buffer.from('\0\0\0\0<?php end')),
      '"<?ph" where a chunk should be',
    )
  })

  test('case 39: a transfer in text mode is named', () => {
    const asText = Buffer.from(png().toString('latin1').replaceAll('\r\n', '\n'), 'latin1')
    assertCorrupt(asText, 'text mode')
  })

  test('case 38: too many chunks exceed a budget that is named', () => {
    const many = Buffer.alloc(12 * 20_000, pngChunk('teXt'))
    assertCorrupt(file(pngHeader(1, 1), many, pixels, end), 'budget of PNG chunks')
    assert.equal(inShort(file(pngHeader(1, 1), many.subarray(0, 12 * 9000), pixels, end)), 'png')
  })
})
