/** Conditional and range requests on one representation with a strong ETag (RFC 9110 sections 13 and 14). */
import type { IncomingHttpHeaders } from 'node:http'

export type Representation = { etag: string; lastModifiedMs: number; sizeBytes: number }

export type Selection =
  | { status: 200 }
  | { status: 206; start: number; end: number }
  | { status: 304 }
  | { status: 412 }
  | { status: 416 }

/** What to send, by the order of section 13.2.2. Malformed conditions and ranges count as absent. */
export function select(headers: IncomingHttpHeaders, about: Representation, isGet: boolean): Selection {
  const modifiedSecond = Math.floor(about.lastModifiedMs / 1000) * 1000
  const ifMatch = headers['if-match']
  const ifUnmodifiedSince = httpDate(headers['if-unmodified-since'])
  if (ifMatch !== undefined) {
    if (!lists(ifMatch, about.etag, 'strong')) return { status: 412 }
  } else if (ifUnmodifiedSince !== null && modifiedSecond > ifUnmodifiedSince) {
    return { status: 412 }
  }
  const ifNoneMatch = headers['if-none-match']
  const ifModifiedSince = httpDate(headers['if-modified-since'])
  if (ifNoneMatch !== undefined) {
    if (lists(ifNoneMatch, about.etag, 'weak')) return { status: 304 }
  } else if (ifModifiedSince !== null && modifiedSecond <= ifModifiedSince) {
    return { status: 304 }
  }
  if (
    !isGet ||
    headers.range === undefined ||
    !rangeStillApplies(headers['if-range'], about, modifiedSecond)
  ) {
    return { status: 200 }
  }
  return selectRange(headers.range, about.sizeBytes)
}

/**
 * One range of bytes. Several are answered with the whole, which section 14.2 allows: no client of ours asks for
 * them, and answering them is the classic way to make a small request cost much.
 */
function selectRange(header: string, sizeBytes: number): Selection {
  const [, first = '', last = ''] = /^bytes=[ \t]*(\d*)-(\d*)[ \t]*$/i.exec(header) ?? []
  if (first === '' && last === '') return { status: 200 }
  if (first === '') {
    const suffix = Number(last)
    if (suffix === 0 || sizeBytes === 0) return { status: 416 }
    return { status: 206, start: Math.max(0, sizeBytes - suffix), end: sizeBytes - 1 }
  }
  const start = Number(first)
  const end = last === '' ? Number.POSITIVE_INFINITY : Number(last)
  // Section 14.1.1: an invalid range, so none. Above 2^53 a Number no longer tells which is the larger.
  if (last !== '' && BigInt(last) < BigInt(first)) return { status: 200 }
  if (start >= sizeBytes) return { status: 416 }
  return { status: 206, start, end: Math.min(end, sizeBytes - 1) }
}

/** Section 13.1.5: a strong ETag, or the exact date; anything else means the client's part is of another whole. */
function rangeStillApplies(ifRange: unknown, about: Representation, modifiedSecond: number): boolean {
  if (ifRange === undefined) return true
  if (typeof ifRange !== 'string') return false
  if (ifRange.startsWith('"')) return ifRange === about.etag
  return httpDate(ifRange) === modifiedSecond
}

function lists(header: string, etag: string, comparison: 'strong' | 'weak'): boolean {
  if (header.trim() === '*') return true
  return header.split(',').some((item) => {
    const tag = item.trim()
    return comparison === 'weak' ? tag.replace(/^W\//, '') === etag : tag === etag
  })
}

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

/** The three forms of section 5.6.7: IMF-fixdate, and two obsolete ones that a recipient must still read. */
const dateForms = [
  /^[A-Z][a-z]{2}, (?<day>\d{2}) (?<month>[A-Z][a-z]{2}) (?<year>\d{4}) (?<time>\d{2}:\d{2}:\d{2}) GMT$/,
  /^[A-Z][a-z]{5,8}, (?<day>\d{2})-(?<month>[A-Z][a-z]{2})-(?<year>\d{2}) (?<time>\d{2}:\d{2}:\d{2}) GMT$/,
  /^[A-Z][a-z]{2} (?<month>[A-Z][a-z]{2}) (?<day>[ \d]\d) (?<time>\d{2}:\d{2}:\d{2}) (?<year>\d{4})$/,
]

function httpDate(text: string | undefined): number | null {
  const found = dateForms.map((form) => form.exec(text ?? '')?.groups).find((groups) => groups !== undefined)
  if (found === undefined) return null
  const { day = '', month = '', year = '', time = '' } = found
  const monthNumber = String(months.indexOf(month) + 1).padStart(2, '0')
  const iso = `${fullYear(year)}-${monthNumber}-${day.replace(' ', '0')}T${time}.000Z`
  const ms = Date.parse(iso)
  // A day that the month does not have would be read as one of the next month.
  return Number.isNaN(ms) || new Date(ms).toISOString() !== iso ? null : ms
}

/** Two digits are a year of this century, unless that is more than 50 years ahead (section 5.6.7). */
function fullYear(year: string): string {
  if (year.length === 4) return year
  const thisYear = new Date().getUTCFullYear()
  const near = thisYear - (thisYear % 100) + Number(year)
  return String(near > thisYear + 50 ? near - 100 : near)
}
