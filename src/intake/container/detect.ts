/**
 * Which container a file claims to be, from its first bytes; whether it is whole, its walker tells. Files that
 * are often sent by mistake are known by name, so that the answer can say what was found.
 */
import { isUtf8 } from 'node:buffer'
import type { MediaType } from '../../asset.ts'
import { brandOf } from './mp4.ts'
import { framesIn, hasAdts, notMp3 } from './mpeg-audio.ts'
import type { Stranger } from './walk.ts'
import { docTypeOf } from './webm.ts'

/** How many bytes a judgement may need. */
export const detectBytes = 4096

export type Detection = { type: MediaType } | Stranger

function stranger(detected: string | null, what: string): Stranger {
  return { type: null, detected, what }
}

type Signature = { at: number; bytes: Buffer } & Stranger

function signature(at: number, bytes: string, detected: string | null, what: string): Signature {
  return { at, bytes: Buffer.from(bytes, 'latin1'), ...stranger(detected, what) }
}

/** Files that are none of ours, by the bytes that say so; the first that fits counts. */
const signatures: readonly Signature[] = [
  signature(0, 'GIF8', 'image/gif', 'a GIF image'),
  signature(0, '\0\0\0\x0cjP  \r\n\x87\n', 'image/jp2', 'a JPEG 2000 image'),
  signature(0, '\xff\x4f\xff\x51', 'image/j2c', 'a JPEG 2000 codestream'),
  signature(0, '\0\0\0\x0cJXL \r\n\x87\n', 'image/jxl', 'a JPEG XL image'),
  signature(0, 'OggS', 'audio/ogg', 'an Ogg file'),
  signature(0, 'fLaC', 'audio/flac', 'FLAC audio'),
  signature(0, 'ADIF', 'audio/aac', 'AAC audio'),
  signature(0, '#!AMR', 'audio/amr', 'AMR audio'),
  signature(0, 'MThd', 'audio/midi', 'a MIDI file'),
  signature(0, '.snd', 'audio/basic', 'AU audio'),
  signature(0, 'riff\x2e\x91\xcf\x11', 'audio/x-w64', 'Sony Wave64 audio'),
  signature(0, 'RIFX', null, 'a big-endian RIFF file'),
  signature(0, 'FLV\x01', 'video/x-flv', 'a Flash video'),
  signature(0, '\x30\x26\xb2\x75\x8e\x66\xcf\x11', 'video/x-ms-asf', 'a Windows Media file (WMV, WMA)'),
  signature(0, '\0\0\x01\xba', 'video/mpeg', 'an MPEG program stream'),
  signature(0, '\0\0\x01\xb3', 'video/mpeg', 'an MPEG video stream'),
  signature(0, 'II*\0', 'image/tiff', 'a TIFF or raw camera image'),
  signature(0, 'MM\0*', 'image/tiff', 'a TIFF or raw camera image'),
  signature(0, '8BPS', 'image/vnd.adobe.photoshop', 'a Photoshop image'),
  signature(0, '\0\0\x01\0', 'image/x-icon', 'a Windows icon'),
  signature(0, 'PK\x03\x04', 'application/zip', 'a ZIP archive (or an Office or OpenDocument file)'),
  signature(0, 'PK\x05\x06', 'application/zip', 'an empty ZIP archive'),
  signature(0, 'PK\x07\x08', 'application/zip', 'a ZIP archive in parts'),
  signature(0, '\xfd7zXZ\0', 'application/x-xz', 'an xz file'),
  signature(0, '\x28\xb5\x2f\xfd', 'application/zstd', 'a Zstandard file'),
  signature(0, 'Rar!\x1a\x07', 'application/vnd.rar', 'a RAR archive'),
  signature(0, '7z\xbc\xaf\x27\x1c', 'application/x-7z-compressed', 'a 7-Zip archive'),
  signature(0, '\x7fELF', 'application/x-elf', 'a program for Linux or Unix (ELF)'),
  signature(0, '\xcf\xfa\xed\xfe', 'application/x-mach-binary', 'a program for macOS'),
  signature(0, '\xca\xfe\xba\xbe', 'application/x-mach-binary', 'a program for macOS, or a Java class'),
  signature(0, '\0asm', 'application/wasm', 'a WebAssembly program'),
  signature(0, '\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1', 'application/x-cfb', 'an older Office file'),
  signature(0, 'SQLite format 3\0', 'application/vnd.sqlite3', 'an SQLite database'),
  signature(0, 'wOFF', 'font/woff', 'a font'),
  signature(0, 'wOF2', 'font/woff2', 'a font'),
  signature(0, '{\\rtf', 'application/rtf', 'an RTF document'),
  signature(0, '\xff\xfe\0\0', 'text/plain', 'a text in UTF-32'),
  signature(0, '\0\0\xfe\xff', 'text/plain', 'a text in UTF-32'),
  signature(0, '%!PS', 'application/postscript', 'a PostScript document'),
]

