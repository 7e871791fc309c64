/**
 * Blobs as files: written under `incoming/`, fsynced, renamed into one of 1,024 folders under `blobs/`, and
 * that folder fsynced. Only then does the file count.
 */
import { createReadStream } from 'node:fs'
import { access, constants, type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Blob, Blobs, BlobWriter } from '../assets/blobs.ts'
import { Fault } from '../errors.ts'

/** Slices are copied together into blocks of this size: fewer writes, while the body is still arriving. */
const blockBytes = 256 * 1024
/** Unused blocks above this many, 8 MiB of them, go back to the system. */
const keptBlocks = 32

/** @param dir the folder for `incoming/` and `blobs/`, both made here */
export async function createDiskBlobs(dir: string): Promise<Blobs> {
  const incoming = join(dir, 'incoming')
  const shardOf = (key: string): string => join(dir, 'blobs', key.slice(0, 2))
  await prepareFolders(dir, incoming)
  const madeShards = new Map<string, Promise<void>>()
  const blocks = createBlockPool()

  const ensureShard = (shard: string): Promise<void> => {
    let made = madeShards.get(shard)
    if (made === undefined) {
      made = mkdir(shard, { recursive: true, mode: 0o700 }).then(() => syncFolder(join(dir, 'blobs')))
      made.catch(() => madeShards.delete(shard))
      madeShards.set(shard, made)
    }
    return made
  }

  return {
    create(key) {
      const shard = shardOf(key)
      return createWriter(join(incoming, key), shard, join(shard, key), ensureShard, blocks)
    },
    async open(key) {
      try {
        const file = await open(join(shardOf(key), key), 'r')
        return await openBlob(file).catch(async (error) => {
          await file.close() // a forgotten handle ends the process, once it is collected
          throw error
        })
      } catch (error) {
        if (isMissing(error)) return null
        throw storageFault(error)
      }
    },
    async remove(key) {
      await rm(join(incoming, key), { force: true })
      await rm(join(shardOf(key), key), { force: true })
    },
    async assertUsable() {
      try {
        await access(incoming, constants.W_OK | constants.X_OK)
        await access(join(dir, 'blobs'), constants.W_OK | constants.X_OK)
      } catch (error) {
        throw storageFault(error)
      }
    },
  }
}

async function prepareFolders(dir: string, incoming: string): Promise<void> {
  await mkdir(incoming, { recursive: true, mode: 0o700 })
  await mkdir(join(dir, 'blobs'), { recursive: true, mode: 0o700 })
  await syncFolder(dir)
}

type BlockPool = { take(): Buffer; give(used: Buffer[]): void }

/** Blocks are used again, by whichever upload comes next: nothing of this is left to the garbage collector. */
function createBlockPool(): BlockPool {
  const free: Buffer[] = []
  return {
    take: () => free.pop() ?? Buffer.allocUnsafeSlow(blockBytes),
    give(used) {
      for (const view of used) {
        if (free.length < keptBlocks) free.push(Buffer.from(view.buffer as ArrayBuffer))
        else (view.buffer as ArrayBuffer).transfer(0)
      }
    },
  }
}

function createWriter(
  path: string,
  shard: string,
  finalPath: string,
  ensureShard: (shard: string) => Promise<void>,
  blocks: BlockPool,
): BlobWriter {
  let file: FileHandle | null = null
  let block: Buffer | null = null
  let filledBytes = 0
  let full: Buffer[] = []
  let position = 0
  /** The write that runs now. One at a time: while it runs, the next slices gather. */
  let running: Promise<void> | null = null
  let waiting: Promise<void> | null = null
  let failure: Fault | null = null

  const gather = (slice: Buffer): void => {
    for (let at = 0; at < slice.length; ) {
      block ??= blocks.take()
      const copied = slice.copy(block, filledBytes, at)
      at += copied
      filledBytes += copied
      if (filledBytes === block.length) endBlock()
    }
  }

  const endBlock = (): void => {
    if (block !== null) full.push(block.subarray(0, filledBytes))
    block = null
    filledBytes = 0
  }

  const flush = async (): Promise<void> => {
    const slices = full
    full = []
    try {
      file ??= await open(path, 'wx', 0o600)
      position += await writeAll(file, slices, position)
    } catch (error) {
      failure = storageFault(error)
    } finally {
      blocks.give(slices)
    }
  }

  const startFlush = (): void => {
    if (failure !== null) return
    running = flush().finally(() => {
      running = null
    })
  }

  // Never rejects: a caller that fails for another reason may drop this promise. The failure shows in the next call.
  const settle = async (): Promise<void> => {
    while (running !== null) await running
  }

  return {
    write(slice) {
      if (failure !== null) throw failure
      gather(slice)
      if (full.length === 0) return undefined
      if (running === null) {
        startFlush()
        return undefined
      }
      waiting ??= settle().then(() => {
        waiting = null
        startFlush()
      })
      return waiting
    },
    async store() {
      await waiting
      await settle()
      endBlock()
      if (failure === null) await flush()
      if (failure !== null || file === null) throw failure ?? storageFault(new Error('nothing was written'))
      const written = file
      file = null
      try {
        await syncAndClose(written)
        await ensureShard(shard)
        await rename(path, finalPath)
        await syncFolder(shard)
      } catch (error) {
        throw storageFault(error)
      }
    },
    async discard() {
      failure ??= storageFault(new Error('discarded'))
      await waiting
      await settle()
      endBlock()
      blocks.give(full)
      full = []
      await file?.close().catch(() => {})
      file = null
      await rm(path, { force: true }).catch(() => {})
      await rm(finalPath, { force: true }).catch(() => {})
    },
  }
}

/** After a failed fsync the kernel may have dropped the pages: the file is given up, never synced again. */
async function syncAndClose(file: FileHandle): Promise<void> {
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}

/** @returns the number of bytes written, which is all of them: a short write goes on where it stopped */
async function writeAll(file: FileHandle, slices: Buffer[], position: number): Promise<number> {
  const total = slices.reduce((sum, slice) => sum + slice.length, 0)
  let written = 0
  let rest = slices
  while (written < total) {
    const { bytesWritten } = await file.writev(rest, position + written)
    if (bytesWritten === 0) throw new Error('the disk took no bytes')
    written += bytesWritten
    if (written < total) rest = dropBytes(rest, bytesWritten)
  }
  return total
}

function dropBytes(slices: Buffer[], bytes: number): Buffer[] {
  let left = bytes
  const rest: Buffer[] = []
  for (const slice of slices) {
    if (left < slice.length) rest.push(slice.subarray(left))
    left = Math.max(0, left - slice.length)
  }
  return rest
}

async function openBlob(file: FileHandle): Promise<Blob> {
  const { size } = await file.stat()
  return {
    sizeBytes: size,
    stream(start, end) {
      return createReadStream('', { fd: file, start, end, highWaterMark: 128 * 1024 })
    },
    close: () => file.close(),
  }
}

/** Makes the names in a folder durable: without it a power cut can lose a file whose bytes are safe. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT'
}

function storageFault(cause: unknown): Fault {
  if (cause instanceof Fault) return cause
  return new Fault(
    'service_unavailable',
    'The storage cannot be used at the moment. Nothing was stored. Retry shortly.',
    { retryAfterSeconds: 10, cause },
  )
}
