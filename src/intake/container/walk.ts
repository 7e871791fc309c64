/**
 * How a container's rules are written down: as a generator that reads its file from top to bottom and asks
 * for bytes as it needs them, while the bytes themselves arrive in slices of any size. A walker never sees
 * the network, never holds more than it asked for, and can be run over a socket, a disk or a bucket alike.
 *
 * Asks cost what they say: `take` and `peek` copy at most `maxTakeBytes`; `skip`, `crc32`, `findPair` and
 * `tail` are one pass over slices that are not kept.
 */
import type { Inspection } from '../../asset.ts'

export type Ask =
  | { ask: 'take'; bytes: number }
  | { ask: 'peek'; bytes: number }
  | { ask: 'skip'; bytes: number }
  | { ask: 'crc32'; bytes: number; seed: number }
  | { ask: 'findPair'; first: number; second: number }
  | { ask: 'tail'; bytes: number }

/** A walker ends with what the file is, or throws a file fault (`corrupt_file`, `unsupported_type`). */
export type Walk<T = Inspection> = Generator<Ask, T, unknown>

/** A file that is none of our types: its MIME type where we know it, and what to call it in a sentence. */
export type Stranger = { type: null; detected: string | null; what: string }

/** No single `take` or `peek` may ask for more: a hostile length field must not choose how much memory we use. */
export const maxTakeBytes = 65_536

/** A walker that asks for more has a fault, which no file may bring out in silence. */
function atMost(limit: number, bytes: number): number {
  if (bytes > limit) throw new RangeError(`a walker asked for ${bytes} bytes at once`)
  return bytes
}

/** The next `bytes` bytes, a copy; fewer only where the file ends first. */
export function* take(bytes: number): Walk<Buffer> {
  return (yield { ask: 'take', bytes: atMost(maxTakeBytes, bytes) }) as Buffer
}

/**
 * The next `bytes` bytes, fewer only where the file ends first, without passing over them. There may be more
 * in the answer (what is at hand anyway), so that a walker can read many small things at once. It is a view of
 * the slice: good until the next ask.
 */
export function* peek(bytes: number): Walk<Buffer> {
  return (yield { ask: 'peek', bytes: atMost(maxTakeBytes, bytes) }) as Buffer
}

/** Passes over `bytes` bytes (any size, up to 2^53); gives how many there were. */
export function* skip(bytes: number): Walk<number> {
  return (yield { ask: 'skip', bytes }) as number
}

/** CRC-32 of the next `bytes` bytes, going on from `seed`; `bytes` in the answer is fewer where the file ends. */
export function* crc32(bytes: number, seed = 0): Walk<{ bytes: number; crc: number }> {
  return (yield { ask: 'crc32', bytes, seed }) as { bytes: number; crc: number }
}

/** Passes over everything up to and including the two bytes; false where they never come. */
export function* findPair(first: number, second: number): Walk<boolean> {
  return (yield { ask: 'findPair', first, second }) as boolean
}

/** Reads to the end of the file; gives its last `bytes` bytes (at most `maxTakeBytes`) and its whole size. */
export function* tail(bytes: number): Walk<{ last: Buffer; sizeBytes: number }> {
  return (yield { ask: 'tail', bytes: atMost(maxTakeBytes, bytes) }) as { last: Buffer; sizeBytes: number }
}