/** Signatures so short, or so deep in the file, that text has them by chance. */
const weakSignatures: readonly Signature[] = [
  signature(8, 'WEBPVP8', 'image/webp', 'a WebP image'),
  signature(8, 'AVI ', 'video/x-msvideo', 'an AVI video'),
  signature(4, 'moov', 'video/quicktime', 'a QuickTime movie without "ftyp"'),
  signature(4, 'mdat', 'video/quicktime', 'a QuickTime movie without "ftyp"'),
  signature(4, 'wide', 'video/quicktime', 'a QuickTime movie without "ftyp"'),
  signature(4, 'free', 'video/quicktime', 'a QuickTime movie without "ftyp"'),
  signature(4, 'skip', 'video/quicktime', 'a QuickTime movie without "ftyp"'),
  signature(4, 'pnot', 'video/quicktime', 'a QuickTime movie without "ftyp"'),
  signature(4, 'styp', 'video/iso.segment', 'a single segment of an MP4 stream, without its beginning'),
  signature(4, 'moof', 'video/iso.segment', 'a single segment of an MP4 stream, without its beginning'),
  signature(0, '\x0b\x77', 'audio/ac3', 'AC-3 audio'),
  signature(8, 'AIFF', 'audio/aiff', 'AIFF audio'),
  signature(8, 'AIFC', 'audio/aiff', 'AIFF audio'),
  signature(0, 'BM', 'image/bmp', 'a BMP image'),
  signature(0, '\x1f\x8b', 'application/gzip', 'a gzip file'),
  signature(0, 'BZh', 'application/x-bzip2', 'a bzip2 file'),
  signature(257, 'ustar', 'application/x-tar', 'a tar archive'),
  signature(0, 'MZ', 'application/vnd.microsoft.portable-executable', 'a program for Windows or DOS'),
]

/** `head`: the first `detectBytes` bytes of the file, or all that it has. */
export function detect(head: Buffer): Detection {
  return (
    ours(head) ??
    known(head, signatures) ??
    markup(head) ??
    audioFrames(head) ??
    text(head) ??
    known(head, weakSignatures) ??
    transportStream(head) ??
    misplacedPdf(head) ??
    unknown(head)
  )
}

/** What starts like one of the seven, even if that is all there is of it: then it is that, cut short. */
function ours(head: Buffer): Detection | null {
  if (startsWith(head, '\x89PNG')) return { type: 'png' }
  if (startsWith(head, '\xff\xd8\xff')) return { type: 'jpeg' }
  if (startsWith(head, '%PDF-')) return { type: 'pdf' }
  if (startsWith(head, 'ID3') && (head[3] ?? 4) < 0x10) return { type: 'mp3' }
  if (startsWith(head, '\x1a\x45\xdf\xa3')) return docTypeOf(head)
  if (startsWith(head, 'ftyp', 4)) return brandOf(head)
  const waves = ['RIFF', 'RF64', 'BW64'].some((form) => startsWith(head, form))
  return waves && startsWith(head, 'WAVE', 8) ? { type: 'wav' } : null
}

function startsWith(head: Buffer, bytes: string, at = 0): boolean {
  return head.toString('latin1', at, at + bytes.length) === bytes
}

