/** Files that lie about their sizes, or that blow up whoever unpacks them; each with what is made of it. */
import { constants, deflateRawSync } from 'node:zlib'
import * as made from './samples.ts'

export type Hostile = { name: string; build: () => Buffer; verdict: string }

const text = (string: string): Buffer => Buffer.from(string, 'latin1')
const hex = (string: string): Buffer => Buffer.from(string, 'hex')
const largest32 = 0xffff_ffff

/** A zlib stream of `mebibytes` (16 at least) zero bytes, made of one part that is said again and again. */
export function bomb(mebibytes: number): Buffer {
  const each = 16
  const part = deflateRawSync(Buffer.alloc(each * 2 ** 20), { finishFlush: constants.Z_FULL_FLUSH })
  const parts = Array<Buffer>(mebibytes / each).fill(part)
  const sum = made.u32be((((mebibytes * 2 ** 20) % 65521) * 65536 + 1) % 2 ** 32)
  return Buffer.concat([hex('789c'), ...parts, hex('0300'), sum])
}

const png = (...chunks: Buffer[]): Buffer =>
  Buffer.concat([made.pngSignature, made.pngHeader(1, 1), ...chunks, made.pngChunk('IEND')])
const pixel = made.pngChunk('IDAT', hex('789c63606060000000040001'))

function pngOf(width: number, height: number): Buffer {
  return Buffer.concat([made.pngSignature, made.pngHeader(width, height), pixel, made.pngChunk('IEND')])
}

/** A chunk whose length says something else than it is. */
function lyingChunk(name: string, length: number): Buffer {
  return Buffer.concat([made.u32be(length), text(name), Buffer.alloc(100)])
}

const pngs: [string, string, () => Buffer][] = [
  ['PNG of 2^31-1 by 2^31-1 pixels', 'png', () => pngOf(0x7fff_ffff, 0x7fff_ffff)],
  ['PNG of 2^31 by 2^31 pixels', 'corrupt_file image/png', () => pngOf(0x8000_0000, 0x8000_0000)],
  ['PNG of 0 pixels', 'corrupt_file image/png', () => pngOf(0, 0)],
  ['PNG whose IDAT is 256 MiB', 'png', () => png(made.pngChunk('IDAT', bomb(256)))],
  [
    'PNG whose zTXt is 256 MiB',
    'png',
    () => png(made.pngChunk('zTXt', Buffer.concat([text('c\0\0'), bomb(256)])), pixel),
  ],
  [
    'PNG whose iCCP is 256 MiB',
    'png',
    () => png(made.pngChunk('iCCP', Buffer.concat([text('c\0\0'), bomb(256)])), pixel),
  ],
  ['PNG chunk of 2^32-1', 'corrupt_file image/png', () => png(lyingChunk('tEXt', largest32))],
  ['PNG IDAT of 2^32-1', 'corrupt_file image/png', () => png(lyingChunk('IDAT', largest32))],
  ['PNG chunk of 2^31-1', 'corrupt_file image/png', () => png(lyingChunk('tEXt', 0x7fff_ffff))],
  ['PNG IDAT of 2^31-1', 'corrupt_file image/png', () => png(lyingChunk('IDAT', 0x7fff_ffff))],
  ['PNG chunk of zero bytes as a name', 'corrupt_file image/png', () => png(lyingChunk('\0\0\0\0', 0))],
]

function boxOf(size: number, type: string, ...contents: Buffer[]): Buffer {
  return Buffer.concat([made.u32be(size), text(type), ...contents])
}

/** A box with a size of 64 bits, `size` in hexadecimal. */
function longBoxOf(size: string, type: string, ...contents: Buffer[]): Buffer {
  return boxOf(1, type, hex(size), ...contents)
}

const isom = made.ftyp('isom', 'isom')
const moov = made.box('moov', made.mvhd())
const mdat = made.box('mdat', Buffer.alloc(40))
const mp4 = (...boxes: Buffer[]): Buffer => Buffer.concat([isom, ...boxes])

