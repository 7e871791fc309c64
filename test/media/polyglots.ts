/**
 * Files that are two things at once: one of our seven types with something else inside it or behind it. The guest
 * stands where the host's format lets anything stand and its readers pass it over. Built in code from a script, so
 * that a test can see whether, and where, it ran.
 */
import { deflateSync } from 'node:zlib'
import type { MediaType } from '../../src/asset.ts'
import * as made from './samples.ts'

export type Polyglot = {
  name: string
  file: Buffer
  /** A type that is accepted, or the reason and what is detected. */
  verdict: string
  /** It is a program as it stands, if it is read as one. */
  isScript?: true
}

const text = (string: string): Buffer => Buffer.from(string, 'latin1')

/** A page that runs the script, twice over. */
export function pageWith(script: string): Buffer {
  return text(
    `<!doctype html><html><body><script>${script}</script><img src=x onerror='${script}'></body></html>`,
  )
}

/** One stored file, and the directory that readers look for at the end. */
export function zip(name: string, content: Buffer): Buffer {
  const sizes = Buffer.concat([Buffer.alloc(4), made.u32le(content.length), made.u32le(content.length)])
  const local = Buffer.concat([
    text(`PK\x03\x04\x0a\0\0\0\0\0\0\0\0\0`),
    sizes,
    Buffer.from([name.length, 0, 0, 0]),
  ])
  const entry = Buffer.concat([
    text('PK\x01\x02\x0a\0\x0a\0\0\0\0\0\0\0\0\0'),
    sizes,
    Buffer.from([name.length, 0]),
    Buffer.alloc(16),
    text(name),
  ])
  const start = local.length + name.length + content.length
  const end = [
    text('PK\x05\x06\0\0\0\0\x01\0\x01\0'),
    made.u32le(entry.length),
    made.u32le(start),
    Buffer.alloc(2),
  ]
  return Buffer.concat([local, text(name), content, entry, ...end])
}

/** A GIF whose width begins a comment, so that it is a program too. */
export function gifScript(script: string): Buffer {
  return text(`GIF89a/*\x01\0\0\0\0*/=1;${script}//`)
}

/** A PDF that asks its reader to run the script when it is opened. */
export function pdfScript(script: string): Buffer {
  const action = `5 0 obj\n<< /S /JavaScript /JS (${script.replaceAll(/[()\\]/g, '\\$&')}) >>\nendobj\n`
  const plain = made.pdf().toString('latin1')
  return text(
    plain.replace('/Type /Catalog', '/Type /Catalog /OpenAction 5 0 R').replace('xref', `${action}xref`),
  )
}

const guests: Readonly<Record<string, (script: string) => Buffer>> = {
  HTML: pageWith,
  script: (script) => text(`\n;${script};\n`),
  SVG: (script) => text(`<svg xmlns="http://www.w3.org/2000/svg" onload='${script}'/>`),
  PHP: (script) => text(`<?php echo '${script.replaceAll("'", '"')}'; ?>`),
  ZIP: (script) => zip('index.html', pageWith(script)),
  GIF: gifScript,
  PDF: pdfScript,
  PNG: () => made.png(),
  MP3: () => made.mp3(),
}

/** A host with a guest in the place for comments, or where there is none, in filling. */
const inside: Readonly<Record<MediaType, (guest: Buffer) => Buffer>> = {
  png: (guest) =>
    afterFirst(made.png(), 33, made.pngChunk('tEXt', Buffer.concat([text('Comment\0'), guest]))),
  jpeg: (guest) => afterFirst(made.jpeg(), 2, made.jpegSegment(0xfe, guest)),
  mp4: (guest) => afterFirst(made.mp4(), made.mp4().readUInt32BE(0), made.box('free', guest)),
  webm: (guest) => {
    const { info, tracks, cluster } = made.webmParts
    const filling = made.longElement('ec', guest)
    return Buffer.concat([
      made.ebmlHeader('webm'),
      made.longElement('18538067', filling, info, tracks, cluster),
    ])
  },
  mp3: (guest) => {
    const size = Buffer.from([0, 0, guest.length >> 7, guest.length & 127])
    const frame = Buffer.concat([text('COMM'), size, Buffer.alloc(2), guest])
    return Buffer.concat([made.id3(frame), Buffer.alloc(4 * 417, made.mp3Frame())])
  },
  wav: (guest) => {
    const sound = [made.wavFormat(), made.riffChunk('data', Buffer.alloc(64))]
    return made.riff('WAVE', made.riffChunk('LIST', Buffer.concat([text('INFOICMT'), guest])), ...sound)
  },
  pdf: (guest) => afterFirst(made.pdf(), 9, Buffer.concat([text('%'), guest, text('\n')])),
}

