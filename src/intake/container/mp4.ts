/** MP4, by its boxes (ISO/IEC 14496-12); tracks and samples are not read. */
import { type Budget, type Spend, spending } from './budget.ts'
import { corrupt, shownCode } from './refusal.ts'
import { peek, type Stranger, skip, take, type Walk } from './walk.ts'

/** A live stream with one frame in each fragment has two boxes for every 200 bytes. */
const boxBudget: Budget = { of: 'MP4 boxes', free: 10_000, bytesEach: 64 }
/** Inside `moov` there is one box for each track, and a few more. */
const movieBudget: Budget = { of: 'MP4 boxes inside "moov"', free: 10_000, bytesEach: 4096 }

const longestFileType = 4096
const shortestMovieHeader = 100 // version 0, without the size and type of its box

/** Major brands that are MP4. */
const ourBrands: ReadonlySet<string> = new Set([
  'isom',
  'iso2',
  'iso3',
  'iso4',
  'iso5',
  'iso6',
  'iso7',
  'iso8',
  'iso9',
  'mp41',
  'mp42',
  'avc1',
  'dash',
  'MSNV',
  'M4V ',
  'XAVC',
  'f4v ',
  'F4V ',
])

/** A file of any other major brand is MP4 if it says that it can be read as one of these. */
const baseBrands: ReadonlySet<string> = new Set(['isom', 'mp41', 'mp42'])

/** Major brands that are refused, whatever they say they are compatible with. */
const strangeBrands: Readonly<Record<string, Stranger>> = {
  'qt  ': strange('video/quicktime', 'a QuickTime movie'),
  'M4A ': strange('audio/mp4', 'MPEG-4 audio (M4A)'),
  'M4B ': strange('audio/mp4', 'an MPEG-4 audio book (M4B)'),
  'M4P ': strange('audio/mp4', 'protected MPEG-4 audio (M4P)'),
  heic: strange('image/heic', 'a HEIC image'),
  heix: strange('image/heic', 'a HEIC image'),
  mif1: strange('image/heif', 'a HEIF image'),
  msf1: strange('image/heif', 'a HEIF image sequence'),
  avif: strange('image/avif', 'an AVIF image'),
  avis: strange('image/avif', 'an AVIF image sequence'),
  'jp2 ': strange('image/jp2', 'a JPEG 2000 image'),
  'crx ': strange('image/x-canon-cr3', 'a Canon raw image'),
}

function strange(detected: string | null, what: string): Stranger {
  return { type: null, detected, what }
}

function strangeBrand(major: string): Stranger | undefined {
  if (major.startsWith('3gp')) return strange('video/3gpp', 'a 3GPP video')
  if (major.startsWith('3g2')) return strange('video/3gpp2', 'a 3GPP2 video')
  return Object.hasOwn(strangeBrands, major) ? strangeBrands[major] : undefined
}

/** What the brands of an `ftyp` box make of the file that starts with it. */
export function brandOf(head: Buffer): { type: 'mp4' } | Stranger {
  const major = head.toString('latin1', 8, 12)
  const refused = strangeBrand(major)
  if (refused !== undefined) return refused
  if (major.length < 4 || ourBrands.has(major)) return { type: 'mp4' }
  const end = Math.min(head.readUInt32BE(0), head.length, longestFileType)
  for (let at = 16; at + 4 <= end; at += 4) {
    if (baseBrands.has(head.toString('latin1', at, at + 4))) return { type: 'mp4' }
  }
  return strange(null, `a file of the MP4 family with the brand ${shownCode(head.subarray(8, 12))}`)
}

export function* mp4(): Walk {
  const start = yield* fileType()
  const seen = yield* boxes(start)
  if (!seen.movie) {
    throw corrupt(
      'mp4',
      'it has no "moov", the index without which it cannot be played; its end may be missing',
    )
  }
  if (seen.fragmented ? !seen.fragment : !seen.media) {
    throw corrupt(
      'mp4',
      `it has no ${seen.fragmented ? '"moof" with an "mdat" after it' : '"mdat"'}, so no media`,
    )
  }
  if (seen.fragmented && seen.openFragment) {
    throw corrupt('mp4', 'it ends after a "moof" whose "mdat" is missing')
  }
  return { type: 'mp4', width: null, height: null }
}

function* fileType(): Walk<number> {
  const head = yield* take(8)
  const size = head.readUInt32BE(0)
  if (size < 16 || size > longestFileType) throw corrupt('mp4', `its "ftyp" says it has ${size} bytes`)
  if ((yield* skip(size - 8)) < size - 8) throw corrupt('mp4', 'it ends inside its "ftyp"')
  return size
}

/** Box types, as the numbers that their four letters are. */
const types = {
  moov: 0x6d6f6f76,
  mvhd: 0x6d766864,
  mvex: 0x6d766578,
  moof: 0x6d6f6f66,
  mdat: 0x6d646174,
} as const