/** A box in a box in a box. */
function nested(depth: number, type: string): Buffer {
  const boxes = Array.from({ length: depth }, (_, at) => boxOf(8 * (depth - at), type))
  return Buffer.concat(boxes)
}

const brokenMp4 = 'corrupt_file video/mp4'
const mp4s: [string, string, () => Buffer][] = [
  ['MP4 mdat of size 0', 'mp4', () => mp4(moov, boxOf(0, 'mdat', Buffer.alloc(40)))],
  ['MP4 moov of size 0', brokenMp4, () => mp4(mdat, boxOf(0, 'moov', made.mvhd()))],
  ['MP4 free of size 0 before moov', brokenMp4, () => mp4(boxOf(0, 'free'), moov, mdat)],
  ['MP4 box of size 2', brokenMp4, () => mp4(moov, boxOf(2, 'free'), mdat)],
  ['MP4 box of size 7', brokenMp4, () => mp4(moov, boxOf(7, 'free'), mdat)],
  ['MP4 box of size 2^32-1', brokenMp4, () => mp4(moov, boxOf(largest32, 'mdat'))],
  ['MP4 long box of size 0', brokenMp4, () => mp4(moov, longBoxOf('0000000000000000', 'mdat'))],
  ['MP4 long box of size 15', brokenMp4, () => mp4(moov, longBoxOf('000000000000000f', 'mdat'))],
  ['MP4 long box of size 16', 'mp4', () => mp4(moov, longBoxOf('0000000000000010', 'mdat'))],
  ['MP4 long box of size 2^53', brokenMp4, () => mp4(moov, longBoxOf('0020000000000000', 'mdat'))],
  ['MP4 long box of size 2^63', brokenMp4, () => mp4(moov, longBoxOf('8000000000000000', 'mdat'))],
  ['MP4 long box of size 2^64-1', brokenMp4, () => mp4(moov, longBoxOf('ffffffffffffffff', 'mdat'))],
  ['MP4 moov of size 2^64-1', brokenMp4, () => mp4(longBoxOf('ffffffffffffffff', 'moov', made.mvhd()))],
  ['MP4 ftyp of size 0', brokenMp4, () => Buffer.concat([boxOf(0, 'ftypisom', Buffer.alloc(8)), moov, mdat])],
  [
    'MP4 ftyp of size 2^32-1',
    brokenMp4,
    () => Buffer.concat([boxOf(largest32, 'ftypisom', Buffer.alloc(8)), moov]),
  ],
  [
    'MP4 box in moov beyond it',
    brokenMp4,
    () => mp4(made.box('moov', made.mvhd(), boxOf(999, 'trak')), mdat),
  ],
  ['MP4 box in moov of size 0', brokenMp4, () => mp4(made.box('moov', made.mvhd(), boxOf(0, 'trak')), mdat)],
  ['MP4 boxes 100,000 deep', 'mp4', () => mp4(made.box('moov', made.mvhd(), nested(100_000, 'trak')), mdat)],
  ['MP4 moov in moov in moov', brokenMp4, () => mp4(nested(1000, 'moov'), mdat)],
  ['MP4 of nothing but its ftyp', brokenMp4, () => isom],
]

const { tracks, cluster } = made.webmParts
const header = made.ebmlHeader('webm')
const webm = (...elements: Buffer[]): Buffer =>
  Buffer.concat([header, made.longElement('18538067', ...elements)])
const openSegment = hex('1853806701ffffffffffffff')

/** Segments without sizes, each in the one before. */
function segments(depth: number): Buffer {
  return Buffer.concat([header, ...Array<Buffer>(depth).fill(openSegment), tracks, cluster])
}

