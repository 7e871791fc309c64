import assert from 'node:assert/strict'
import type { IncomingHttpHeaders } from 'node:http'
import { test } from 'node:test'
import fc from 'fast-check'
import { select } from './conditions.ts'

const etag = '"0123abcd"'
const modified = Date.UTC(2025, 0, 15, 12, 30, 45, 678)
const about = { etag, lastModifiedMs: modified, sizeBytes: 1000 }

const same = 'Wed, 15 Jan 2025 12:30:45 GMT'
const earlier = 'Wed, 15 Jan 2025 12:30:44 GMT'
const later = 'Wed, 15 Jan 2025 12:30:46 GMT'

/** What comes of these headers: the status, and the range where there is one. */
function outcome(headers: IncomingHttpHeaders, { isGet = true, sizeBytes = 1000 } = {}): string {
  const selection = select(headers, { ...about, sizeBytes }, isGet)
  return selection.status === 206 ? `206 ${selection.start}-${selection.end}` : String(selection.status)
}

const ranges: [range: string, outcome: string, sizeBytes?: number][] = [
  ['bytes=0-0', '206 0-0'],
  ['bytes=0-999', '206 0-999'],
  ['bytes=0-1000', '206 0-999'],
  ['bytes=0-', '206 0-999'],
  ['bytes=999-', '206 999-999'],
  ['bytes=500-600', '206 500-600'],
  ['bytes=-1', '206 999-999'],
  ['bytes=-1000', '206 0-999'],
  ['bytes=-1001', '206 0-999'],
  ['bytes=-0', '416'],
  ['bytes=1000-', '416'],
  ['bytes=1000-2000', '416'],
  ['bytes=9007199254740993-', '416'],
  ['bytes=0-9007199254740993', '206 0-999'],
  [`bytes=0-${'9'.repeat(400)}`, '206 0-999'],
  [`bytes=-${'9'.repeat(400)}`, '206 0-999'],
  [`bytes=${'9'.repeat(400)}-`, '416'],
  ['BYTES=0-0', '206 0-0'],
  ['bytes= 0-0 ', '206 0-0'],
  // Not of the form, or of another unit: as if there were none (RFC 9110 section 14.2).
  ['', '200'],
  ['bytes', '200'],
  ['bytes=', '200'],
  ['bytes=-', '200'],
  ['bytes=abc', '200'],
  ['bytes=a-b', '200'],
  ['bytes=0x1-2', '200'],
  ['bytes=1.5-2', '200'],
  ['bytes=5-2', '200'],
  ['bytes=9007199254740993-9007199254740992', '200'],
  ['bytes=--1', '200'],
  ['bytes=0-1x', '200'],
  ['items=0-1', '200'],
  ['bytes:0-1', '200'],
  // Several: the whole, whatever they are.
  ['bytes=0-0,2-3', '200'],
  ['bytes=0-999,0-999', '200'],
  [`bytes=${'0-,'.repeat(200)}0-`, '200'],
  // Files of one byte and of none.
  ['bytes=0-0', '206 0-0', 1],
  ['bytes=-5', '206 0-0', 1],
  ['bytes=1-1', '416', 1],
  ['bytes=0-', '416', 0],
  ['bytes=-1', '416', 0],
]

for (const [range, expected, sizeBytes = 1000] of ranges) {
  test(`case 86: Range ${range.slice(0, 40)} of ${sizeBytes} bytes is ${expected}`, () => {
    assert.equal(outcome({ range }, { sizeBytes }), expected)
  })
}

test('case 86: any range is within the file, or not satisfiable, or none', () => {
  const anyRange = fc
    .tuple(fc.option(fc.nat()), fc.option(fc.nat()))
    .map(([a, b]) => `bytes=${a ?? ''}-${b ?? ''}`)
  fc.assert(
    fc.property(fc.oneof(anyRange, fc.string()), fc.nat(5_000), (range, sizeBytes) => {
      const selection = select({ range }, { ...about, sizeBytes }, true)
      if (selection.status === 206) {
        assert.ok(0 <= selection.start && selection.start <= selection.end && selection.end < sizeBytes)
      } else assert.ok(selection.status === 200 || selection.status === 416)
    }),
    { numRuns: 2_000 },
  )
})

test('a range is of GET alone', () => {
  assert.equal(outcome({ range: 'bytes=0-0' }, { isGet: false }), '200')
  assert.equal(outcome({ range: 'bytes=5000-' }, { isGet: false }), '200')
})

