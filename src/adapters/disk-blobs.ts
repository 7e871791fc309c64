/**
 * Blobs as files: written under `incoming/`, and moved into one of 1,024 folders under `blobs/` once they are whole
 * (disk-writer.ts).
 */
import { closeSync, constants, fstatSync } from 'node:fs'
import { access, mkdir, readdir, readFile, stat, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { randomName } from '../asset.ts'
import type { Blob, Blobs } from '../assets/blobs.ts'
import { openFile, readSome } from './descriptors.ts'
import { createDiskReader } from './disk-reader.ts'
import { linkOrCopy, removeFile, removeForGood, storageFault, syncFolder } from './disk-sync.ts'
import { createDiskWriter, type Shards } from './disk-writer.ts'
import { createHashes } from './hash-thread.ts'
import { createSharedBlockPool } from './shared-blocks.ts'

/** Enough to keep the threads that remove them busy. */
const removedAtOnce = 64

/** @param dir the folder for `incoming/` and `blobs/`, both made here */
export async function createDiskBlobs(dir: string): Promise<Blobs> {
  await mkdir(join(dir, 'incoming'), { recursive: true, mode: 0o700 })
  await mkdir(join(dir, 'blobs'), { recursive: true, mode: 0o700 })
  const [from, to] = await Promise.all([stat(join(dir, 'incoming')), stat(join(dir, 'blobs'))])
  if (from.dev !== to.dev) {
    throw new Error(
      'blobs/ is on another disk than incoming/, and a file cannot be moved at once between two: put both on one, or set ASSETD_DATA_DIR to a folder on that disk',
    )
  }
  await syncFolder(dir)
  return openDiskBlobs(dir)
}

/** @param dir where they were made before, or nothing is; nothing is made by this alone */
export function openDiskBlobs(dir: string): Blobs {
  const incoming = join(dir, 'incoming')
  const identityFile = join(dir, 'store-id')
  const nameOfShard = (key: string): string => key.slice(0, 2)
  const shardOf = (key: string): string => join(dir, 'blobs', nameOfShard(key))
  const shards = createShards(join(dir, 'blobs'))
  const blocks = createSharedBlockPool()
  const newHash = createHashes(blocks.memory)
  const directWrites = { areRefused: constants.O_DIRECT === undefined }

  return {
    newKey: createKeys(),
    create(key, hashed) {
      const shard = shardOf(key)
      const pathOf = (other: string): string => join(shardOf(other), other)
      return createDiskWriter(join(incoming, key), shard, join(shard, key), {
        shards,
        blocks,
        directWrites,
        hash: hashed === undefined ? null : newHash(),
        pathOf,
      })
    },
    async open(key) {
      try {
        const file = await openFile(join(shardOf(key), key), 'r')
        try {
          return openBlob(file)
        } catch (error) {
          closeSync(file)
          throw error
        }
      } catch (error) {
        if (isMissing(error)) return null
        throw storageFault(error)
      }
    },
    async remove(key) {
      await removeFile(join(incoming, key))
      await removeForGood(join(shardOf(key), key))
    },
    async *list() {
      yield await namesIn(incoming)
      for (const shard of await namesIn(join(dir, 'blobs'))) yield await namesIn(join(dir, 'blobs', shard))
    },
    async stat(key) {
      for (const path of [join(incoming, key), join(shardOf(key), key)]) {
        try {
          const { size, mtimeMs } = await stat(path)
          return { sizeBytes: size, modifiedAtMs: mtimeMs }
        } catch (error) {
          if (!isMissing(error)) throw storageFault(error)
        }
      }
      return null
    },
    async removeUnfinished() {
      const names = await readdir(incoming)
      for (let at = 0; at < names.length; at += removedAtOnce) {
        const some = names.slice(at, at + removedAtOnce)
        await Promise.allSettled(some.map((name) => removeFile(join(incoming, name))))
      }
    },
    async assertUsable() {
      try {
        await access(incoming, constants.W_OK | constants.X_OK)
        await access(join(dir, 'blobs'), constants.W_OK | constants.X_OK)
      } catch (error) {
        throw storageFault(error)
      }
    },
    async identity() {
      return (await readIfThere(identityFile))?.trim() ?? null
    },
    async identify(id) {
      const draft = join(incoming, randomName()) // swept like any other, should we die here
      try {
        await writeFile(draft, `${id}\n`, { mode: 0o600, flag: 'wx', flush: true })
        await linkOrCopy(draft, identityFile).catch((error) => {
          if (error.code !== 'EEXIST') throw error
        })
        await syncFolder(dir)
      } catch (error) {
        throw storageFault(error)
      } finally {
        await removeFile(draft)
      }
    },
    pathOf: (key) => `${nameOfShard(key)}/${key}`,
    async freeBytes() {
      try {
        const { bavail, bsize } = await statfs(incoming)
        return bavail * bsize // what is free to us: some file systems keep a part for root
      } catch (error) {
        throw storageFault(error)
      }
    },
  }
}

/** So many keys one after the other begin alike: uploads that end together then share one sync of their folder. */
const keysInARow = 64

function createKeys(): () => string {
  let shard = ''
  let left = 0
  return () => {
    const name = randomName()
    if (left === 0) {
      shard = name.slice(0, 2)
      left = keysInARow
    }
    left--
    return shard + name.slice(2)
  }
}

/** The folders that blobs are moved into: made once each, and durable before a blob in them counts. */
function createShards(parent: string): Shards {
  const made = new Map<string, Promise<void>>()
  return {
    ensure(shard) {
      let making = made.get(shard)
      if (making === undefined) {
        making = makeFolder(shard).then(() => syncFolder(parent))
        making.catch(() => made.delete(shard))
        made.set(shard, making)
      }
      return making
    },
    sync: together(syncFolder),
    forget: (shard) => void made.delete(shard),
  }
}

/**
 * One sync for all who wait for the same folder. Only one that begins after a name was made is sure to hold it: so who
 * comes while one runs waits for the next.
 */
function together(sync: (folder: string) => Promise<void>): (folder: string) => Promise<void> {
  const running = new Map<string, Promise<void>>()
  const next = new Map<string, Promise<void>>()
  const begin = (folder: string): Promise<void> => {
    next.delete(folder)
    const one = sync(folder).finally(() => running.delete(folder))
    running.set(folder, one)
    return one
  }
  return (folder) => {
    const before = running.get(folder)
    if (before === undefined) return begin(folder)
    const waiting = next.get(folder) ?? before.catch(() => {}).then(() => begin(folder))
    next.set(folder, waiting)
    return waiting
  }
}

/** Its parent is not made: somebody has removed it, and its own entry would not be durable. */
async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

async function readIfThere(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    if (isMissing(error)) return null
    throw storageFault(error)
  }
}

/** Nothing where there is no such folder. */
async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if (isMissing(error) || (error as NodeJS.ErrnoException).code === 'ENOTDIR') return []
    throw storageFault(error)
  }
}

/** What is known of an open file is in memory, and so is what closes one that was only read: neither needs a thread. */
function openBlob(file: number): Blob {
  let reader: Readable | null = null
  let isOpen = true
  // A descriptor that is closed twice, or while it is read from, may be another file's by then.
  const close = (): void => {
    if (isOpen) closeSync(file)
    isOpen = false
  }
  return {
    sizeBytes: fstatSync(file).size,
    stream(start, end, passing) {
      reader = createDiskReader(file, { start, end, passing: passing !== undefined, close })
      return reader
    },
    async read(start, end) {
      const bytes = Buffer.allocUnsafeSlow(end - start)
      try {
        for (let at = 0; at < bytes.length; ) {
          const bytesRead = await readSome(file, bytes.subarray(at), bytes.length - at, start + at)
          if (bytesRead === 0) throw new Error('the file ends too early')
          at += bytesRead
        }
      } catch (error) {
        throw storageFault(error)
      }
      return bytes
    },
    async close() {
      if (reader === null) close()
      else reader.destroy()
    },
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT'
}