const brokenWebm = 'corrupt_file video/webm'
const webms: [string, string, () => Buffer][] = [
  [
    'WebM header of unknown size',
    'unsupported_type null',
    () => Buffer.concat([hex('1a45dfa3ff'), header.subarray(5), openSegment]),
  ],
  ['WebM Segment of unknown size', 'webm', () => Buffer.concat([header, openSegment, tracks, cluster])],
  ['WebM Tracks of unknown size', brokenWebm, () => webm(hex('1654ae6bff'), cluster)],
  ['WebM Void of unknown size', brokenWebm, () => webm(tracks, hex('ecff'), cluster)],
  [
    'WebM Cluster of unknown size',
    'webm',
    () => webm(tracks, hex('1f43b675ff'), made.element('e7', hex('00'))),
  ],
  [
    'WebM Segment of 2^56-2',
    brokenWebm,
    () => Buffer.concat([header, hex('1853806701fffffffffffffe'), tracks, cluster]),
  ],
  ['WebM Cluster of 2^56-2', brokenWebm, () => webm(tracks, hex('1f43b67501fffffffffffffe'))],
  [
    'WebM Void of 2^56-2 before the Segment',
    brokenWebm,
    () => Buffer.concat([header, hex('ec01fffffffffffffe')]),
  ],
  ['WebM block beyond its Segment', brokenWebm, () => webm(tracks, cluster, hex('a34fff'))],
  ['WebM id of five bytes', brokenWebm, () => webm(tracks, cluster, hex('0800000000'))],
  ['WebM size of nine bytes', brokenWebm, () => webm(tracks, cluster, hex('ec000000000000000000'))],
  ['WebM zero bytes in its Segment', brokenWebm, () => webm(tracks, cluster, Buffer.alloc(64))],
  ['WebM Segments 100,000 deep', brokenWebm, () => segments(100_000)],
  ['WebM Tracks of nothing', brokenWebm, () => webm(hex('1654ae6b80'), cluster)],
]

const frames = Buffer.alloc(4 * 417, made.mp3Frame())
const id3Of = (size: string, rest: Buffer): Buffer => Buffer.concat([text('ID3\x04\0\0'), hex(size), rest])
const brokenMp3 = 'corrupt_file audio/mpeg'
const mp3s: [string, string, () => Buffer][] = [
  ['MP3 tag of 2^28-1 bytes', brokenMp3, () => id3Of('7f7f7f7f', frames)],
  ['MP3 tag of 0xFFFFFFFF', brokenMp3, () => id3Of('ffffffff', frames)],
  ['MP3 tag of 0 bytes', 'mp3', () => id3Of('00000000', frames)],
  ['MP3 tag to the end of the file', brokenMp3, () => id3Of('00000d04', frames)],
  [
    'MP3 sixteen tags',
    'mp3',
    () => Buffer.concat([Buffer.alloc(160, id3Of('00000000', Buffer.alloc(0))), frames]),
  ],
  ['MP3 of one frame', brokenMp3, () => made.mp3Frame()],
]

const sound = (size: number): Buffer => Buffer.concat([text('data'), made.u32le(size), Buffer.alloc(64)])
const riffOf = (size: number, ...chunks: Buffer[]): Buffer =>
  Buffer.concat([text('RIFF'), made.u32le(size), text('WAVE'), ...chunks])
const fmt = made.wavFormat()

/** RF64, with what its `ds64` says in hexadecimal, low byte first. */
function rf64(riff: string, data: string): Buffer {
  const ds64 = made.riffChunk('ds64', Buffer.concat([hex(riff), hex(data), Buffer.alloc(12)]))
  return Buffer.concat([text('RF64'), hex('ffffffff'), text('WAVE'), ds64, fmt, sound(largest32)])
}

