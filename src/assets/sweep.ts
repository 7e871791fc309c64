/** Removes what crashes and lapsed time leave behind: abandoned reservations, their bytes, and old answers. */
import { randomName } from '../asset.ts'
import type { Clock } from '../clock.ts'
import {
  deletePending,
  findPendingOf,
  takeOverAbandoned,
  takeOverLapsed,
  takeOverOlder,
} from '../records/assets.ts'
import type { Database, Step } from '../records/database.ts'
import type { Holder } from '../records/direct-uploads.ts'
import {
  areKeysExpired,
  deleteExpiredKeys,
  freeAbandonedKeys,
  freeLapsedKeys,
} from '../records/idempotency-keys.ts'
import type { Blobs } from './blobs.ts'
import type { Leases } from './leases.ts'
import { type Removal, removeBytesOf, removedAtOnce } from './removal.ts'

/** A fraction of a second's work for the database. */
const forgottenAtOnce = 5_000

/**
 * Takes back what other runs of the service reserved and never committed. Only for who holds the lock of the data
 * folder: then every other run is over, or may no longer commit. What cannot be removed stops no start: its row stays,
 * lapsed, for the next sweep.
 * @returns how many reservations were taken back
 */
export async function sweepAbandoned(database: Database, blobs: Blobs, leases: Heirs): Promise<number> {
  const { removed } = await takeBack(database, blobs, leases, (heir) => takeOverAbandoned(database, heir))
  await blobs.removeUnfinished()
  await database.write([freeAbandonedKeys(database, leases.serviceId)])
  return removed
}

/**
 * Takes back what was reserved and then left alone until its lease ended: a release that failed, a process that died.
 * Renew the leases of what runs here before, else a pause of this process looks like its end.
 * @returns how many reservations were taken back
 */
export async function sweepLapsed(
  database: Database,
  blobs: Blobs,
  leases: Heirs,
  clock: Clock,
): Promise<number> {
  const whole: Removal = { removed: 0, failure: null }
  // Some at a time: what is taken over has to be gone before the heir's own lease ends.
  for (let taken = removedAtOnce; taken === removedAtOnce; ) {
    const some = await takeBack(database, blobs, leases, (heir) =>
      takeOverLapsed(database, heir, clock.steadyMs(), removedAtOnce),
    )
    taken = some.taken
    whole.removed += some.removed
    whole.failure ??= some.failure
  }
  await database.write([freeLapsedKeys(database, clock.steadyMs())])
  return sweptOrThrow(whole)
}

/**
 * Takes back what was reserved until then, whoever did. Only for who holds the lock of the data folder.
 * @returns how many reservations were taken back
 */
export async function sweepOlder(
  database: Database,
  blobs: Blobs,
  leases: Heirs,
  notAfterMs: number,
): Promise<number> {
  return sweptOrThrow(
    await takeBack(database, blobs, leases, (heir) => takeOverOlder(database, heir, notAfterMs)),
  )
}

/** Of whom what is taken over is from then on, and for how long. */
export type Heirs = Pick<Leases, 'serviceId' | 'untilMs'>

function sweptOrThrow({ removed, failure }: Removal): number {
  if (failure !== null) throw failure
  return removed
}

/**
 * First the rows change hands, so that whoever made them can no longer commit, even if it wakes up in the middle of
 * this; then the bytes go, and then the rows.
 */
async function takeBack(
  database: Database,
  blobs: Blobs,
  leases: Heirs,
  takeOver: (heir: Holder) => Step,
): Promise<Removal & { taken: number }> {
  const heir = { token: randomName(), serviceId: leases.serviceId, leaseExpiresAtMs: leases.untilMs() }
  await database.write([takeOver(heir)])
  const taken = await findPendingOf(database, heir.token)
  const removal = await removeBytesOf(
    { database, blobs },
    taken,
    ({ blob_key }) => blob_key,
    ({ asset_id }) => deletePending(database, asset_id, heir.token),
  )
  return { ...removal, taken: taken.length }
}

/** Forgets answers that are no longer to be replayed, however many came together while nobody swept. */
export async function sweepExpiredKeys(database: Database, clock: Clock): Promise<void> {
  while (await areKeysExpired(database, clock))
    await database.write([deleteExpiredKeys(database, clock, forgottenAtOnce)])
}