const conditions: [headers: IncomingHttpHeaders, outcome: string][] = [
  [{}, '200'],
  // If-None-Match compares weakly.
  [{ 'if-none-match': etag }, '304'],
  [{ 'if-none-match': `W/${etag}` }, '304'],
  [{ 'if-none-match': '*' }, '304'],
  [{ 'if-none-match': ' * ' }, '304'],
  [{ 'if-none-match': `"other", ${etag}` }, '304'],
  [{ 'if-none-match': `W/"other",W/${etag} ` }, '304'],
  [{ 'if-none-match': '"other"' }, '200'],
  [{ 'if-none-match': '0123abcd' }, '200'],
  [{ 'if-none-match': `w/${etag}` }, '200'],
  [{ 'if-none-match': '' }, '200'],
  // If-Match compares strongly.
  [{ 'if-match': etag }, '200'],
  [{ 'if-match': '*' }, '200'],
  [{ 'if-match': `"other", ${etag}` }, '200'],
  [{ 'if-match': `W/${etag}` }, '412'],
  [{ 'if-match': '"other"' }, '412'],
  [{ 'if-match': '' }, '412'],
  // Dates are to the second.
  [{ 'if-modified-since': same }, '304'],
  [{ 'if-modified-since': later }, '304'],
  [{ 'if-modified-since': earlier }, '200'],
  [{ 'if-unmodified-since': same }, '200'],
  [{ 'if-unmodified-since': later }, '200'],
  [{ 'if-unmodified-since': earlier }, '412'],
  // The order of section 13.2.2: a tag beats a date; If-Match comes first, If-Range last.
  [{ 'if-none-match': '"other"', 'if-modified-since': later }, '200'],
  [{ 'if-none-match': etag, 'if-modified-since': earlier }, '304'],
  [{ 'if-match': etag, 'if-unmodified-since': earlier }, '200'],
  [{ 'if-match': '"other"', 'if-unmodified-since': later }, '412'],
  [{ 'if-match': '"other"', 'if-none-match': etag }, '412'],
  [{ 'if-match': etag, 'if-none-match': etag }, '304'],
  [{ 'if-unmodified-since': later, 'if-none-match': etag }, '304'],
  [{ 'if-none-match': etag, range: 'bytes=0-0' }, '304'],
  [{ 'if-none-match': etag, range: 'bytes=5000-' }, '304'],
  [{ 'if-match': '"other"', range: 'bytes=5000-' }, '412'],
  // If-Range: a strong tag or the exact date; anything else means the whole.
  [{ range: 'bytes=0-0', 'if-range': etag }, '206 0-0'],
  [{ range: 'bytes=0-0', 'if-range': same }, '206 0-0'],
  [{ range: 'bytes=0-0', 'if-range': '"other"' }, '200'],
  [{ range: 'bytes=0-0', 'if-range': `W/${etag}` }, '200'],
  [{ range: 'bytes=0-0', 'if-range': later }, '200'],
  [{ range: 'bytes=0-0', 'if-range': earlier }, '200'],
  [{ range: 'bytes=0-0', 'if-range': 'nonsense' }, '200'],
  [{ range: 'bytes=0-0', 'if-range': '' }, '200'],
  [{ range: 'bytes=5000-', 'if-range': '"other"' }, '200'],
  [{ range: 'bytes=5000-', 'if-range': etag }, '416'],
  [{ 'if-range': etag }, '200'],
]

for (const [headers, expected] of conditions) {
  test(`case 87: ${JSON.stringify(headers)} is ${expected}`, () => {
    assert.equal(outcome(headers), expected)
  })
}

const badDates = [
  '',
  'yesterday',
  '0',
  '1736944245',
  '2025-01-15T12:30:45Z',
  'Wed, 15 Jan 2025 12:30:45 UTC',
  'Wed, 15 Jan 2025 12:30:45 +0000',
  'Wed, 15 Jan 2025 12:30:45',
  'wed, 15 jan 2025 12:30:45 gmt',
  'Wed, 5 Jan 2025 12:30:45 GMT',
  'Wed, 15 Foo 2025 12:30:45 GMT',
  'Wed, 15 Jan 2025 25:30:45 GMT',
]

for (const date of badDates) {
  test(`case 87: ${JSON.stringify(date)} is no date, and counts as absent`, () => {
    assert.equal(outcome({ 'if-modified-since': date }), '200')
    assert.equal(outcome({ 'if-unmodified-since': date }), '200')
    assert.equal(outcome({ range: 'bytes=0-0', 'if-range': date }), '200')
  })
}

test('case 87: a day that the month does not have is no date', () => {
  // As a date it would be 3 March 2025, after the file.
  assert.equal(outcome({ 'if-modified-since': 'Mon, 31 Feb 2025 10:00:00 GMT' }), '200')
})

test('case 87: the two obsolete forms of a date are read too (RFC 9110 section 5.6.7: a recipient MUST accept all three)', () => {
  for (const date of ['Wednesday, 15-Jan-25 12:30:45 GMT', 'Wed Jan 15 12:30:45 2025'])
    assert.equal(outcome({ 'if-modified-since': date }), '304', date)
  for (const date of ['Wednesday, 15-Jan-25 12:30:44 GMT', 'Wed Jan  1 12:30:44 2025'])
    assert.equal(outcome({ 'if-modified-since': date }), '200', date)
})
