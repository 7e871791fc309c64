import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { assertCorrupt, inShort, inspect, verdictOf } from '../../../test/media/judge.ts'
import { box, ftyp, mp4, mvhd, u32be, u64be } from '../../../test/media/samples.ts'

const isom = ftyp('isom', 'isom')
const moov = box('moov', mvhd(), box('trak'))
const mdat = box('mdat', Buffer.alloc(40))
const fragmentedMoov = box('moov', mvhd(), box('mvex'))
const moof = box('moof', box('mfhd', Buffer.alloc(8)))

function longBox(type: string, contents: Buffer): Buffer {
  return Buffer.concat([u32be(1), Buffer.from(type), u64be(16 + contents.length), contents])
}

function openBox(type: string, contents: Buffer): Buffer {
  return Buffer.concat([u32be(0), Buffer.from(type), contents])
}

function brands(major: string, ...compatible: string[]): string {
  return inShort(Buffer.concat([ftyp(major, ...compatible), moov, mdat]))
}

describe('MP4', () => {
  test('case 35: moov before or after mdat', () => {
    assert.deepEqual(inspect(mp4()), { type: 'mp4', width: null, height: null })
    assert.equal(inShort(Buffer.concat([isom, moov, mdat])), 'mp4')
    assert.equal(inShort(Buffer.concat([isom, box('free'), mdat, moov])), 'mp4')
  })

  test('case 36: brands that are MP4', () => {
    const majors = 'isom iso2 iso3 iso4 iso5 iso6 iso7 iso8 iso9 mp41 mp42 avc1 dash MSNV XAVC'.split(' ')
    for (const major of [...majors, 'M4V ', 'f4v ', 'F4V ']) assert.equal(brands(major), 'mp4', major)
    for (const base of ['isom', 'mp41', 'mp42']) assert.equal(brands('abcd', 'efgh', base), 'mp4', base)
  })

  test('case 36: brands that are not, whatever they say they are compatible with', () => {
    const refused = {
      'qt  ': 'video/quicktime',
      'M4A ': 'audio/mp4',
      'M4B ': 'audio/mp4',
      'M4P ': 'audio/mp4',
      '3gp4': 'video/3gpp',
      '3gp5': 'video/3gpp',
      '3g2a': 'video/3gpp2',
      heic: 'image/heic',
      heix: 'image/heic',
      mif1: 'image/heif',
      msf1: 'image/heif',
      avif: 'image/avif',
      avis: 'image/avif',
      'jp2 ': 'image/jp2',
      'crx ': 'image/x-canon-cr3',
    }
    for (const [major, type] of Object.entries(refused)) {
      assert.equal(brands(major, 'isom', 'mp42'), `unsupported_type ${type}`, major)
    }
    assert.equal(brands('abcd', 'efgh', 'iso2'), 'unsupported_type null')
    assert.equal(brands('abcd'), 'unsupported_type null')
    assert.equal(brands('constructor'.slice(0, 4)), 'unsupported_type null')
  })

  test('case 36: the compatible brands end with the box', () => {
    assert.equal(inShort(Buffer.concat([ftyp('abcd'), box('isom'), moov, mdat])), 'unsupported_type null')
  })

  test('case 36: what is known of a brand is shown safely', () => {
    const verdict = verdictOf(Buffer.concat([ftyp('\x01<b>'), moov, mdat]))
    assert.ok('message' in verdict && verdict.message.includes('0x013c623e'))
  })

  test('case 36: QuickTime without ftyp', () => {
    for (const type of ['moov', 'mdat', 'wide', 'free', 'skip']) {
      const file = Buffer.concat([box(type, Buffer.alloc(8)), moov, mdat])
      assert.equal(inShort(file), 'unsupported_type video/quicktime', type)
    }
    assert.equal(
      inShort(Buffer.concat([box('styp', Buffer.alloc(8)), moof, mdat])),
      'unsupported_type video/iso.segment',
    )
  })

  test('case 38: sizes of 0 and 1', () => {
    assert.equal(inShort(Buffer.concat([isom, moov, longBox('mdat', Buffer.alloc(5))])), 'mp4')
    assert.equal(inShort(Buffer.concat([isom, moov, openBox('mdat', Buffer.alloc(5))])), 'mp4')
    assert.equal(inShort(Buffer.concat([isom, moov, mdat, Buffer.alloc(32)])), 'mp4', 'zeroes to the end')
    assertCorrupt(Buffer.concat([isom, openBox('mdat', Buffer.alloc(5)), moov]), 'no "moov"')
    assertCorrupt(
      Buffer.concat([isom, mdat, openBox('moov', mvhd())]),
      '"moov" at byte 68 says it has 0 bytes',
    )
    assertCorrupt(
      Buffer.concat([isom, box('moov', mvhd(), openBox('trak', Buffer.alloc(0))), mdat]),
      'goes beyond',
    )
  })

  test('case 38: sizes that cannot be', () => {
    for (const size of [2, 7]) {
      assertCorrupt(
        Buffer.concat([isom, moov, u32be(size), Buffer.from('mdat')]),
        `${size} bytes, which cannot be`,
      )
    }
    for (const size of [0, 15]) {
      const bad = Buffer.concat([u32be(1), Buffer.from('mdat'), u64be(size)])
      assertCorrupt(Buffer.concat([isom, moov, bad]), `${size} bytes, which cannot be`)
    }
    const huge = Buffer.concat([u32be(1), Buffer.from('mdat'), Buffer.alloc(8, 0xff), Buffer.alloc(100)])
    assertCorrupt(Buffer.concat([isom, moov, huge]), 'inside the box "mdat"')
    const large = Buffer.concat([u32be(0xffff_ffff), Buffer.from('mdat'), Buffer.alloc(100)])
    assertCorrupt(Buffer.concat([isom, moov, large]), 'which says it has 4294967295 bytes')
  })

  test('case 38: an ftyp of no sane size', () => {
    for (const size of [0, 1, 8, 15, 5000, 0xffff_ffff]) {
      const file = Buffer.concat([u32be(size), Buffer.from('ftypisom'), Buffer.alloc(4), moov, mdat])
      assertCorrupt(file, `"ftyp" says it has ${size} bytes`)
    }
    assertCorrupt(isom.subarray(0, 12), 'inside its "ftyp"')
    assertCorrupt(isom.subarray(0, 8), 'inside its "ftyp"')
  })

  test('case 39: moov must be there, whole, with mvhd', () => {
    assertCorrupt(Buffer.concat([isom, mdat]), 'no "moov"')
    assertCorrupt(Buffer.concat([isom, mdat, moov]).subarray(0, -1), 'inside the head of a box')
    assertCorrupt(Buffer.concat([isom, mdat, moov]).subarray(0, -8), 'inside the box "moov"')
    assertCorrupt(Buffer.concat([isom, mdat, moov]).subarray(0, -20), 'inside the box "mvhd"')
    assertCorrupt(Buffer.concat([isom, box('moov'), mdat]), 'no whole "mvhd"')
    assertCorrupt(Buffer.concat([isom, box('moov', box('mvhd', Buffer.alloc(20))), mdat]), 'no whole "mvhd"')
    assertCorrupt(
      Buffer.concat([isom, box('moov', mvhd(), Buffer.alloc(4, 1)), mdat]),
      'goes beyond the "moov"',
    )
  })

  test('case 39: media must be there, and not cut', () => {
    assertCorrupt(Buffer.concat([isom, moov]), 'no "mdat"')
    assertCorrupt(Buffer.concat([isom, moov, mdat]).subarray(0, -1), 'inside the box "mdat"')
    assertCorrupt(Buffer.concat([isom, moov, mdat, Buffer.alloc(5)]), 'inside the head of a box')
    assertCorrupt(Buffer.concat([isom, moov, mdat, Buffer.from('trailing garbage')]), 'inside the box "ling"')
  })

  test('case 39: fragments where mvex announces them', () => {
    assert.equal(inShort(Buffer.concat([isom, fragmentedMoov, moof, mdat, moof, mdat])), 'mp4')
    assert.equal(inShort(Buffer.concat([isom, fragmentedMoov, moof, mdat, box('mfra')])), 'mp4')
    assertCorrupt(Buffer.concat([isom, fragmentedMoov]), 'no "moof"')
    assertCorrupt(Buffer.concat([isom, fragmentedMoov, mdat]), 'no "moof"')
    assertCorrupt(Buffer.concat([isom, fragmentedMoov, mdat, moof]), 'no "moof"')
    assertCorrupt(Buffer.concat([isom, fragmentedMoov, moof, mdat, moof]), 'whose "mdat" is missing')
  })

  test('case 38: the budget of boxes inside "moov" is one for all that there are', () => {
    const movie = box('moov', mvhd(), Buffer.alloc(8 * 9_000, box('free')))
    assert.equal(inShort(Buffer.concat([isom, movie, mdat])), 'mp4')
    assertCorrupt(Buffer.concat([isom, movie, movie, mdat]), 'budget of MP4 boxes inside "moov"')
  })

  test('case 38: budgets are named, and a live stream of tiny fragments stays within', () => {
    const boxes = Buffer.alloc(8 * 20_000, box('free'))
    assertCorrupt(Buffer.concat([isom, moov, boxes, mdat]), 'budget of MP4 boxes:')
    assertCorrupt(
      Buffer.concat([isom, box('moov', mvhd(), boxes), mdat]),
      'budget of MP4 boxes inside "moov"',
    )
    const fragment = Buffer.concat([box('moof', Buffer.alloc(80)), box('mdat', Buffer.alloc(48))])
    assert.equal(inShort(Buffer.concat([isom, fragmentedMoov, Buffer.alloc(144 * 50_000, fragment)])), 'mp4')
  })
})
