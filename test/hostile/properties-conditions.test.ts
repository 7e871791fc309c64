/**
 * Cases 86 and 87: the reader of conditions and ranges against a naive model that says RFC 9110 sections 13.2.2 and
 * 14.2 in their own words, on requests that are built from the model's side: it knows what each header means, because
 * it wrote it.
 */
import assert from 'node:assert/strict'
import type { IncomingHttpHeaders } from 'node:http'
import { test } from 'node:test'
import fc from 'fast-check'
import { select } from '../../src/http/conditions.ts'
import { isShort } from '../form.ts'

const numRuns = isShort ? 5_000 : 200_000
const etag = '"0123abcd"'

// Go's 22 rows for a file of 11 bytes (net/http, its tests of ServeFile). Several ranges: we answer with the whole.
const rows: [range: string, outcome: string][] = [
  ['', '200'],
  ['0-4', '206 0-4'],
  ['2-', '206 2-10'],
  ['-5', '206 6-10'],
  ['3-7', '206 3-7'],
  ['0-0,-2', '200'],
  ['0-1,5-8', '200'],
  ['0-1,5-', '200'],
  ['5-1000', '206 5-10'],
  ['0-,1-,2-,3-,4-', '200'],
  ['0-9', '206 0-9'],
  ['0-10', '206 0-10'],
  ['0-11', '206 0-10'],
  ['10-11', '206 10-10'],
  ['10-', '206 10-10'],
  ['11-', '416'],
  ['11-12', '416'],
  ['12-12', '416'],
  ['11-100', '416'],
  ['12-100', '416'],
  ['100-', '416'],
  ['100-1000', '416'],
]

type About = { etag: string; lastModifiedMs: number; sizeBytes: number }

function outcome(headers: IncomingHttpHeaders, about: About, isGet = true): string {
  const selection = select(headers, about, isGet)
  return selection.status === 206 ? `206 ${selection.start}-${selection.end}` : String(selection.status)
}

for (const [range, expected] of rows) {
  test(`case 86: ${range === '' ? 'no range' : `bytes=${range}`} of 11 bytes is ${expected}`, () => {
    const headers = range === '' ? {} : { range: `bytes=${range}` }
    assert.equal(outcome(headers, { etag, lastModifiedMs: 0, sizeBytes: 11 }), expected)
  })
}

/** A range by its meaning: which bytes it asks for, told by going through all of them. */
type Asked = { text: string; wants: ((byte: bigint, size: bigint) => boolean) | null }

const digits = fc.oneof(
  fc.bigInt({ min: 0n, max: 40n }),
  fc.bigInt({ min: 2n ** 53n - 2n, max: 2n ** 53n + 2n }),
  fc.bigInt({ min: 0n, max: 10n ** 40n }),
)
const written = (number: bigint, zeros: number): string => '0'.repeat(zeros) + number
const blanks = fc.constantFrom('', '', ' ', '\t')
const unit = fc.constantFrom('bytes', 'bytes', 'Bytes', 'BYTES')

const asked: fc.Arbitrary<Asked> = fc
  .tuple(unit, blanks, blanks, digits, digits, fc.nat(3), fc.constantFrom('from', 'between', 'last'))
  .map(([name, before, behind, a, b, zeros, kind]) => {
    const form = (spec: string): string => `${name}=${before}${spec}${behind}`
    const [low, high] = a <= b ? [a, b] : [b, a]
    if (kind === 'from') return { text: form(`${written(a, zeros)}-`), wants: (byte) => byte >= a }
    if (kind === 'last')
      return { text: form(`-${written(a, zeros)}`), wants: (byte, size) => byte >= size - a }
    return { text: form(`${written(low, zeros)}-${high}`), wants: (byte) => byte >= low && byte <= high }
  })

/** Not one range of bytes: another unit, several, or no range at all. Then there is none. */
const noRange: fc.Arbitrary<Asked> = fc
  .oneof(
    fc
      .tuple(digits, digits)
      .filter(([a, b]) => a > b)
      .map(([a, b]) => `bytes=${a}-${b}`),
    fc.array(asked, { minLength: 2, maxLength: 5 }).map((all) => all.map(({ text }) => text).join(',')),
    digits.map((a) => `items=${a}-`),
    digits.map((a) => `bytes ${a}-`),
    digits.map((a) => `bytes=${a}`),
    digits.map((a) => `bytes=+${a}-`),
    digits.map((a) => `bytes=${a}-${a}.0`),
    digits.map((a) => `bytes=${a} -`),
    fc.constantFrom(
      '',
      'bytes',
      'bytes=',
      'bytes=-',
      'bytes=--1',
      'bytes=a-b',
      'bytes=٣-',
      'bytes=0-0\n',
      'bytes=0x0-',
    ),
  )
  .map((text) => ({ text, wants: null }))

