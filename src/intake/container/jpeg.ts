/** JPEG, by its markers (ITU-T T.81, annex B); the entropy-coded data is only passed over. */
import { type Budget, type Spend, spending } from './budget.ts'
import { corrupt } from './refusal.ts'
import { findPair, skip, take, type Walk } from './walk.ts'

/** Metadata of 5 GiB in segments of 64 KiB would be 80,000; tables and comments are a few dozen. */
const segmentBudget: Budget = { of: 'JPEG segments', free: 2_000, bytesEach: 4096 }
/** A marker may be preceded by any number of 0xFF bytes (B.1.1.2); encoders write none, or a few to align. */
const fillBudget: Budget = { of: 'JPEG fill bytes', free: 10_000, bytesEach: 4096 }

type Size = { width: number; height: number | null }

export function* jpeg(): Walk {
  yield* take(2) // SOI, which is how we came here
  const size = yield* segmentsToScan()
  // The scans go on to EOI; that pair cannot be in entropy-coded data (B.1.1.5).
  if (!(yield* findPair(0xff, 0xd9))) throw corrupt('jpeg', 'it ends before its end marker (FF D9)')
  return { type: 'jpeg', ...size }
}

/** Everything up to and with the header of the first scan. A frame must have said how large the picture is. */
function* segmentsToScan(): Walk<Size> {
  const spendSegment = spending('jpeg', segmentBudget)
  const spendFill = spending('jpeg', fillBudget)
  let at = 2
  let size: Size | undefined
  for (;;) {
    spendSegment(at)
    const { marker, bytes } = yield* nextMarker(at, spendFill)
    const start = at
    at += bytes
    const length = yield* segmentLength(marker, start)
    if (isFrame(marker)) size = yield* frame(length, start)
    else yield* passOver(length - 2, marker, start)
    at += length
    if (marker === 0xda) break
  }
  if (size === undefined) throw corrupt('jpeg', 'its first scan comes before any frame header')
  return size
}

function* nextMarker(at: number, spendFill: Spend): Walk<{ marker: number; bytes: number }> {
  const pair = yield* take(2)
  if (pair.length < 2) throw corrupt('jpeg', `it ends at byte ${at + pair.length}, before its picture data`)
  let [prefix, marker = 0] = pair
  if (prefix !== 0xff) throw corrupt('jpeg', `at byte ${at} there is no marker where one should be`)
  let bytes = 2
  while (marker === 0xff) {
    spendFill(at)
    const [next] = yield* take(1)
    if (next === undefined) throw corrupt('jpeg', `it ends at byte ${at + bytes}, before its picture data`)
    marker = next
    bytes++
  }
  return { marker, bytes }
}

/** Of all markers before the first scan only those with a segment make sense (B.1.1.3, B.2.4). */
function* segmentLength(marker: number, at: number): Walk<number> {
  if (marker < 0xc0 || (marker >= 0xd0 && marker <= 0xd9)) {
    throw corrupt(
      'jpeg',
      `the marker ${shownMarker(marker)} at byte ${at} does not belong before the picture data`,
    )
  }
  const field = yield* take(2)
  if (field.length < 2) throw corrupt('jpeg', cut(marker, at))
  const length = field.readUInt16BE(0)
  if (length < 2)
    throw corrupt('jpeg', `the segment ${shownMarker(marker)} at byte ${at} has an impossible length`)
  return length
}

/** SOF0 to SOF15; C4, C8 and CC among them are other things (table B.1). */
function isFrame(marker: number): boolean {
  return marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc
}

/** A frame header (B.2.2). A height of 0 means that a DNL marker after the first scan tells it. */
function* frame(length: number, at: number): Walk<Size> {
  const field = yield* take(Math.min(length - 2, 6))
  const components = field[5] ?? 0
  if (field.length === 6 && components > 0 && length === 8 + 3 * components) {
    yield* passOver(length - 8, 0xc0, at)
    const width = field.readUInt16BE(3)
    if (width === 0) throw corrupt('jpeg', 'its frame header says that it has no width')
    return { width, height: field.readUInt16BE(1) || null }
  }
  throw corrupt('jpeg', `its frame header at byte ${at} is damaged`)
}

function* passOver(bytes: number, marker: number, at: number): Walk<void> {
  if ((yield* skip(bytes)) < bytes) throw corrupt('jpeg', cut(marker, at))
}

function cut(marker: number, at: number): string {
  return `it ends inside the segment ${shownMarker(marker)} at byte ${at}`
}

function shownMarker(marker: number): string {
  return `FF ${marker.toString(16).toUpperCase().padStart(2, '0')}`
}
