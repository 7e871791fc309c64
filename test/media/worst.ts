/**
 * Files of exactly 32 MiB, the most that is taken, that cost their reader as much as their format allows: each is
 * cut into as many parts as can be, or into just as many as our budgets have. `says` is a part of the refusal.
 */
import * as made from './samples.ts'

export const mostBytes = 33_554_432

export type Worst = { build: () => Buffer; verdict: string; says: string }

/** `start`, then `unit` over and over up to 32 MiB. */
function filled(start: Buffer, unit: Buffer | number): Buffer {
  const file = Buffer.allocUnsafe(mostBytes)
  start.copy(file)
  return file.fill(unit, start.length)
}

const none = Buffer.alloc(0)
const jpegStart = Buffer.from([0xff, 0xd8])
const scanned = made.jpeg().subarray(0, -2)
const pngStart = Buffer.concat([made.pngSignature, made.pngHeader(1, 1)])
const mp4Start = Buffer.concat([made.ftyp('isom'), made.box('moov', made.mvhd())])
const segment = Buffer.from('1853806701ffffffffffffff', 'hex')
const cluster = Buffer.from('1f43b675ff', 'hex')
const webmStart = Buffer.concat([made.ebmlHeader('webm'), segment, made.webmParts.tracks, cluster])
const wavStart = Buffer.from('RIFF\0\0\0\0WAVE', 'latin1')

function jpegFill(bytes: number): Buffer {
  return Buffer.concat([Buffer.alloc(bytes, 0xff), made.jpegSegment(0xfe, none)])
}

/** A `moov` over the rest of the file, of boxes with `bytes` bytes each. */
function oneMovie(bytes: number): Buffer {
  const head = made.ftyp('isom')
  const moov = Buffer.concat([made.u32be(mostBytes - head.length), Buffer.from('moov'), made.mvhd()])
  return filled(Buffer.concat([head, moov]), made.box('free', Buffer.alloc(bytes - 8)))
}

function movieOf(boxes: number): Buffer {
  return made.box('moov', made.mvhd(), Buffer.alloc(8 * boxes, made.box('free')))
}

function tracksOf(elements: number): Buffer {
  return made.longElement('1654ae6b', Buffer.alloc(2 * elements, made.element('ec')))
}

/** A million elements with long heads, behind them as many in a "Tracks" as there may be, and a few bytes that are none. */
function webmOfAll(): Buffer {
  const unit = made.longElement('4dbb', Buffer.alloc(22))
  const tracks = tracksOf(1_500)
  const units = Math.floor((mostBytes - webmStart.length - tracks.length) / unit.length)
  const media = Buffer.concat([webmStart, Buffer.alloc(units * unit.length, unit), tracks])
  return filled(media, 0)
}

const png = 'corrupt_file image/png'
const jpeg = 'corrupt_file image/jpeg'
const mp4 = 'corrupt_file video/mp4'
const webm = 'corrupt_file video/webm'
const mp3 = 'corrupt_file audio/mpeg'
const wav = 'corrupt_file audio/wav'
const pdf = 'corrupt_file application/pdf'