function afterFirst(file: Buffer, bytes: number, guest: Buffer): Buffer {
  return Buffer.concat([file.subarray(0, bytes), guest, file.subarray(bytes)])
}

/** A guest behind the host is not the host's, and is not looked at; but MP4 has boxes to its end, and PDF an end. */
function behind(type: MediaType, guest: string): string {
  if (type === 'mp4') return 'corrupt_file video/mp4'
  return type === 'pdf' && guest === 'MP3' ? 'corrupt_file application/pdf' : type // 3 KB of it
}

/** What a guest before the host makes of it: then it is the guest, which is refused or, of our types, accepted. */
const before: Readonly<Record<string, string>> = {
  HTML: 'unsupported_type text/html',
  SVG: 'unsupported_type image/svg+xml',
  PHP: 'unsupported_type text/x-php',
  ZIP: 'unsupported_type application/zip',
  GIF: 'unsupported_type image/gif',
}

/** A JPEG whose first segment has a length that reads as the beginning of a comment. */
function jpegScript(script: string): Buffer {
  const { app0, quantisation, frame, dcTable, acTable, scan, eoi } = made.jpegParts
  const segment = Buffer.alloc(0x2f2a - 2)
  app0.copy(segment, 0, 4)
  text(`*/=1;${script};/*`).copy(segment, 14)
  const opening = Buffer.concat([made.jpegParts.soi, Buffer.from([0xff, 0xe0]), text('/*'), segment])
  return Buffer.concat([opening, quantisation, frame, dcTable, acTable, scan, text('*/var '), eoi])
}

/** A WAV whose size reads as the beginning of a comment; the size of its sound is open, so nothing is cut. */
function wavScript(script: string): Buffer {
  const sound = [made.wavFormat(), text('data'), made.u32le(0), Buffer.alloc(64)]
  return Buffer.concat([text('RIFF/*  WAVE'), ...sound, text(`*/=1;${script}//`)])
}

/** All of them; `scriptFor` gives the script of the file of that name, in which no quote may be a single one. */
export function polyglots(scriptFor: (name: string) => string): Polyglot[] {
  const all: Polyglot[] = []
  const add = (name: string, verdict: string, build: (script: string) => Buffer) =>
    all.push({ name, verdict, file: build(scriptFor(name)) })
  for (const [guest, build] of Object.entries(guests)) {
    for (const type of Object.keys(inside) as MediaType[]) {
      add(`${guest} inside ${type}`, type, (script) => inside[type](build(script)))
      add(`${guest} behind ${type}`, behind(type, guest), (script) =>
        Buffer.concat([made.samples[type](), build(script)]),
      )
      const first = before[guest]
      if (first !== undefined) {
        add(`${guest} before ${type}`, first, (script) =>
          Buffer.concat([build(script), made.samples[type]()]),
        )
      }
    }
  }
  add('HTML compressed inside png', 'png', (script) =>
    afterFirst(
      made.png(),
      33,
      made.pngChunk('zTXt', Buffer.concat([text('c\0\0'), deflateSync(pageWith(script))])),
    ),
  )
  add('PDF with a script', 'pdf', pdfScript)
  add('nothing, then pdf', 'corrupt_file application/pdf', () => Buffer.concat([Buffer.alloc(4), made.pdf()]))
  const addScript = (name: string, verdict: string, build: (script: string) => Buffer) =>
    all.push({ name, verdict, file: build(scriptFor(name)), isScript: true })
  addScript('JPEG that is a script', 'jpeg', jpegScript)
  addScript('WAV that is a script', 'wav', wavScript)
  addScript('GIF that is a script', 'unsupported_type image/gif', gifScript)
  return all
}