function known(head: Buffer, among: readonly Signature[]): Stranger | null {
  const found = among.find(({ at, bytes }) => head.subarray(at, at + bytes.length).equals(bytes))
  return found === undefined ? null : stranger(found.detected, found.what)
}

function audioFrames(head: Buffer): Detection | null {
  const frames = framesIn(head)
  if (frames.found !== 'none') {
    const other = notMp3(frames.frame)
    if (other === null) return { type: 'mp3' }
    if (frames.found === 'pair') return other
  }
  return hasAdts(head) ? stranger('audio/aac', 'AAC audio') : null
}

/** Packets of 188 bytes, each beginning with 0x47 (ISO/IEC 13818-1, 2.4.3.2). */
function transportStream(head: Buffer): Stranger | null {
  const packets = head.length > 188 * 2 && [0, 1, 2].every((packet) => head[packet * 188] === 0x47)
  return packets ? stranger('video/mp2t', 'an MPEG transport stream') : null
}

/** Markup by its first word, whatever binary may follow: a browser would go by the same. */
const firstWords: readonly (readonly [string, Stranger])[] = [
  ['<!doctype html', stranger('text/html', 'an HTML page')],
  ['<html', stranger('text/html', 'an HTML page')],
  ['<head', stranger('text/html', 'an HTML page')],
  ['<body', stranger('text/html', 'an HTML page')],
  ['<script', stranger('text/html', 'an HTML page')],
  ['<svg', stranger('image/svg+xml', 'an SVG image')],
  ['<!doctype svg', stranger('image/svg+xml', 'an SVG image')],
  ['<?php', stranger('text/x-php', 'a PHP program')],
  ['<?=', stranger('text/x-php', 'a PHP program')],
]

function markup(head: Buffer): Stranger | null {
  const start = (startsWith(head, '\xef\xbb\xbf') ? head.subarray(3) : head)
    .toString('latin1')
    .trimStart()
    .toLowerCase()
  const found = firstWords.find(([word]) => start.startsWith(word))
  if (found !== undefined) return found[1]
  if (!start.startsWith('<?xml') && !start.startsWith('<!--')) return null
  // What an XML declaration or a comment belongs to, the first elements tell.
  if (start.includes('<svg')) return stranger('image/svg+xml', 'an SVG image')
  if (start.includes('<html')) return stranger('text/html', 'an HTML page')
  return start.startsWith('<?xml') ? stranger('application/xml', 'an XML document') : null
}

function text(head: Buffer): Stranger | null {
  if (startsWith(head, '\xff\xfe') || startsWith(head, '\xfe\xff'))
    return stranger('text/plain', 'a text in UTF-16')
  if (head.some(isBinary) || !isUtf8(wholeCharacters(head))) return null
  const start = head.toString('latin1').trimStart()
  if (start.startsWith('{') || start.startsWith('['))
    return stranger('application/json', 'JSON or other text')
  if (start.startsWith('#!')) return stranger('text/x-shellscript', 'a script')
  return stranger('text/plain', 'a text')
}

/** Control characters other than tab, line feed, form feed, carriage return and escape. */
function isBinary(byte: number): boolean {
  return byte < 0x20 && byte !== 9 && byte !== 10 && byte !== 12 && byte !== 13 && byte !== 27
}

/** Without the last bytes where they may be the start of a character that goes on after the head. */
function wholeCharacters(head: Buffer): Buffer {
  if (head.length < detectBytes) return head
  const last = head.subarray(-3).findIndex((byte) => byte >= 0xc0)
  return last < 0 ? head : head.subarray(0, head.length - 3 + last)
}

/** Readers of PDF forgive bytes before its start, which is how polyglot files are made; its walker does not. */
function misplacedPdf(head: Buffer): Detection | null {
  return head.subarray(0, 1024).includes('%PDF-') ? { type: 'pdf' } : null
}

function unknown(head: Buffer): Stranger {
  const bytes = Array.from(head.subarray(0, 8), (byte) => byte.toString(16).padStart(2, '0')).join(' ')
  return stranger(null, `of no type known here (it begins with the bytes ${bytes})`)
}
