/**
 * Writes one blob: gathered in blocks while the body arrives, then fsynced, renamed, and its folder fsynced. Only
 * then does the file count.
 */
import { closeSync } from 'node:fs'
import { rename } from 'node:fs/promises'
import type { BlobWriter } from '../assets/blobs.ts'
import type { Fault } from '../errors.ts'
import type { BlockPool } from './blocks.ts'
import { datasyncFile, openNew, syncFile, writeSlices } from './descriptors.ts'
import { linkOrCopy, removeFile, removeForGood, storageFault } from './disk-sync.ts'

export interface Shards {
  /** Resolves once the folder is there, and durable. */
  ensure(shard: string): Promise<void>
  /** Makes the names that are in the folder now durable. */
  sync(shard: string): Promise<void>
  /** It may be gone: the next blob makes sure again. */
  forget(shard: string): void
}

/**
 * After so many bytes what is written is brought to the disk, while more arrives: the last sync, for which the client
 * waits, then has little left to do, and uploads that run at once do not all wait for the disk at the same time.
 */
const syncEveryBytes = 4 * 1024 * 1024

export type DiskWriterOptions = { shards: Shards; blocks: BlockPool; pathOf(key: string): string }

export function createDiskWriter(
  path: string,
  shard: string,
  finalPath: string,
  { shards, blocks, pathOf }: DiskWriterOptions,
): BlobWriter {
  let file: number | null = null
  let block: Buffer | null = null
  let filledBytes = 0
  let full: Buffer[] = []
  let position = 0
  /** The write that runs now. One at a time: while it runs, the next slices gather. */
  let running: Promise<void> | null = null
  let waiting: Promise<void> | null = null
  let failure: Fault | null = null
  /** Brings what was written to the disk while more arrives. Never rejects; a failure shows in the next call. */
  let syncing: Promise<void> | null = null
  let unsyncedBytes = 0
  /** Where there may be something to remove. */
  let places: string[] = []

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
      if (file === null) {
        places = [path]
        file = await openNew(path)
      }
      const writtenBytes = await writeAll(file, slices, position)
      position += writtenBytes
      unsyncedBytes += writtenBytes
    } catch (error) {
      failure = storageFault(error)
    } finally {
      blocks.give(slices)
    }
  }

  const syncSome = (): void => {
    if (file === null || failure !== null || syncing !== null || unsyncedBytes < syncEveryBytes) return
    unsyncedBytes = 0
    syncing = datasyncFile(file)
      .catch((error) => {
        failure ??= storageFault(error)
      })
      .finally(() => {
        syncing = null
      })
  }

  const startFlush = (): void => {
    if (failure !== null) return
    running = flush().finally(() => {
      running = null
      syncSome()
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
      await syncing
      if (failure !== null || file === null) throw failure ?? storageFault(new Error('nothing was written'))
      const written = file
      file = null
      try {
        await syncAndClose(written)
        await shards.ensure(shard)
        places = [path, finalPath]
        await rename(path, finalPath)
        places = [finalPath]
        await shards.sync(shard)
      } catch (error) {
        shards.forget(shard)
        throw storageFault(error)
      }
    },
    async storeCopy(key) {
      try {
        await shards.ensure(shard)
        places = [finalPath]
        // A blob is never written to again, so two names of one file are two blobs.
        await linkOrCopy(pathOf(key), finalPath)
        await shards.sync(shard)
      } catch (error) {
        shards.forget(shard)
        throw storageFault(error)
      }
    },
    async discard() {
      failure ??= storageFault(new Error('discarded'))
      await waiting
      await settle()
      await syncing
      endBlock()
      blocks.give(full)
      full = []
      if (file !== null) closeSync(file)
      file = null
      // What is in incoming is no asset's, whatever comes back: a start removes all of it.
      for (const place of places) await (place === path ? removeFile : removeForGood)(place)
    },
  }
}

/**
 * After a failed fsync the kernel may have dropped the pages: the file is given up, never synced again. A file that is
 * synced closes at once, so that needs no thread.
 */
async function syncAndClose(file: number): Promise<void> {
  try {
    await syncFile(file)
  } finally {
    closeSync(file)
  }
}

/** @returns the number of bytes written, which is all of them: a short write goes on where it stopped */
async function writeAll(file: number, slices: Buffer[], position: number): Promise<number> {
  const total = slices.reduce((sum, slice) => sum + slice.length, 0)
  let written = 0
  let rest = slices
  while (written < total) {
    const writtenNow = await writeSlices(file, rest, position + written)
    if (writtenNow === 0) throw new Error('the disk took no bytes')
    written += writtenNow
    if (written < total) rest = dropBytes(rest, writtenNow)
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
