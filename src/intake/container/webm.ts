/** WebM, by its elements (EBML, RFC 8794; Matroska, RFC 9559); blocks are only passed over. */
import { type Budget, type Spend, spending } from './budget.ts'
import { corrupt } from './refusal.ts'
import { peek, type Stranger, skip, type Walk } from './walk.ts'

/**
 * In a live recording every block stands alone; one of speech has some 20 to 40 bytes, one of silence 10. So
 * at 6 kbit/s, the least that Opus is used with, three quarters of an hour pass; at 10 kbit/s any length.
 */
const elementBudget: Budget = { of: 'WebM elements', free: 50_000, bytesEach: 32 }
const trackBudget: Budget = { of: 'elements inside WebM "Tracks"', free: 1_000, bytesEach: 65_536 }
/** Programs leave one piece of filling there, or none. */
const fillingBudget: Budget = { of: 'elements before the WebM "Segment"', free: 1_000, bytesEach: 4096 }

const ids = {
  header: 0x1a45dfa3,
  docType: 0x4282,
  segment: 0x18538067,
  tracks: 0x1654ae6b,
  trackEntry: 0xae,
  cluster: 0x1f43b675,
  void: 0xec,
  crc32: 0xbf,
} as const

const longestHead = 12 // WebM: an id of at most 4 bytes, a size of at most 8
const longestHeader = 4000 // so that it lies within the bytes that the type is told from

/** The start of an element; `size` is null where its writer did not know it (RFC 8794, section 6.2). */
type Head = { id: number; bytes: number; size: number | null }

const emptyHead = (): Head => ({ id: 0, bytes: 0, size: 0 })

/**
 * Reads the head at `at`; null where the bytes are none, undefined where they end inside it.
 * @param into is filled and given back: an object for each of a million heads costs more than to read them
 */
function headAt(view: Buffer, at: number, into: Head = emptyHead()): Head | null | undefined {
  const first = view[at]
  if (first === undefined) return undefined
  const next = view[at + 1] ?? 0
  // Nearly all heads are of this form, a byte for each: worth a way of its own.
  if (first >= 0x80 && next > 0x80 && next < 0xff) return filled(into, first, 2, next & 0x7f)
  const idBytes = Math.clz32(first) - 23
  if (idBytes > 4) return null
  const sizeFirst = view[at + idBytes]
  if (sizeFirst === undefined) return undefined
  const sizeBytes = Math.clz32(sizeFirst) - 23
  if (sizeBytes > 8) return null
  const bytes = idBytes + sizeBytes
  if (at + bytes > view.length) return undefined
  return filled(into, wordAt(view, at, idBytes), bytes, sizeAt(view, at + idBytes, sizeBytes))
}

function filled(head: Head, id: number, bytes: number, size: number | null): Head {
  head.id = id
  head.bytes = bytes
  head.size = size
  return head
}

/**
 * Up to four bytes, by whole numbers of 32 bits: there may be a million heads, and `readUIntBE`, or sums of floating
 * point, take more time for them than all the rest.
 */
function wordAt(view: Buffer, at: number, bytes: number): number {
  let word = 0
  for (let next = at; next < at + bytes; next++) word = (word << 8) | (view[next] ?? 0)
  return word >>> 0
}

function sizeAt(view: Buffer, at: number, bytes: number): number | null {
  // The first bit that is set is a marker, no part of the size; all data bits set means unknown (RFC 8794, section 4).
  if (bytes <= 4) {
    const marker = 1 << (7 * bytes)
    const size = wordAt(view, at, bytes) - marker
    return size === marker - 1 ? null : size
  }
  const marker = 1 << (7 * bytes - 32)
  const high = wordAt(view, at, bytes - 4) - marker
  const low = wordAt(view, at + bytes - 4, 4)
  if (high === 0) return low
  return high === marker - 1 && low === 0xffff_ffff ? null : high * 2 ** 32 + low
}

/** What the DocType in the header makes of a file that starts with it. */
export function docTypeOf(view: Buffer): { type: 'webm' } | Stranger {
  const docType = readDocType(view)
  if (docType === 'webm') return { type: 'webm' }
  if (docType === 'matroska')
    return { type: null, detected: 'video/x-matroska', what: 'a Matroska file (MKV, MKA)' }
  return {
    type: null,
    detected: null,
    what: 'an EBML file (the family of Matroska) that does not say "webm"',
  }
}

function readDocType(view: Buffer): string | undefined {
  const header = headAt(view, 0)
  if (!header) return undefined
  const end = Math.min(header.bytes + (header.size ?? 0), view.length)
  for (let at = header.bytes; at < end; ) {
    const head = headAt(view, at)
    if (!head || head.size === null) return undefined
    const body = at + head.bytes
    if (head.id === ids.docType)
      return withoutPadding(view.toString('latin1', body, Math.min(body + head.size, end)))
    at = body + head.size
  }
  return undefined
}

/** A string may be followed by zero bytes (RFC 8794, section 7.4). */
function withoutPadding(text: string): string {
  const zero = text.indexOf('\0')
  return zero < 0 ? text : text.slice(0, zero)
}

