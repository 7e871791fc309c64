/**
 * Writes one blob: gathered in blocks while the body arrives, then fsynced, renamed, and its folder fsynced. Only
 * then does the file count.
 */
import { rename } from 'node:fs/promises'
import type { BlobWriter } from '../assets/blobs.ts'
import type { Fault } from '../errors.ts'
import type { BlockPool } from './blocks.ts'
import { createDiskFile, type DirectWrites, type DiskFile } from './disk-file.ts'
import { linkOrCopy, removeFile, removeForGood, storageFault } from './disk-sync.ts'
import type { BlockHash } from './hash-thread.ts'

export interface Shards {
  /** Resolves once the folder is there, and durable. */
  ensure(shard: string): Promise<void>
  /** Makes the names that are in the folder now durable. */
  sync(shard: string): Promise<void>
  /** It may be gone: the next blob makes sure again. */
  forget(shard: string): void
}

export type DiskWriterOptions = {
  shards: Shards
  blocks: BlockPool
  directWrites: DirectWrites
  /** Null where nobody wants it. */
  hash: BlockHash | null
  pathOf(key: string): string
}

export function createDiskWriter(
  path: string,
  shard: string,
  finalPath: string,
  { shards, blocks, directWrites, hash, pathOf }: DiskWriterOptions,
): BlobWriter {
  let file: DiskFile | null = null
  let block: Buffer | null = null
  let filledBytes = 0
  let full: Buffer[] = []
  /** The write that runs now. One at a time: while it runs, the next slices gather. */
  let running: Promise<void> | null = null
  let waiting: Promise<void> | null = null
  let failure: Fault | null = null
  let digest: Promise<string> | null = null
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
    // Both read the blocks, so both have to end before anything else is written into them.
    const [appended, hashed] = await Promise.allSettled([append(slices), hashAll(slices)])
    if (appended.status === 'rejected') failure = storageFault(appended.reason)
    else if (hashed.status === 'rejected') failure = storageFault(hashed.reason)
    blocks.give(slices)
  }

  const hashAll = async (slices: readonly Buffer[]): Promise<unknown> => hash?.update(slices)

  const append = async (slices: readonly Buffer[]): Promise<void> => {
    if (file === null) {
      places = [path]
      file = await createDiskFile(path, directWrites)
    }
    await file.append(slices)
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
      digest = hash?.digest() ?? null
      digest?.catch(() => {}) // nobody may ask for it
      const written = file
      file = null
      try {
        await written.syncAndClose()
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
    async sha256() {
      if (digest === null) throw new Error('no hash was asked for')
      return digest.catch((error) => {
        throw storageFault(error)
      })
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
      if (digest === null) hash?.drop()
      endBlock()
      blocks.give(full)
      full = []
      const closing = file
      file = null // a descriptor that is closed twice may be another file's by then
      await closing?.close()
      // What is in incoming is no asset's, whatever comes back: a start removes all of it.
      for (const place of places) await (place === path ? removeFile : removeForGood)(place)
    },
  }
}