const size = fc.oneof(fc.constantFrom(0, 1, 2), fc.nat(60))

function modelOfRange({ wants }: Asked, sizeBytes: number): string {
  if (wants === null) return '200'
  const bytes = Array.from({ length: sizeBytes }, (_, byte) => byte)
  const found = bytes.filter((byte) => wants(BigInt(byte), BigInt(sizeBytes)))
  return found.length === 0 ? '416' : `206 ${found[0]}-${found.at(-1)}`
}

test('case 86: any range gives the bytes that it names, and no others', () => {
  fc.assert(
    fc.property(fc.oneof(asked, noRange), size, (range, sizeBytes) => {
      const about = { etag, lastModifiedMs: 0, sizeBytes }
      assert.equal(outcome({ range: range.text }, about), modelOfRange(range, sizeBytes), range.text)
      assert.equal(outcome({ range: range.text }, about, false), '200', 'a range is of GET alone')
    }),
    { numRuns },
  )
})

// Conditions: each header is made together with what it says of the file.

const second = 1_000
const modifiedMs = Date.UTC(2025, 0, 31, 23, 59, 59, 678)
const about: About = { etag, lastModifiedMs: modifiedMs, sizeBytes: 20 }

/** A list of tags; whether ours is in it, and whether it is there without `W/`. */
type Tags = { text: string; weakly: boolean; strongly: boolean }

const tag = fc.oneof(
  fc.constant(etag),
  fc.constant(`W/${etag}`),
  fc.constantFrom(
    '"other"',
    'W/"other"',
    '""',
    '"0123ABCD"',
    '"0123abcd "',
    '"0123abcd',
    'w/"0123abcd"',
    '0123abcd',
  ),
  fc
    .string({ unit: fc.constantFrom('a', '0', ',', ' ', '\\', '*', 'é'), maxLength: 5 })
    .map((text) => `"${text}"`),
)
const tags: fc.Arbitrary<Tags> = fc.oneof(
  fc.constantFrom('*', ' * ', '*\t').map((text) => ({ text, weakly: true, strongly: true })),
  fc.array(fc.tuple(blanks, tag, blanks), { minLength: 1, maxLength: 5 }).map((items) => ({
    text: items.map((item) => item.join('')).join(','),
    weakly: items.some(([, one]) => one === etag || one === `W/${etag}`),
    strongly: items.some(([, one]) => one === etag),
  })),
)

type When = { text: string; ms: number | null }

const days = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']
const longDays = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']
const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

/** A date in one of the three forms of section 5.6.7. */
function dateText(ms: number, form: 'fixed' | 'long' | 'asctime'): string {
  const date = new Date(ms)
  const two = (number: number): string => String(number).padStart(2, '0')
  const [day, month, year] = [date.getUTCDate(), months[date.getUTCMonth()], date.getUTCFullYear()]
  const time = `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())}`
  if (form === 'long')
    return `${longDays[date.getUTCDay()]}, ${two(day)}-${month}-${two(year % 100)} ${time} GMT`
  if (form === 'asctime')
    return `${days[date.getUTCDay()]} ${month} ${String(day).padStart(2)} ${time} ${year}`
  return `${days[date.getUTCDay()]}, ${two(day)} ${month} ${year} ${time} GMT`
}

const when: fc.Arbitrary<When> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .tuple(
        fc.oneof(fc.integer({ min: -3, max: 3 }), fc.integer({ min: -40_000_000, max: 40_000_000 })),
        fc.constantFrom('fixed', 'long', 'asctime'),
      )
      .map(([seconds, form]) => {
        const ms = Math.floor(modifiedMs / second) * second + seconds * second
        return { text: dateText(ms, form), ms }
      }),
  },
  {
    weight: 1,
    arbitrary: fc
      .oneof(
        fc.constantFrom('', 'yesterday', '0', 'Fri, 31 Jan 2025 23:59:59', 'Fri, 31 Jan 2025 23:59:59 CET'),
        fc.constantFrom(
          'Fri, 30 Feb 2025 23:59:59 GMT',
          'Fri, 00 Jan 2025 23:59:59 GMT',
          'Fri, 31 Jan 2025 24:00:00 GMT',
        ),
        fc.constantFrom(
          'Fri, 31 Jan 2025 23:60:00 GMT',
          '2025-01-31T23:59:59Z',
          'Fri, 31 jan 2025 23:59:59 GMT',
        ),
      )
      .map((text) => ({ text, ms: null })),
  },
)