export function* webm(): Walk {
  const header = yield* elementHead(0)
  const headerBytes = header.size ?? Number.POSITIVE_INFINITY
  if (headerBytes > longestHeader) throw corrupt('webm', 'its EBML header has no sane size')
  if ((yield* skip(headerBytes)) < headerBytes) throw corrupt('webm', 'it ends inside its EBML header')
  const segment = yield* segmentHead(header.bytes + headerBytes)
  const seen = yield* elements(segment.start, segment.end)
  if (!seen.track) throw corrupt('webm', 'it has no track: there is no "TrackEntry" in a "Tracks"')
  if (!seen.cluster) throw corrupt('webm', 'it has no "Cluster", so no media')
  return { type: 'webm', width: null, height: null }
}

function* elementHead(at: number): Walk<Head> {
  const view = yield* peek(longestHead)
  const head = headAt(view, 0)
  if (!head) throw badHead(head, view, at)
  yield* skip(head.bytes)
  return head
}

function badHead(head: null | undefined, view: Buffer, at: number): Error {
  if (head === undefined)
    return corrupt('webm', `it ends at byte ${at + view.length}, where an element should be`)
  return corrupt('webm', `at byte ${at} there is no element where one should be`)
}

/** The Segment comes after the header, with at most some filling before it. */
function* segmentHead(start: number): Walk<{ start: number; end: number }> {
  const spend = spending('webm', fillingBudget)
  let at = start
  for (;;) {
    spend(at)
    const head = yield* elementHead(at)
    at += head.bytes
    if (head.id === ids.segment) return { start: at, end: at + (head.size ?? Number.POSITIVE_INFINITY) }
    if ((head.id !== ids.void && head.id !== ids.crc32) || head.size === null) {
      throw corrupt('webm', `at byte ${at - head.bytes} there is no "Segment" where one should be`)
    }
    yield* passOver(head.size, at)
    at += head.size
  }
}

function* passOver(bytes: number, at: number): Walk<void> {
  const there = yield* skip(bytes)
  if (there < bytes) {
    throw corrupt(
      'webm',
      `it ends at byte ${at + there}, inside an element that goes on to byte ${at + bytes}`,
    )
  }
}

type Seen = { track: boolean; cluster: boolean }

/**
 * The elements of the Segment, up to its end, or to the end of the file where its size is unknown. So that a
 * live recording with its many small blocks costs little, all that are at hand are read at once.
 */
function* elements(start: number, end: number): Walk<Seen> {
  const spend = spending('webm', elementBudget)
  const spendInTracks = spending('webm', trackBudget)
  const seen = { track: false, cluster: false }
  let at = start
  while (at < end) {
    const view = yield* peek(longestHead)
    if (view.length === 0 && end === Number.POSITIVE_INFINITY) break
    const found = scan(view, at, { end, seen, spend })
    yield* passOver(found.bytes, at)
    at += found.bytes
    if (found.next === 'file') break
    if (found.next === 'tracks') {
      seen.track = (yield* tracks(at, at + found.size, spendInTracks)) || seen.track
      at += found.size
    }
  }
  return seen
}

type Scan = { end: number; seen: Seen; spend: Spend }
type Found = { bytes: number; next: 'more' | 'file' } | { bytes: number; next: 'tracks'; size: number }

/** Passes over the elements that begin in `view`, which is at byte `start`; stops after the head of a Tracks. */
function scan(view: Buffer, start: number, { end, seen, spend }: Scan): Found {
  const reused = emptyHead()
  let at = 0
  do {
    const head = headAt(view, at, reused)
    if (!head) throw badHead(head, view.subarray(at), start + at)
    // Another header in a Segment of unknown size ends it: streams may be joined (RFC 8794, section 6.2).
    if (head.id === ids.header && end === Number.POSITIVE_INFINITY) return { bytes: at, next: 'file' }
    spend(start + at)
    const size = sizeWithin(head, start + at, end)
    at += head.bytes
    if (head.id === ids.tracks) return { bytes: at, next: 'tracks', size }
    if (head.id === ids.cluster) seen.cluster = true
    at += size
  } while (start + at < end && at + longestHead <= view.length)
  return { bytes: at, next: 'more' }
}

/** A cluster of unknown size is not passed over: what is in it is read like its neighbours. */
function sizeWithin(head: Head, at: number, end: number): number {
  if (head.size === null) {
    if (head.id === ids.cluster) return 0
    throw corrupt('webm', `the element at byte ${at} has no size, which only a "Segment" and a "Cluster" may`)
  }
  if (at + head.bytes + head.size > end) {
    throw corrupt('webm', `the element at byte ${at} goes beyond the "Segment" that it is in`)
  }
  return head.size
}

/** True where there is a TrackEntry. */
function* tracks(start: number, end: number, spend: Spend): Walk<boolean> {
  let entry = false
  let at = start
  spend(at) // for itself, so that empty ones are counted too
  while (at < end) {
    spend(at)
    const head = yield* elementHead(at)
    const size = sizeWithin(head, at, end)
    at += head.bytes
    if (head.id === ids.trackEntry && size > 0) entry = true
    yield* passOver(size, at)
    at += size
  }
  return entry
}
