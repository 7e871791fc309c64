/** Headers of MPEG audio frames (ISO/IEC 11172-3 2.4.1.3, 13818-3; MPEG-2.5 as everyone does it) and of ADTS. */
import type { Stranger } from './walk.ts'

type Version = 1 | 2 | 2.5
type Layer = 1 | 2 | 3
/** `bytes` is null in the free format, which does not say how long a frame is. */
export type Frame = { version: Version; layer: Layer; mono: boolean; hertz: number; bytes: number | null }

/** Kilobits per second by the index in the header, from 1. */
const rates = {
  1: {
    1: [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    2: [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    3: [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
  },
  2: {
    1: [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    2: [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    3: [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
  },
} as const satisfies Record<1 | 2, Record<Layer, readonly number[]>>

const versions = [2.5, null, 2, 1] as const
const layers = [null, 3, 2, 1] as const
const hertzOfMpeg1 = [44_100, 48_000, 32_000] as const
const hertzDivisor = { 1: 1, 2: 2, 2.5: 4 } as const satisfies Record<Version, number>

/** No frame is longer (Layer II at 384 kbit/s and 32 kHz, padded). */
export const longestFrame = 1729

export function frameAt(bytes: Buffer, at: number): Frame | null {
  const [sync = 0, kind = 0, rate = 0, mode = 0] = bytes.subarray(at, at + 4)
  if (at + 4 > bytes.length || sync !== 0xff || kind < 0xe0 || (mode & 3) === 2) return null
  const version = versions[(kind >> 3) & 3] ?? null
  const layer = layers[(kind >> 1) & 3] ?? null
  const hertz = hertzOfMpeg1[(rate >> 2) & 3]
  const rateIndex = rate >> 4
  if (version === null || layer === null || hertz === undefined || rateIndex === 15) return null
  const sampled = hertz / hertzDivisor[version]
  const padding = (rate >> 1) & 1
  return {
    version,
    layer,
    mono: mode >> 6 === 3,
    hertz: sampled,
    bytes: rateIndex === 0 ? null : frameBytes(version, layer, rateIndex, sampled, padding),
  }
}

function frameBytes(
  version: Version,
  layer: Layer,
  rateIndex: number,
  hertz: number,
  padding: number,
): number {
  const bits = (rates[version === 1 ? 1 : 2][layer][rateIndex - 1] ?? 0) * 1000
  if (layer === 1) return (Math.floor((12 * bits) / hertz) + padding) * 4
  const slots = layer === 3 && version !== 1 ? 72 : 144
  return Math.floor((slots * bits) / hertz) + padding
}

/** Frames of one stream have all this in common; rate and joint stereo may change. */
function alike(one: Frame, other: Frame | null): boolean {
  return (
    other !== null &&
    one.version === other.version &&
    one.layer === other.layer &&
    one.mono === other.mono &&
    one.hertz === other.hertz
  )
}

/** `pair`: two consistent frames. `one`: the bytes end before a second frame could begin. */
export type Frames = { found: 'pair' | 'one'; frame: Frame } | { found: 'none' }

/** Looks for frames at the start of `bytes`, which hold two frames unless the file ends first. */
export function framesIn(bytes: Buffer): Frames {
  const frame = frameAt(bytes, 0)
  if (frame === null) return { found: 'none' }
  if (frame.bytes === null) return freePair(bytes, frame) ? { found: 'pair', frame } : { found: 'none' }
  if (bytes.length < frame.bytes + 4) return { found: 'one', frame }
  return alike(frame, frameAt(bytes, frame.bytes)) ? { found: 'pair', frame } : { found: 'none' }
}

/** In the free format the next frame is wherever the next such header is. */
function freePair(bytes: Buffer, frame: Frame): boolean {
  for (let at = bytes.indexOf(0xff, 4); at >= 0; at = bytes.indexOf(0xff, at + 1)) {
    const next = frameAt(bytes, at)
    if (next?.bytes === null && alike(frame, next)) return true
  }
  return false
}

/** What frames of MPEG audio are that is not MP3; null where they are MP3. */
export function notMp3(frame: Frame): Stranger | null {
  if (frame.layer === 1) return { type: null, detected: 'audio/mp1', what: 'MPEG audio of Layer I' }
  if (frame.layer === 2) return { type: null, detected: 'audio/mp2', what: 'MPEG audio of Layer II (MP2)' }
  if (frame.bytes !== null) return null
  return {
    type: null,
    detected: 'audio/mpeg',
    what: 'MP3 audio in the rare free format, which few players know',
  }
}

/** Two frames of AAC with ADTS headers (ISO/IEC 13818-7, 6.2), or as much of them as the file has. */
export function hasAdts(bytes: Buffer): boolean {
  const first = adtsBytes(bytes, 0)
  return first > 0 && (bytes.length < first + 7 || adtsBytes(bytes, first) > 0)
}

function adtsBytes(bytes: Buffer, at: number): number {
  if (at + 7 > bytes.length) return 0
  const head = bytes.subarray(at, at + 7)
  const rateIndex = (head.readUInt8(2) >> 2) & 15
  const length = ((head.readUInt8(3) & 3) << 11) | (head.readUInt8(4) << 3) | (head.readUInt8(5) >> 5)
  if (head[0] !== 0xff || (head.readUInt8(1) & 0xf6) !== 0xf0 || rateIndex > 12) return 0
  return length < 7 ? 0 : length
}
