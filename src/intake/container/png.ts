/** PNG and APNG, by the chunks (PNG 3rd edition, section 5); pixels are never inflated. */
import { crc32 as crcOf } from 'node:zlib'
import { type Budget, type Spend, spending } from './budget.ts'
import { corrupt, shownCode } from './refusal.ts'
import { crc32, peek, skip, take, type Walk } from './walk.ts'

/** Encoders cut pixels every 4 to 64 KiB; an animation adds a control chunk for each frame. */
const chunkBudget: Budget = { of: 'PNG chunks', free: 10_000, bytesEach: 4096 }

const signature = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1')
const headerBytes = 25 // IHDR: length, name, 13 bytes of data, CRC
const largest = 0x7fff_ffff // of a chunk (5.3), a width and a height (11.2.1)

/** The bit depths that each colour type may have (11.2.1). */
const bitDepths: Readonly<Record<number, readonly number[]>> = {
  0: [1, 2, 4, 8, 16],
  2: [8, 16],
  3: [1, 2, 4, 8],
  4: [8, 16],
  6: [8, 16],
}

export function* png(): Walk {
  const start = yield* take(signature.length)
  if (start.length < signature.length) throw corrupt('png', 'it ends inside the signature')
  if (!start.equals(signature)) {
    throw corrupt('png', 'its signature is damaged, as by a transfer in text mode')
  }
  const size = header(yield* take(headerBytes))
  yield* chunksToEnd()
  return { type: 'png', ...size }
}

/** IHDR comes first (5.6) and says what the picture is like (11.2.1). */
function header(chunk: Buffer): { width: number; height: number } {
  if (chunk.length < headerBytes) throw corrupt('png', 'it ends inside its header')
  const code = chunk.subarray(4, 8)
  if (code.toString('latin1') !== 'IHDR' || chunk.readUInt32BE(0) !== 13) {
    throw corrupt('png', `its first chunk is ${shownCode(code)}, not an "IHDR" of 13 bytes`)
  }
  if (crcOf(chunk.subarray(4, 21)) !== chunk.readUInt32BE(21)) throw corrupt('png', badSum(code, 8))
  const width = chunk.readUInt32BE(8)
  const height = chunk.readUInt32BE(12)
  if (width === 0 || height === 0 || width > largest || height > largest) {
    throw corrupt('png', `its header says ${width} by ${height} pixels; PNG allows 1 to ${largest} each way`)
  }
  const [depth = 0, colour = 0, compression, filter, interlace = 0] = chunk.subarray(16, 21)
  if (bitDepths[colour]?.includes(depth) !== true) {
    throw corrupt('png', `its header says colour type ${colour} with ${depth} bits, which PNG does not have`)
  }
  if (compression !== 0 || filter !== 0 || interlace > 1) {
    throw corrupt('png', 'its header names a compression, filter or interlace method that PNG does not have')
  }
  return { width, height }
}

/** The other chunks, up to IEND. What comes after it is no part of the picture and is not looked at. */
function* chunksToEnd(): Walk<void> {
  const spend = spending('png', chunkBudget)
  let at = signature.length + headerBytes
  let pixels = false
  for (let ended = false; !ended; ) {
    const small = wholeChunks(yield* peek(8), at, spend)
    if (small.bytes > 0) yield* skip(small.bytes)
    at += small.bytes
    const last = small.ended ? null : yield* chunk(at, spend)
    at += last?.bytes ?? 0
    pixels ||= small.pixels || last?.name === 'IDAT'
    ended = small.ended || last?.name === 'IEND'
  }
  if (!pixels) throw corrupt('png', 'it has no pixels: there is no chunk "IDAT"')
}

/** The chunks that lie in `view` as a whole are judged there: asking for each part of each costs ten times more. */
function wholeChunks(view: Buffer, start: number, spend: Spend) {
  const seen = { bytes: 0, pixels: false, ended: false }
  for (let next = view; next.length >= 12 && !seen.ended; next = view.subarray(seen.bytes)) {
    const length = next.readUInt32BE(0)
    if (length > next.length - 12) break
    const at = start + seen.bytes
    spend(at)
    const code = codeAt(next.subarray(4, 8), length, at)
    const sum = next.readUInt32BE(8 + length)
    if (!isAncillary(code) && crcOf(next.subarray(4, 8 + length)) !== sum)
      throw corrupt('png', badSum(code, at))
    const name = code.toString('latin1')
    seen.pixels ||= name === 'IDAT'
    seen.ended = name === 'IEND'
    seen.bytes += 12 + length
  }
  return seen
}

/** A chunk of any length. */
function* chunk(at: number, spend: Spend): Walk<{ name: string; bytes: number }> {
  spend(at)
  const head = yield* take(8)
  if (head.length < 8)
    throw corrupt('png', `it ends at byte ${at + head.length}, before its last chunk "IEND"`)
  const length = head.readUInt32BE(0)
  const code = codeAt(head.subarray(4), length, at)
  yield* chunkBody(code, length, at)
  return { name: code.toString('latin1'), bytes: 12 + length }
}

function codeAt(code: Buffer, length: number, at: number): Buffer {
  if (!code.every(isLetter))
    throw corrupt('png', `at byte ${at} it has ${shownCode(code)} where a chunk should be`)
  if (length > largest)
    throw corrupt('png', `the chunk ${shownCode(code)} at byte ${at} is longer than PNG allows`)
  return code
}

/** A critical chunk (capital first letter, 5.4) must have a good CRC; readers skip a damaged ancillary one. */
function* chunkBody(code: Buffer, length: number, at: number): Walk<void> {
  const cut = `it ends inside the chunk ${shownCode(code)} at byte ${at}, which says it has ${length} bytes`
  if (isAncillary(code)) {
    if ((yield* skip(length + 4)) < length + 4) throw corrupt('png', cut)
    return
  }
  const sum = yield* crc32(length, crcOf(code))
  const stored = yield* take(4)
  if (stored.length < 4) throw corrupt('png', cut)
  if (stored.readUInt32BE(0) !== sum.crc) throw corrupt('png', badSum(code, at))
}

function isLetter(byte: number): boolean {
  const lower = byte | 0x20
  return lower >= 0x61 && lower <= 0x7a
}

function isAncillary(code: Buffer): boolean {
  return ((code[0] ?? 0) & 0x20) !== 0
}

function badSum(code: Buffer, at: number): string {
  return `the chunk ${shownCode(code)} at byte ${at} does not match its checksum`
}
