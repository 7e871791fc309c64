/**
 * Removes the bytes that no row names. There should be none: it is for what the worst leaves behind, such as a
 * removal that failed.
 *
 * A row is written before the first byte of its blob and goes after the last. So a blob that was seen first, and has
 * no row when the rows are read after that, belongs to nobody, however young it is; and one that a running upload
 * owns is never touched, however old. The age is a courtesy beside that.
 */
import { isBlobKey } from '../asset.ts'
import { findOwnedBlobs } from '../records/assets.ts'
import type { Database } from '../records/database.ts'
import type { Blobs } from './blobs.ts'

export type GcOptions = {
  /** Whole unix milliseconds: what was changed after that stays. */
  notAfterMs: number
  /** Counts, and removes nothing. */
  dryRun?: boolean
  onProgress?: (seen: number) => void
}

export type GcOutcome = { seen: number; removed: number; removedBytes: number }

/** @throws {Fault} `service_unavailable`, where it is a removal that failed once all others are done */
export async function removeUnowned(
  database: Database,
  blobs: Blobs,
  { notAfterMs, dryRun = false, onProgress = () => {} }: GcOptions,
): Promise<GcOutcome> {
  const outcome = { seen: 0, removed: 0, removedBytes: 0 }
  let failure: unknown = null
  for await (const key of unownedBlobs(database, blobs, (seen) => {
    outcome.seen = seen
    onProgress(seen)
  })) {
    const found = isBlobKey(key) ? await blobs.stat(key) : null
    if (found === null || found.modifiedAtMs > notAfterMs) continue
    try {
      if (!dryRun) await blobs.remove(key)
    } catch (error) {
      failure ??= error
      continue
    }
    outcome.removed++
    outcome.removedBytes += found.sizeBytes
  }
  if (failure !== null) throw failure
  return outcome
}

/** Every name among the blobs that is no row's, ours or not. */
export async function* unownedBlobs(
  database: Database,
  blobs: Blobs,
  onProgress: (seen: number) => void,
): AsyncGenerator<string> {
  let seen = 0
  for await (const keys of blobs.list()) {
    const owned = await findOwnedBlobs(database, keys) // only now: see above
    seen += keys.length
    onProgress(seen)
    for (const key of keys) if (!owned.has(key)) yield key
  }
}
