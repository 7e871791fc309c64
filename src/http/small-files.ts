/**
 * The small files that were read last, in memory: a picture on a page is asked for many times in a row, and three
 * trips to the threads that read the disk cost more than all the rest of its answer (docs/performance.md).
 */

/** What is larger is read from the disk piece by piece. */
export const smallFileBytes = 256 * 1024

const keptBytes = 16 * 1024 * 1024

/** What each costs beside its bytes: its place, its timer, its memory's own book-keeping. */
const besideBytes = 1024

/** However often it is asked for: what is deleted, or is no longer what it was on the disk, stays in memory no longer. */
const keptMs = 60_000

export interface SmallFiles {
  /** @param key of the blob, which no other bytes ever have */
  get(key: string): Buffer | undefined
  /** From now on nobody may change these bytes. */
  keep(key: string, bytes: Buffer): void
}

export function createSmallFiles(): SmallFiles {
  /** The oldest first. */
  const files = new Map<string, { bytes: Buffer; ending: NodeJS.Timeout }>()
  let sizeBytes = 0

  const drop = (key: string): void => {
    const file = files.get(key)
    if (file === undefined) return
    clearTimeout(file.ending)
    files.delete(key)
    sizeBytes -= file.bytes.length + besideBytes
  }

  return {
    get: (key) => files.get(key)?.bytes,
    keep(key, bytes) {
      drop(key)
      files.set(key, { bytes, ending: setTimeout(drop, keptMs, key).unref() })
      sizeBytes += bytes.length + besideBytes
      for (const oldest of files.keys()) {
        if (sizeBytes <= keptBytes) break
        drop(oldest)
      }
    },
  }
}