const brokenWav = 'corrupt_file audio/wav'
const wavs: [string, string, () => Buffer][] = [
  ['WAV with sizes of 0', 'wav', () => riffOf(0, fmt, sound(0))],
  ['WAV with sizes of 2^32-1', 'wav', () => riffOf(largest32, fmt, sound(largest32))],
  ['WAV with data of 2^31-1', brokenWav, () => riffOf(largest32, fmt, sound(0x7fff_ffff))],
  ['WAV with data beyond the file', brokenWav, () => riffOf(0, fmt, sound(65))],
  ['WAV whose RIFF is larger than the file', brokenWav, () => riffOf(1_000, fmt, sound(64))],
  ['WAV whose RIFF is smaller than its data', 'wav', () => riffOf(4, fmt, sound(64))],
  ['WAV whose first chunk is 2^32-1', brokenWav, () => riffOf(0, text('JUNK'), made.u32le(largest32), fmt)],
  ['WAV whose fmt is empty', brokenWav, () => riffOf(0, made.riffChunk('fmt ', Buffer.alloc(0)), sound(0))],
  ['RF64 that tells the truth', 'wav', () => rf64('0000000000000000', '4000000000000000')],
  ['RF64 with data of 2^64-1', 'wav', () => rf64('ffffffffffffffff', 'ffffffffffffffff')],
  ['RF64 with data of 2^53-1', brokenWav, () => rf64('0000000000000000', 'ffffffffffff1f00')],
  ['RF64 with data of 2^40', brokenWav, () => rf64('0000000000000000', '0000000000010000')],
  [
    'RF64 without ds64',
    brokenWav,
    () => Buffer.concat([text('RF64'), hex('ffffffff'), text('WAVE'), fmt, sound(0)]),
  ],
]

const { soi, quantisation, dcTable, acTable, scan, eoi } = made.jpegParts
const frameOf = (fields: string): Buffer => made.jpegSegment(0xc0, hex(fields))
const jpeg = (...segments: Buffer[]): Buffer => Buffer.concat([soi, ...segments, eoi])
const tables = Buffer.concat([quantisation, dcTable, acTable])
const brokenJpeg = 'corrupt_file image/jpeg'
const jpegs: [string, string, () => Buffer][] = [
  ['JPEG of 65,535 by 65,535 pixels', 'jpeg', () => jpeg(tables, frameOf('08ffffffff01011100'), scan)],
  ['JPEG of width 0', brokenJpeg, () => jpeg(tables, frameOf('080008000001011100'), scan)],
  ['JPEG with 255 components and one', brokenJpeg, () => jpeg(tables, frameOf('0800080008ff011100'), scan)],
  ['JPEG segment of length 0', brokenJpeg, () => jpeg(hex('fffe0000'))],
  ['JPEG segment of length 65,535', brokenJpeg, () => jpeg(hex('fffeffff'))],
  [
    'JPEG of 10,000 scans',
    'jpeg',
    () => jpeg(tables, made.jpegParts.frame, Buffer.alloc(scan.length * 10_000, scan)),
  ],
  ['JPEG of nothing but its ends', brokenJpeg, () => jpeg()],
]

const ends = (offset: string): Buffer => text(`%PDF-1.7\n${' '.repeat(200)}\nstartxref\n${offset}\n%%EOF\n`)
const brokenPdf = 'corrupt_file application/pdf'
const pdfs: [string, string, () => Buffer][] = [
  ['PDF whose table is at 0', brokenPdf, () => ends('0')],
  ['PDF whose table is at -1', brokenPdf, () => ends('-1')],
  ['PDF whose table is at 10^30', brokenPdf, () => ends(`1${'0'.repeat(30)}`)],
  ['PDF whose table is nowhere', brokenPdf, () => ends('')],
  ['PDF whose table is not there', 'pdf', () => ends('9')],
  [
    'PDF of 100,000 open brackets',
    'pdf',
    () => Buffer.concat([text(`%PDF-1.7\n${'['.repeat(100_000)}`), ends('9')]),
  ],
  [
    'PDF with a bomb of 256 MiB in a stream',
    'pdf',
    () =>
      Buffer.concat([text('%PDF-1.7\n1 0 obj << /Filter /FlateDecode >> stream\n'), bomb(256), ends('9')]),
  ],
]

export const hostileFiles: readonly Hostile[] = [pngs, mp4s, webms, mp3s, wavs, jpegs, pdfs]
  .flat()
  .map(([name, verdict, build]) => ({ name, verdict, build }))
