/**
 * Reads a blob for whoever takes it piece by piece, a client at the other end of a connection or a hash. The memory of a
 * piece is used again: to take fresh memory for each costs more than to read the bytes (docs/performance.md).
 */
import { Readable } from 'node:stream'
import { readSome } from './descriptors.ts'

const pieceBytes = 256 * 1024

/**
 * Whoever stops to read keeps its pieces for as long as its connection lasts. So where there are many, each has small ones:
 * at the 10,000 connections that there may be, below 1 GiB for all of them.
 */
const smallPieceBytes = 32 * 1024
const readersWithLargePieces = 64
let readers = 0

/** One is with the reader, one waits for it, and one is being filled. */
const pieces = 3

export type DiskReaderOptions = {
  start: number
  /** Included. */
  end: number
  /** Whether the memory of a piece may be used again once the next but one is read. */
  passing: boolean
  /** Closes the file, once the stream ends or is destroyed. */
  close(): void
}

export function createDiskReader(file: number, { start, end, passing, close }: DiskReaderOptions): Readable {
  const length = readers < readersWithLargePieces ? pieceBytes : smallPieceBytes
  readers++
  const memory: Buffer[] = []
  let at = start
  let count = 0
  let reading: Promise<void> | null = null

  const next = (): Buffer => {
    const index = passing ? count++ % pieces : count++
    const piece = memory[index] ?? Buffer.allocUnsafeSlow(Math.min(length, end - start + 1))
    if (passing) memory[index] = piece
    return piece
  }

  const read = async (stream: Readable): Promise<void> => {
    const piece = next()
    try {
      const bytes = await readSome(file, piece, Math.min(piece.length, end + 1 - at), at)
      if (bytes === 0) throw new Error('the file ends too early')
      at += bytes
      reading = null
      stream.push(piece.subarray(0, bytes))
      if (at > end) stream.push(null)
    } catch (error) {
      reading = null
      stream.destroy(error as Error)
    }
  }

  return new Readable({
    highWaterMark: 1, // reads one piece ahead, and no more: else a piece would be written over too early
    read() {
      reading ??= read(this)
    },
    async destroy(error, done) {
      await reading // of a descriptor that is closed and given out again, another file would be read
      readers--
      close()
      done(error)
    },
  })
}
