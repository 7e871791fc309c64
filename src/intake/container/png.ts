/** PNG and APNG, by the chunks (PNG 3rd edition, section 5); pixels are never inflated. */
import { crc32 as crcOf } from 'node:zlib'
import { type Budget, withinBudget } from './budget.ts'
import { corrupt, shownCode } from './refusal.ts'
import { crc32, skip, take, type Walk } from './walk.ts'

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
  let at = signature.length + headerBytes
  let pixels = false
  for (let count = 1; ; count++) {
    withinBudget('png', chunkBudget, count, at)
    const head = yield* take(8)
    if (head.length < 8)
      throw corrupt('png', `it ends at byte ${at + head.length}, before its last chunk "IEND"`)
    const code = head.subarray(4)
    const length = head.readUInt32BE(0)
    yield* chunkBody(code, length, at)
    at += 12 + length
    const name = code.toString('latin1')
    if (name === 'IDAT') pixels = true
    if (name === 'IEND') break
  }
  if (!pixels) throw corrupt('png', 'it has no pixels: there is no chunk "IDAT"')
}

/** A critical chunk (capital first letter, 5.4) must have a good CRC; readers skip a damaged ancillary one. */
function* chunkBody(code: Buffer, length: number, at: number): Walk<void> {
  if (!code.every(isLetter))
    throw corrupt('png', `at byte ${at} it has ${shownCode(code)} where a chunk should be`)
  const cut = `it ends inside the chunk ${shownCode(code)} at byte ${at}, which says it has ${length} bytes`
  if (length > largest)
    throw corrupt('png', `the chunk ${shownCode(code)} at byte ${at} is longer than PNG allows`)
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
