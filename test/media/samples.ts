/**
 * Small valid files of the seven types, built in code, so that most tests need no encoder. Each can be made
 * exactly `sizeBytes` long and stays valid: the padding sits where its format allows any number of bytes.
 * The builders of single chunks, boxes and elements are exported for tests that need odd or broken files.
 */
import { crc32, deflateSync } from 'node:zlib'
import type { MediaType } from '../../src/asset.ts'

export type SampleOptions = { sizeBytes?: number }

/** Assembles a file around padding: `build(n)` must be `n` bytes longer than `build(0)`. */
function padded(build: (padding: number) => Buffer, sizeBytes: number | undefined): Buffer {
  const bare = build(0)
  if (sizeBytes === undefined) return bare
  if (sizeBytes < bare.length) throw new RangeError(`this sample has at least ${bare.length} bytes`)
  return build(sizeBytes - bare.length)
}

export const u16be = (value: number): Buffer => Buffer.from([value >>> 8, value & 255])

export function u32be(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

export function u32le(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

export function u64be(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}

export function u64le(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

// PNG

export const pngSignature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])

export function pngChunk(type: string, data: Buffer = Buffer.alloc(0)): Buffer {
  const name = Buffer.from(type, 'latin1')
  return Buffer.concat([u32be(data.length), name, data, u32be(crc32(data, crc32(name)))])
}

export function pngHeader(width: number, height: number, bitDepth = 8, colourType = 2): Buffer {
  return pngChunk(
    'IHDR',
    Buffer.concat([u32be(width), u32be(height), Buffer.from([bitDepth, colourType, 0, 0, 0])]),
  )
}

/** A red picture, 4 by 3 pixels. Padding: a private ancillary chunk. */
export function png({ sizeBytes }: SampleOptions = {}): Buffer {
  const row = Buffer.from([0, ...Array<number[]>(4).fill([255, 0, 0]).flat()])
  const pixels = pngChunk('IDAT', deflateSync(Buffer.concat([row, row, row])))
  return padded(
    (padding) =>
      Buffer.concat([
        pngSignature,
        pngHeader(4, 3),
        pngChunk('paDd', Buffer.alloc(padding)),
        pixels,
        pngChunk('IEND'),
      ]),
    sizeBytes,
  )
}

// JPEG

export function jpegSegment(marker: number, data: Buffer): Buffer {
  return Buffer.concat([Buffer.from([0xff, marker]), u16be(data.length + 2), data])
}

/** A whole number of comment segments that are `bytes` long together (at least 4). */
function jpegComments(bytes: number): Buffer {
  const longest = 65_537
  const comments: Buffer[] = []
  for (let left = bytes; left > 0; ) {
    let length = Math.min(left, longest)
    if (left > length && left - length < 4) length -= 4
    comments.push(jpegSegment(0xfe, Buffer.alloc(length - 4)))
    left -= length
  }
  return Buffer.concat(comments)
}

export const jpegParts = {
  soi: Buffer.from([0xff, 0xd8]),
  app0: jpegSegment(0xe0, Buffer.from('JFIF\0\x01\x01\0\0\x01\0\x01\0\0', 'latin1')),
  quantisation: jpegSegment(0xdb, Buffer.concat([Buffer.from([0]), Buffer.alloc(64, 1)])),
  frame: jpegSegment(0xc0, Buffer.from([8, 0, 8, 0, 8, 1, 1, 0x11, 0])),
  // One code of one bit in each table: DC difference 0, AC end of block.
  dcTable: jpegSegment(0xc4, Buffer.from([0x00, 1, ...Array<number>(15).fill(0), 0])),
  acTable: jpegSegment(0xc4, Buffer.from([0x10, 1, ...Array<number>(15).fill(0), 0])),
  scan: Buffer.concat([jpegSegment(0xda, Buffer.from([1, 1, 0x00, 0, 63, 0])), Buffer.from([0x3f])]),
  eoi: Buffer.from([0xff, 0xd9]),
}

/** A grey picture, 8 by 8 pixels. Padding: comment segments. */
export function jpeg({ sizeBytes }: SampleOptions = {}): Buffer {
  const { soi, app0, quantisation, frame, dcTable, acTable, scan, eoi } = jpegParts
  return padded(
    (padding) =>
      Buffer.concat([soi, app0, jpegComments(padding + 4), quantisation, frame, dcTable, acTable, scan, eoi]),
    sizeBytes,
  )
}

// MP4

export function box(type: string, ...contents: Buffer[]): Buffer {
  const size = contents.reduce((sum, part) => sum + part.length, 8)
  return Buffer.concat([u32be(size), Buffer.from(type, 'latin1'), ...contents])
}

const fullBox = (type: string, flags: number, ...contents: Buffer[]): Buffer =>
  box(type, u32be(flags), ...contents)

export function ftyp(major: string, ...compatible: string[]): Buffer {
  return box('ftyp', Buffer.from(major, 'latin1'), u32be(0x200), Buffer.from(compatible.join(''), 'latin1'))
}

const unityMatrix = Buffer.concat([0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000].map(u32be))

export function mvhd(): Buffer {
  const times = [0, 0, 1000, 1000, 0x10000].map(u32be) // created, changed, ticks per second, length, rate
  const volume = u16be(0x100)
  const nextTrack = u32be(2)
  return fullBox('mvhd', 0, ...times, volume, Buffer.alloc(10), unityMatrix, Buffer.alloc(24), nextTrack)
}

/** One video track whose only sample is a JPEG picture (MPEG-4 object type 0x6C) at `offset`. */
function pictureTrack(sampleBytes: number, offset: number): Buffer {
  const decoder = Buffer.concat([Buffer.from([0x04, 13, 0x6c, 0x11]), Buffer.alloc(11)])
  const descriptor = Buffer.concat([Buffer.from([0x03, 3 + decoder.length + 3, 0, 1, 0]), decoder])
  const esds = fullBox('esds', 0, descriptor, Buffer.from([0x06, 1, 2]))
  const size = Buffer.concat([u16be(8), u16be(8)])
  const resolution = Buffer.concat([u32be(0x480000), u32be(0x480000), u32be(0), u16be(1)])
  const entryHead = Buffer.concat([Buffer.alloc(6), u16be(1), Buffer.alloc(16), size, resolution])
  const entry = box('mp4v', entryHead, Buffer.alloc(32), u16be(24), u16be(0xffff), esds)
  const stbl = box(
    'stbl',
    fullBox('stsd', 0, u32be(1), entry),
    fullBox('stts', 0, u32be(1), u32be(1), u32be(1000)),
    fullBox('stsc', 0, u32be(1), u32be(1), u32be(1), u32be(1)),
    fullBox('stsz', 0, u32be(sampleBytes), u32be(1)),
    fullBox('stco', 0, u32be(1), u32be(offset)),
  )
  const dinf = box('dinf', fullBox('dref', 0, u32be(1), fullBox('url ', 1)))
  const minf = box('minf', fullBox('vmhd', 1, Buffer.alloc(8)), dinf, stbl)
  const mdhd = fullBox('mdhd', 0, u32be(0), u32be(0), u32be(1000), u32be(1000), u16be(0x55c4), u16be(0))
  const hdlr = fullBox('hdlr', 0, u32be(0), Buffer.from('vide', 'latin1'), Buffer.alloc(13))
  const times = [0, 0, 1, 0, 1000].map(u32be) // created, changed, track, reserved, length
  const sides = [u32be(8 << 16), u32be(8 << 16)]
  const tkhd = fullBox('tkhd', 3, ...times, Buffer.alloc(16), unityMatrix, ...sides)
  return box('trak', tkhd, box('mdia', mdhd, hdlr, minf))
}

/** One second of an 8 by 8 picture. Padding: bytes of `mdat` that no sample uses. */
export function mp4({ sizeBytes }: SampleOptions = {}): Buffer {
  const head = ftyp('isom', 'isom', 'iso2', 'mp41')
  const sample = jpeg()
  const moov = (offset: number) => box('moov', mvhd(), pictureTrack(sample.length, offset))
  const offset = head.length + moov(0).length + 8
  return padded(
    (padding) => Buffer.concat([head, moov(offset), box('mdat', sample, Buffer.alloc(padding))]),
    sizeBytes,
  )
}

// WebM

/** An EBML element with its size in one byte where that is enough; `id` in hexadecimal, with its length marker. */
export function element(id: string, ...contents: Buffer[]): Buffer {
  const size = contents.reduce((sum, part) => sum + part.length, 0)
  if (size >= 127) return longElement(id, ...contents)
  return Buffer.concat([Buffer.from(id, 'hex'), Buffer.from([0x80 | size]), ...contents])
}

/** An EBML element with its size in eight bytes, whatever it is. */
export function longElement(id: string, ...contents: Buffer[]): Buffer {
  const field = u64be(contents.reduce((sum, part) => sum + part.length, 0))
  field[0] = 0x01
  return Buffer.concat([Buffer.from(id, 'hex'), field, ...contents])
}

export function ebmlHeader(docType: string): Buffer {
  return element(
    '1a45dfa3',
    element('4286', Buffer.from([1])),
    element('42f7', Buffer.from([1])),
    element('42f2', Buffer.from([4])),
    element('42f3', Buffer.from([8])),
    element('4282', Buffer.from(docType, 'latin1')),
    element('4287', Buffer.from([4])),
    element('4285', Buffer.from([2])),
  )
}

export const webmParts = {
  info: element(
    '1549a966',
    element('2ad7b1', u32be(1_000_000)),
    element('4d80', Buffer.from('assetd')),
    element('5741', Buffer.from('assetd')),
  ),
  tracks: element(
    '1654ae6b',
    element(
      'ae',
      element('d7', Buffer.from([1])),
      element('73c5', Buffer.from([1])),
      element('83', Buffer.from([2])),
      element('86', Buffer.from('A_OPUS')),
      element('63a2', Buffer.from('OpusHead\x01\x01\0\0\x80\xbb\0\0\0\0\0', 'latin1')),
      element('e1', element('b5', Buffer.from('40e7700000000000', 'hex')), element('9f', Buffer.from([1]))),
    ),
  ),
  // Time 0, then one block of track 1: 20 ms of Opus silence.
  cluster: element(
    '1f43b675',
    element('e7', Buffer.from([0])),
    element('a3', Buffer.from([0x81, 0, 0, 0x80, 0xf8, 0xff, 0xfe])),
  ),
}

/** 20 ms of Opus silence. Padding: a Void element. */
export function webm({ sizeBytes }: SampleOptions = {}): Buffer {
  const { info, tracks, cluster } = webmParts
  return padded(
    (padding) =>
      Buffer.concat([
        ebmlHeader('webm'),
        longElement('18538067', info, tracks, longElement('ec', Buffer.alloc(padding)), cluster),
      ]),
    sizeBytes,
  )
}

// MP3

/** A silent frame: MPEG-1 Layer III, 128 kbit/s, 44.1 kHz, stereo; 417 bytes. */
export function mp3Frame(): Buffer {
  const frame = Buffer.alloc(417)
  frame.set([0xff, 0xfb, 0x90, 0x00])
  return frame
}

export function id3(contents: Buffer): Buffer {
  const size = [21, 14, 7, 0].map((shift) => (contents.length >>> shift) & 0x7f)
  return Buffer.concat([Buffer.from('ID3\x04\0\0', 'latin1'), Buffer.from(size), contents])
}

/** A title and at least eight silent frames. Padding: more frames, and the rest in the tag's own padding. */
export function mp3({ sizeBytes }: SampleOptions = {}): Buffer {
  const title = Buffer.concat([
    Buffer.from('TIT2'),
    Buffer.from([0, 0, 0, 7, 0, 0, 0]),
    Buffer.from('sample'),
  ])
  const frame = mp3Frame()
  return padded((padding) => {
    const frames = Buffer.alloc(frame.length * (8 + Math.floor(padding / frame.length)), frame)
    return Buffer.concat([id3(Buffer.concat([title, Buffer.alloc(padding % frame.length)])), frames])
  }, sizeBytes)
}

// WAV

/** A RIFF chunk with its pad byte. */
export function riffChunk(id: string, data: Buffer): Buffer {
  return Buffer.concat([Buffer.from(id, 'latin1'), u32le(data.length), data, Buffer.alloc(data.length % 2)])
}

/** `fmt ` for PCM, 16 bits, mono, 8 kHz. */
export function wavFormat(): Buffer {
  return riffChunk('fmt ', Buffer.from('01000100401f0000803e000002001000', 'hex'))
}

export function riff(form: string, ...chunks: Buffer[]): Buffer {
  return riffChunk('RIFF', Buffer.concat([Buffer.from(form, 'latin1'), ...chunks]))
}

/** 128 ms of silence. Padding: more silence; the last byte of an odd size stands behind the RIFF chunk. */
export function wav({ sizeBytes }: SampleOptions = {}): Buffer {
  return padded((padding) => {
    const whole = riff('WAVE', wavFormat(), riffChunk('data', Buffer.alloc(2048 + padding - (padding % 2))))
    return Buffer.concat([whole, Buffer.alloc(padding % 2)])
  }, sizeBytes)
}

// PDF

/** One empty page. Padding: a comment before `startxref`. */
export function pdf({ sizeBytes }: SampleOptions = {}): Buffer {
  const objects = [
    '<< /Type /Catalog /Pages 2 0 R >>',
    '<< /Type /Pages /Kids [3 0 R] /Count 1 >>',
    '<< /Type /Page /Parent 2 0 R /MediaBox [0 0 72 72] >>',
  ]
  let body = '%PDF-1.4\n'
  let table = `xref\n0 ${objects.length + 1}\n0000000000 65535 f \n`
  for (const [index, object] of objects.entries()) {
    table += `${String(body.length).padStart(10, '0')} 00000 n \n`
    body += `${index + 1} 0 obj\n${object}\nendobj\n`
  }
  const trailer = `trailer\n<< /Size ${objects.length + 1} /Root 1 0 R >>\n%`
  const end = `\nstartxref\n${body.length}\n%%EOF\n`
  return padded(
    (padding) =>
      Buffer.concat([Buffer.from(body + table + trailer), Buffer.alloc(padding, ' '), Buffer.from(end)]),
    sizeBytes,
  )
}

/** All seven, by short name. */
export const samples: Record<MediaType, (options?: SampleOptions) => Buffer> = {
  png,
  jpeg,
  mp4,
  webm,
  mp3,
  wav,
  pdf,
}