/** `end` is null for a box without a size of its own, which goes on to the end of the file (4.2). */
type Box = { type: number; at: number; bodyAt: number; end: number | null }

const longestHead = 16

/** The box whose head is at `offset` of `view`, which is at byte `start` of the file. */
function boxIn(view: Buffer, offset: number, start: number): Box {
  const at = start + offset
  const left = view.length - offset
  const size = left < 8 ? 1 : view.readUInt32BE(offset)
  // Size 1 stands for a size of 64 bits, which follows (4.2).
  const headBytes = size === 1 ? longestHead : 8
  if (left < headBytes) throw corrupt('mp4', `it ends inside the head of a box at byte ${at}`)
  const type = view.readUInt32BE(offset + 4)
  if (size === 0) return { type, at, bodyAt: at + 8, end: null }
  const wholeSize = size === 1 ? Number(view.readBigUInt64BE(offset + 8)) : size
  if (wholeSize < headBytes) throw impossibleSize(type, at, wholeSize)
  return { type, at, bodyAt: at + headBytes, end: at + wholeSize }
}

function shownType(type: number): string {
  const code = Buffer.alloc(4)
  code.writeUInt32BE(type)
  return shownCode(code)
}

function impossibleSize(type: number, at: number, size: number): Error {
  return corrupt('mp4', `the box ${shownType(type)} at byte ${at} says it has ${size} bytes, which cannot be`)
}

type Seen = {
  movie: boolean
  fragmented: boolean
  media: boolean
  fragment: boolean
  openFragment: boolean
}

function* boxes(start: number): Walk<Seen> {
  const spendBox = spending('mp4', boxBudget)
  const spendInMovie = spending('mp4', movieBudget)
  const seen: Seen = {
    movie: false,
    fragmented: false,
    media: false,
    fragment: false,
    openFragment: false,
  }
  let at = start
  for (;;) {
    const view = yield* peek(longestHead)
    if (view.length === 0) return seen
    const last = scan(view, at, seen, spendBox)
    if (last.type === types.moov) {
      yield* skip(last.bodyAt - at)
      seen.movie = true
      seen.fragmented = yield* movie(last, spendInMovie)
    } else {
      yield* passOver(last, at)
    }
    if (last.end === null) return seen
    at = last.end
  }
}

/**
 * Notes the boxes whose heads lie in `view`, up to the first `moov`, and gives the last of them. So that a
 * live stream with its many small fragments costs little, all that are at hand are read at once.
 */
function scan(view: Buffer, start: number, seen: Seen, spendBox: Spend): Box {
  for (let offset = 0; ; ) {
    const box = boxIn(view, offset, start)
    spendBox(box.at)
    if (box.type === types.moov) return box
    note(seen, box.type)
    if (box.end === null || box.end - start + longestHead > view.length) return box
    offset = box.end - start
  }
}

function note(seen: Seen, type: number): void {
  if (type === types.moof) seen.openFragment = true
  if (type !== types.mdat) return
  seen.media = true
  seen.fragment ||= seen.openFragment
  seen.openFragment = false
}

/** Goes on from byte `from` to the end of the box. */
function* passOver(box: Box, from: number): Walk<void> {
  const bytes = (box.end ?? Number.MAX_SAFE_INTEGER) - from
  const there = yield* skip(bytes)
  if (there < bytes && box.end !== null) throw cut(box, box.end, from + there)
}

function cut(box: Box, boxEnd: number, fileEnd: number): Error {
  const claim = `the box ${shownType(box.type)} at byte ${box.at}, which says it has ${boxEnd - box.at} bytes`
  return corrupt('mp4', `it ends at byte ${fileEnd}, inside ${claim}`)
}

/** `moov` must be there to its end and hold `mvhd`. True where it announces fragments (`mvex`). */
function* movie(moov: Box, spendBox: Spend): Walk<boolean> {
  if (moov.end === null) throw impossibleSize(moov.type, moov.at, 0)
  let header = false
  let fragmented = false
  let at = moov.bodyAt
  while (at < moov.end) {
    spendBox(at)
    const view = yield* peek(longestHead)
    if (view.length === 0) throw cut(moov, moov.end, at)
    const box = boxIn(view, 0, at)
    if (box.end === null || box.end > moov.end) {
      throw corrupt(
        'mp4',
        `the box ${shownType(box.type)} at byte ${at} goes beyond the "moov" that it is in`,
      )
    }
    if (box.type === types.mvhd) header = box.end - box.bodyAt >= shortestMovieHeader
    if (box.type === types.mvex) fragmented = true
    yield* passOver(box, at)
    at = box.end
  }
  if (!header) throw corrupt('mp4', 'its "moov" has no whole "mvhd"')
  return fragmented
}