export const worstFiles: Readonly<Record<string, Worst>> = {
  'JPEG, nothing but fill bytes': worst(jpeg, 'budget of JPEG fill bytes', () => filled(jpegStart, 0xff)),
  'JPEG, 9,000 fill bytes before each segment': worst(jpeg, 'budget of JPEG fill bytes', () =>
    filled(jpegStart, jpegFill(9000)),
  ),
  'JPEG, 5 fill bytes before each segment': worst(jpeg, 'budget of JPEG', () =>
    filled(jpegStart, jpegFill(5)),
  ),
  'JPEG, smallest segments': worst(jpeg, 'budget of JPEG segments', () =>
    filled(jpegStart, made.jpegSegment(0xfe, none)),
  ),
  'JPEG, segments just within the budget': worst(jpeg, 'it ends inside the segment', () =>
    filled(jpegStart, made.jpegSegment(0xfe, Buffer.alloc(3290))),
  ),
  'JPEG, all its segments and fill bytes, then a scan of FF': worst(jpeg, 'before its end marker', () =>
    filled(Buffer.concat([jpegStart, Buffer.alloc(1_900 * 9, jpegFill(5)), scanned.subarray(2)]), 0xff),
  ),
  'JPEG, a scan of FF': worst(jpeg, 'before its end marker', () => filled(scanned, 0xff)),
  'JPEG, a scan of FF 00': worst(jpeg, 'before its end marker', () =>
    filled(scanned, Buffer.from([0xff, 0])),
  ),
  'JPEG, a scan of D9': worst(jpeg, 'before its end marker', () => filled(scanned, 0xd9)),
  'PNG, smallest chunks': worst(png, 'budget of PNG chunks', () => filled(pngStart, made.pngChunk('teXt'))),
  'PNG, smallest chunks of pixels': worst(png, 'budget of PNG chunks', () =>
    filled(pngStart, made.pngChunk('IDAT')),
  ),
  'PNG, chunks just within the budget': worst(png, 'it ends inside the chunk', () =>
    filled(pngStart, made.pngChunk('IDAT', Buffer.alloc(1850))),
  ),
  'MP4, smallest boxes': worst(mp4, 'budget of MP4 boxes', () => filled(mp4Start, made.box('free'))),
  'MP4, boxes just within the budget': worst(mp4, 'it ends at byte', () =>
    filled(mp4Start, made.box('free', Buffer.alloc(56))),
  ),
  'MP4, boxes in "moov" just within the budget': worst(mp4, 'goes beyond the "moov"', () => oneMovie(1848)),
  'MP4, smallest boxes in "moov"': worst(mp4, 'budget of MP4 boxes inside "moov"', () => oneMovie(8)),
  'MP4, many "moov" of many boxes': worst(mp4, 'budget of MP4 boxes inside "moov"', () =>
    filled(made.ftyp('isom'), movieOf(9000)),
  ),
  'MP4, many small "moov"': worst(mp4, 'budget of MP4 boxes inside "moov"', () =>
    filled(made.ftyp('isom'), movieOf(0)),
  ),
  'WebM, smallest elements': worst(webm, 'budget of WebM elements', () =>
    filled(webmStart, made.element('ec')),
  ),
  'WebM, elements just within the budget': worst(webm, 'it ends at byte', () =>
    filled(webmStart, made.element('a3', Buffer.alloc(30))),
  ),
  'WebM, elements with the longest heads': worst(webm, 'it ends at byte', () =>
    filled(webmStart, made.longElement('4dbb0000'.slice(0, 4), Buffer.alloc(22))),
  ),
  'WebM, elements, then "Tracks", just within their budgets': worst(webm, 'no element', webmOfAll),
  'WebM, filling before the "Segment"': worst(webm, 'budget of elements before the WebM "Segment"', () =>
    filled(made.ebmlHeader('webm'), made.element('ec', Buffer.alloc(30))),
  ),
  'WebM, many "Tracks" of many elements': worst(webm, 'budget of elements inside WebM "Tracks"', () =>
    filled(webmStart, tracksOf(900)),
  ),
  'WebM, many empty "Tracks"': worst(webm, 'budget of elements inside WebM "Tracks"', () =>
    filled(webmStart, tracksOf(0)),
  ),
  'MP3, smallest tags': worst(mp3, 'budget of ID3 tags', () => filled(none, made.id3(none))),
  'MP3, zero bytes behind a tag': worst(mp3, 'budget of zero bytes', () => filled(made.id3(none), 0)),
  'MP3, false syncs': worst('unsupported_type null', 'no type known', () =>
    filled(none, Buffer.from([0xff, 0xfb])),
  ),
  'MP3, false syncs behind a tag': worst('unsupported_type audio/mpeg', 'free format', () =>
    filled(made.id3(none), Buffer.from([0xff, 0xfb, 0x00])),
  ),
  'WAV, smallest chunks': worst(wav, 'budget of WAV chunks', () =>
    filled(wavStart, made.riffChunk('JUNK', none)),
  ),
  'PDF, nothing but ends': worst(pdf, '"startxref"', () =>
    filled(Buffer.from('%PDF-'), Buffer.from('%%EOF')),
  ),
  'PDF, nothing but "startxref"': worst(pdf, '%%EOF', () =>
    filled(Buffer.from('%PDF-'), Buffer.from('startxref\n1\n')),
  ),
  'zero bytes': worst('unsupported_type null', 'no type known', () => filled(none, 0)),
}

function worst(verdict: string, says: string, build: () => Buffer): Worst {
  return { verdict, says, build }
}