type Conditions = {
  ifMatch: Tags | null
  ifNoneMatch: Tags | null
  ifModifiedSince: When | null
  ifUnmodifiedSince: When | null
  ifRange: Tags | When | null
  range: Asked | null
}

const conditions = fc.record<Conditions>({
  ifMatch: fc.option(tags),
  ifNoneMatch: fc.option(tags),
  ifModifiedSince: fc.option(when),
  ifUnmodifiedSince: fc.option(when),
  ifRange: fc.option(
    fc.oneof(
      when,
      tag.map((text) => ({ text, weakly: false, strongly: text === etag })),
    ),
  ),
  range: fc.option(fc.oneof(asked, noRange)),
})

/** Section 13.2.2, step by step. */
function model(of: Conditions, isGet: boolean): string {
  const modified = Math.floor(modifiedMs / second) * second
  const isNewerThan = ({ ms }: When): boolean => ms !== null && modified > ms
  const isNotNewerThan = ({ ms }: When): boolean => ms !== null && modified <= ms
  if (
    of.ifMatch !== null
      ? !of.ifMatch.strongly
      : of.ifUnmodifiedSince !== null && isNewerThan(of.ifUnmodifiedSince)
  )
    return '412'
  if (
    of.ifNoneMatch !== null
      ? of.ifNoneMatch.weakly
      : of.ifModifiedSince !== null && isNotNewerThan(of.ifModifiedSince)
  )
    return '304'
  if (!isGet || of.range === null) return '200'
  const { ifRange } = of
  if (ifRange !== null && ('ms' in ifRange ? ifRange.ms !== modified : !ifRange.strongly)) return '200'
  return modelOfRange(of.range, about.sizeBytes)
}

function headersOf(of: Conditions): IncomingHttpHeaders {
  const lines: IncomingHttpHeaders = {}
  if (of.ifMatch !== null) lines['if-match'] = of.ifMatch.text
  if (of.ifNoneMatch !== null) lines['if-none-match'] = of.ifNoneMatch.text
  if (of.ifModifiedSince !== null) lines['if-modified-since'] = of.ifModifiedSince.text
  if (of.ifUnmodifiedSince !== null) lines['if-unmodified-since'] = of.ifUnmodifiedSince.text
  if (of.ifRange !== null) lines['if-range'] = of.ifRange.text
  if (of.range !== null) lines.range = of.range.text
  return lines
}

test('case 87: any conditions together are decided in the order of RFC 9110 section 13.2.2', () => {
  fc.assert(
    fc.property(conditions, fc.boolean(), (of, isGet) => {
      assert.equal(outcome(headersOf(of), about, isGet), model(of, isGet))
    }),
    { numRuns },
  )
})

test('cases 86 and 87: any text in any of the headers is an answer, never a crash', () => {
  const text = fc.option(fc.string({ unit: 'binary', maxLength: 60 }), { nil: undefined })
  const headers = fc.record({
    'if-match': text,
    'if-none-match': text,
    'if-modified-since': text,
    'if-unmodified-since': text,
    'if-range': text,
    range: text,
  })
  fc.assert(
    fc.property(headers, fc.boolean(), (some, isGet) => {
      assert.match(outcome(some as IncomingHttpHeaders, about, isGet), /^(200|206 \d+-\d+|304|412|416)$/)
    }),
    { numRuns },
  )
})

test('cases 86 and 87: headers as long as they may be take no time', () => {
  const start = process.cpuUsage()
  for (const text of [
    '"a",'.repeat(4_000),
    `${' '.repeat(16_000)}x`,
    `bytes=${'0'.repeat(8_000)}-${'9'.repeat(8_000)}`,
    `bytes=${' \t'.repeat(8_000)}`,
    `W/${'W/'.repeat(8_000)}`,
  ]) {
    for (const name of [
      'if-match',
      'if-none-match',
      'if-modified-since',
      'if-unmodified-since',
      'if-range',
      'range',
    ])
      outcome({ range: 'bytes=0-0', [name]: text }, about)
  }
  const { user, system } = process.cpuUsage(start)
  assert.ok((user + system) / 1_000 < 500, `${(user + system) / 1_000} ms`)
})
