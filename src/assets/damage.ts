/** Whether the bytes of an asset are those that were acknowledged. */
import { createHash } from 'node:crypto'
import type { PublicFile } from '../records/assets.ts'
import type { Blob, Blobs } from './blobs.ts'

export type Damage =
  | { kind: 'missing' }
  | { kind: 'wrong_size'; found: number }
  | { kind: 'wrong_bytes'; found: string }
  | { kind: 'unreadable'; found: string }

export type Recorded = Pick<PublicFile, 'blob_key' | 'size_bytes' | 'sha256'>

/**
 * Looks at the size of a blob alone.
 * @returns null where it is as it was recorded
 */
export async function damageBySize(blobs: Blobs, recorded: Recorded): Promise<Damage | null> {
  return look(blobs, recorded, async () => null)
}

/**
 * Reads a blob to its end and compares its SHA-256.
 * @param onSlice sees the bytes as they pass; may ask to wait
 * @returns null where it is as it was recorded
 */
export async function damageByHash(
  blobs: Blobs,
  recorded: Recorded,
  onSlice: (slice: Buffer) => Promise<void> | undefined = () => undefined,
): Promise<Damage | null> {
  return look(blobs, recorded, async (blob) => {
    const hash = createHash('sha256')
    for await (const slice of blob.stream(0, recorded.size_bytes - 1, 'passing')) {
      hash.update(slice)
      await onSlice(slice)
    }
    const found = hash.digest('hex')
    return found === recorded.sha256 ? null : { kind: 'wrong_bytes', found }
  })
}

async function look(
  blobs: Blobs,
  recorded: Recorded,
  further: (blob: Blob) => Promise<Damage | null>,
): Promise<Damage | null> {
  let blob: Blob | null = null
  try {
    blob = await blobs.open(recorded.blob_key)
    if (blob === null) return { kind: 'missing' }
    if (blob.sizeBytes !== recorded.size_bytes) return { kind: 'wrong_size', found: blob.sizeBytes }
    return await further(blob)
  } catch (error) {
    const { cause, message } = error as Error
    return { kind: 'unreadable', found: cause instanceof Error ? cause.message : message }
  } finally {
    await blob?.close().catch(() => {}) // its stream may have closed it
  }
}
