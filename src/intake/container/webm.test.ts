import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { assertCorrupt, inShort, inspect } from '../../../test/media/judge.ts'
import { ebmlHeader, element, longElement, webm, webmParts } from '../../../test/media/samples.ts'

const header = ebmlHeader('webm')
const { info, tracks, cluster } = webmParts
const openSegment = Buffer.from('1853806701ffffffffffffff', 'hex')
const openCluster = Buffer.from('1f43b675ff', 'hex')
const block = element('a3', Buffer.from([0x81, 0, 0, 0x80, 0xf8, 0xff, 0xfe]))

function segment(...contents: Buffer[]): Buffer {
  return Buffer.concat([header, element('18538067', ...contents)])
}

function live(...contents: Buffer[]): Buffer {
  return Buffer.concat([header, openSegment, ...contents])
}

describe('WebM', () => {
  test('case 35: a file with known sizes', () => {
    assert.deepEqual(inspect(webm()), { type: 'webm', width: null, height: null })
    assert.equal(inShort(segment(info, tracks, cluster, element('1c53bb6b', Buffer.alloc(9)))), 'webm')
    assert.equal(inShort(segment(cluster, tracks)), 'webm')
  })

  test('case 36: Matroska is not WebM', () => {
    const mkv = Buffer.concat([ebmlHeader('matroska'), element('18538067', info, tracks, cluster)])
    assert.equal(inShort(mkv), 'unsupported_type video/x-matroska')
    const other = Buffer.concat([ebmlHeader('webmx'), element('18538067', info, tracks, cluster)])
    assert.equal(inShort(other), 'unsupported_type null')
    const none = Buffer.concat([element('1a45dfa3'), element('18538067', info, tracks, cluster)])
    assert.equal(inShort(none), 'unsupported_type null')
  })

  test('case 36: a DocType may be padded with zero bytes', () => {
    const padded = Buffer.concat([ebmlHeader('webm\0\0'), element('18538067', tracks, cluster)])
    assert.equal(inShort(padded), 'webm')
  })

  test('case 38: unknown sizes of a live recording', () => {
    assert.equal(inShort(live(info, tracks, openCluster, block, block, openCluster, block)), 'webm')
    assert.equal(inShort(live(info, tracks, cluster)), 'webm')
    assert.equal(inShort(segment(tracks, openCluster, block)), 'webm')
    for (const bytes of [1, 3, 8]) {
      const open = Buffer.alloc(bytes, 0xff)
      open[0] = 0xff >> (bytes - 1)
      const file = Buffer.concat([header, Buffer.from('18538067', 'hex'), open, tracks, cluster])
      assert.equal(inShort(file), 'webm', `unknown size in ${bytes} bytes`)
    }
  })

  test('case 38: unknown sizes where there may be none', () => {
    assertCorrupt(live(tracks, openCluster, Buffer.from('a3ff', 'hex'), block), 'has no size')
    assertCorrupt(live(Buffer.from('1654ae6bff', 'hex'), cluster), 'has no size')
    assert.equal(inShort(Buffer.from('1a45dfa3ff42828477656273', 'hex')), 'unsupported_type null')
    assertCorrupt(header.subarray(0, -2), 'inside its EBML header')
  })

  test('case 38: sizes that overrun', () => {
    const huge = Buffer.from('1f43b67501fffffffffffffe', 'hex')
    assertCorrupt(live(tracks, huge, block), 'inside an element')
    assertCorrupt(segment(tracks, huge, block), 'goes beyond the "Segment"')
    assertCorrupt(segment(info, tracks, cluster).subarray(0, -1), 'it ends at byte')
    assertCorrupt(live(tracks, openCluster, block).subarray(0, -1), 'inside an element')
    assertCorrupt(segment(element('1654ae6b', Buffer.from('ae9f00', 'hex')), cluster), 'goes beyond')
  })

  test('case 38: an EBML header of no sane size', () => {
    const big = Buffer.concat([
      longElement('1a45dfa3', element('4282', Buffer.from('webm')), Buffer.alloc(5000)),
    ])
    assertCorrupt(Buffer.concat([big, element('18538067', tracks, cluster)]), 'no sane size')
  })

  test('case 39: a track and a cluster must be there', () => {
    assertCorrupt(segment(info, cluster), 'no track')
    assertCorrupt(segment(element('1654ae6b'), cluster), 'no track')
    assertCorrupt(segment(element('1654ae6b', element('ae')), cluster), 'no track')
    assertCorrupt(segment(info, tracks), 'no "Cluster"')
    assertCorrupt(header, 'where an element should be')
    assertCorrupt(Buffer.concat([header, tracks, cluster]), 'no "Segment"')
    assertCorrupt(
      live(tracks, cluster, Buffer.from('\0garbage at the end')),
      'no element where one should be',
    )
  })

  test('case 39: filling is passed over', () => {
    const filling = Buffer.concat([element('ec', Buffer.alloc(300)), element('bf', Buffer.alloc(4))])
    const file = Buffer.concat([header, filling, element('18538067', filling, tracks, filling, cluster)])
    assert.equal(inShort(file), 'webm')
  })

  test('case 39: joined live streams end with the first, if it was whole', () => {
    const whole = live(tracks, openCluster, block)
    assert.equal(inShort(Buffer.concat([whole, whole])), 'webm')
    assertCorrupt(Buffer.concat([live(tracks), whole]), 'no "Cluster"')
  })

  test('case 37: what comes after the "Segment" is not looked at, wherever the slices are cut', () => {
    const filling = longElement('ec', Buffer.alloc(5_000))
    const file = Buffer.concat([segment(filling, tracks, cluster), Buffer.alloc(50, 'x')])
    assert.equal(inShort(file), 'webm')
    assert.equal(inShort(file, { sliceBytes: 1 }), 'webm')
  })

  test('case 38: the budget of elements inside "Tracks" is one for all that there are, empty ones too', () => {
    const many = (count: number) => element('1654ae6b', Buffer.alloc(2 * count, element('ec')))
    assert.equal(inShort(segment(tracks, many(900), cluster)), 'webm')
    assertCorrupt(segment(tracks, many(900), many(900), cluster), 'inside WebM "Tracks"')
    const empty = Buffer.alloc(5 * 2_000, many(0))
    assertCorrupt(segment(tracks, empty, cluster), 'inside WebM "Tracks"')
  })

  test('case 38: filling before the "Segment" has a budget of its own', () => {
    const filling = Buffer.alloc(2 * 2_000, element('ec'))
    const file = Buffer.concat([header, filling, element('18538067', tracks, cluster)])
    assertCorrupt(file, 'budget of elements before the WebM "Segment"')
  })

  test('case 38: budgets are named, and a long recording of quiet speech stays within', () => {
    assertCorrupt(live(tracks, openCluster, Buffer.alloc(200_000, element('ec'))), 'budget of WebM elements')
    const children = Buffer.alloc(20_000, element('ec'))
    assertCorrupt(segment(element('1654ae6b', children), cluster), 'budget of elements inside WebM "Tracks"')
    const speech = element('a3', Buffer.alloc(30))
    assert.equal(inShort(live(tracks, openCluster, Buffer.alloc(speech.length * 400_000, speech))), 'webm')
  })
})
