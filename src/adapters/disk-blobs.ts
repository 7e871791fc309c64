/**
 * Blobs as files: written under `incoming/`, and moved into one of 1,024 folders under `blobs/` once they are whole
 * (disk-writer.ts).
 */
import { createReadStream } from 'node:fs'
import { access, constants, type FileHandle, mkdir, open, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Blob, Blobs } from '../assets/blobs.ts'
import { storageFault, syncFolder } from './disk-sync.ts'
import { createBlockPool, createDiskWriter } from './disk-writer.ts'

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
      return createDiskWriter(join(incoming, key), shard, join(shard, key), ensureShard, blocks)
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
    async removeUnfinished() {
      for (const name of await readdir(incoming)) await rm(join(incoming, name), { force: true })
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

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT'
}
