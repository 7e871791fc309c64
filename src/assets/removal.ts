/** Bytes go before the rows that name them: were it the other way, a crash in between would leave bytes without a name. */
import type { Database, Step } from '../records/database.ts'
import type { Blobs } from './blobs.ts'

/** Few enough for one transaction and for the threads that remove files, many enough for a quick start. */
export const removedAtOnce = 256

export type Removal = {
  removed: number
  /** Why some are still there; null: none is. */
  failure: unknown
}

/**
 * Removes the bytes that rows name, and then changes those rows, each for itself: bytes that cannot be removed hold up
 * no others, and their row stays as it is.
 * @param keyOf null: the row has no bytes
 */
export async function removeBytesOf<Row>(
  { database, blobs }: { database: Database; blobs: Blobs },
  rows: readonly Row[],
  keyOf: (row: Row) => string | null,
  thenRow: (row: Row) => Step,
): Promise<Removal> {
  const removal: Removal = { removed: 0, failure: null }
  for (let at = 0; at < rows.length; at += removedAtOnce) {
    const some = rows.slice(at, at + removedAtOnce)
    const removed = await Promise.allSettled(
      some.map(async (row) => {
        const key = keyOf(row)
        if (key !== null) await blobs.remove(key)
      }),
    )
    const gone = some.filter((_, index) => removed[index]?.status === 'fulfilled')
    await database.write(gone.map(thenRow))
    removal.removed += gone.length
    removal.failure ??= removed.find((one) => one.status === 'rejected')?.reason ?? null
  }
  return removal
}
