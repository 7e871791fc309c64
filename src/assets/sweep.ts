/** Removes what crashes and lapsed time leave behind: abandoned reservations, their bytes, and old answers. */
import { deletePending, findAbandoned } from '../records/assets.ts'
import type { Database } from '../records/database.ts'
import { deleteExpiredKeys, freeAbandonedKeys } from '../records/idempotency-keys.ts'
import type { Blobs } from './blobs.ts'

/** Few enough for one transaction and for the threads that remove files, many enough for a quick start. */
const sweptAtOnce = 256

/**
 * Takes back what earlier runs of the service reserved and never committed. Only for the start of a service that
 * holds the lock of its data folder: then every other run is over.
 * @returns how many reservations were taken back
 */
export async function sweepAbandoned(database: Database, blobs: Blobs, serviceId: string): Promise<number> {
  const abandoned = await findAbandoned(database, serviceId)
  for (let at = 0; at < abandoned.length; at += sweptAtOnce) {
    const some = abandoned.slice(at, at + sweptAtOnce)
    // The bytes first: were the rows to go first, a crash in between would leave bytes that nothing names.
    await Promise.all(some.map(({ blob_key }) => blobs.remove(blob_key)))
    await database.write(some.map(({ asset_id, token }) => deletePending(database, asset_id, token)))
  }
  // A file whose removal failed has no row any more.
  await blobs.removeUnfinished()
  await database.write([freeAbandonedKeys(database, serviceId)])
  return abandoned.length
}

/** Forgets answers that are no longer to be replayed. */
export async function sweepExpiredKeys(database: Database): Promise<void> {
  await database.write([deleteExpiredKeys(database, Date.now())])
}
