/** WAV in its three forms: RIFF, and RF64 or BW64 for more than 4 GiB (EBU Tech 3306, ITU-R BS.2088). */
import { corrupt, shownCode } from './refusal.ts'
import { skip, take, type Walk } from './walk.ts'

/** A broadcast file has a dozen chunks. */
const maxChunks = 10_000

/** Some writers count the RIFF size with its own header, or without a pad byte. */
const toleratedBytes = 8
const headerBytes = 12
const longSizesBytes = 24
const shortestFormat = 14 // WAVEFORMAT, the oldest

/** What the header says of the sizes; null where a writer that cannot seek back left them open. */
type Sizes = { riff: number | null; data: number | null }
type Chunk = { code: Buffer; id: string; size: number; at: number }

export function* wav(): Walk {
  const head = yield* take(headerBytes)
  if (head.toString('latin1', 0, 4) === 'RIFF') {
    yield* chunks(headerBytes, { riff: unlessOpen(head.readUInt32LE(4)), data: null })
  } else {
    const first = yield* chunkHead(headerBytes)
    yield* chunks(endOf(first), yield* longSizes(first))
  }
  return { type: 'wav', width: null, height: null }
}

function unlessOpen(size: number): number | null {
  return size === 0 || size === 0xffff_ffff ? null : size
}

function unlessOpenLong(size: bigint): number | null {
  return size === 0n || size > Number.MAX_SAFE_INTEGER ? null : Number(size)
}

/** The first chunk of the long forms holds the sizes that 32 bits cannot (EBU Tech 3306, section 3). */
function* longSizes(chunk: Chunk): Walk<Sizes> {
  if (chunk.id !== 'ds64' || chunk.size < longSizesBytes) {
    throw corrupt(
      'wav',
      `as a file of the RF64 form it must begin with a chunk "ds64" of ${longSizesBytes} bytes`,
    )
  }
  const sizes = yield* take(longSizesBytes)
  if (sizes.length < longSizesBytes) throw cut(chunk)
  yield* passOver(chunk, endOf(chunk) - chunk.at - 8 - longSizesBytes)
  return { riff: unlessOpenLong(sizes.readBigUInt64LE(0)), data: unlessOpenLong(sizes.readBigUInt64LE(8)) }
}

function* chunks(start: number, sizes: Sizes): Walk<void> {
  let format = false
  let at = start
  for (let count = 1; count <= maxChunks; count++) {
    const chunk = yield* chunkHead(at)
    if (chunk.id === 'data') {
      if (!format) throw corrupt('wav', 'its "data" comes before any "fmt " says what the data is')
      return yield* samples(chunk, sizes)
    }
    if (chunk.id === 'fmt ') {
      if (chunk.size < shortestFormat) throw corrupt('wav', `its "fmt " has only ${chunk.size} bytes`)
      format = true
    }
    yield* passOver(chunk, endOf(chunk) - at - 8)
    at = endOf(chunk)
  }
  throw corrupt('wav', `it exceeds our budget of WAV chunks: ${maxChunks} before its "data"`)
}

function* chunkHead(at: number): Walk<Chunk> {
  const head = yield* take(8)
  if (head.length < 8) throw corrupt('wav', `it ends at byte ${at + head.length} and has no chunk "data"`)
  const code = head.subarray(0, 4)
  return { code, id: code.toString('latin1'), size: head.readUInt32LE(4), at }
}

/** Chunks begin at even offsets: a pad byte follows an odd size. */
function endOf(chunk: Chunk): number {
  return chunk.at + 8 + chunk.size + (chunk.size % 2)
}

function* passOver(chunk: Chunk, bytes: number): Walk<void> {
  if ((yield* skip(bytes)) < bytes) throw cut(chunk)
}

/**
 * All the samples must be there, and what the header says comes after them. Where the size of the data is
 * open, they go on to the end of the file, wherever that is.
 */
function* samples(chunk: Chunk, sizes: Sizes): Walk<void> {
  const size = chunk.size === 0xffff_ffff ? sizes.data : unlessOpen(chunk.size)
  if (size === null) return
  yield* passOver({ ...chunk, size }, size)
  const after = 8 + (sizes.riff ?? 0) - (chunk.at + 8 + size)
  if (after > toleratedBytes && (yield* skip(after)) < after - toleratedBytes) {
    throw corrupt(
      'wav',
      `its header says it goes on for ${after} bytes after the sound, and it ends before that`,
    )
  }
}

function cut(chunk: Chunk): Error {
  const what = `${shownCode(chunk.code)} at byte ${chunk.at}`
  return corrupt('wav', `it ends inside the chunk ${what}, which says it has ${chunk.size} bytes`)
}
