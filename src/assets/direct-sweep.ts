/** Takes back what direct uploads leave behind: holders that died, and uploads that were never completed. */
import { randomName } from '../asset.ts'
import { earliestMs } from '../clock.ts'
import { deleteOldBatches } from '../records/batches.ts'
import type { Step } from '../records/database.ts'
import {
  deleteLongSettled,
  endWithoutBytes,
  findDirectUpload,
  findHeldBy,
  type Holder,
  inheritAbandoned,
  inheritExpired,
  inheritLapsed,
  inheritOpen,
} from '../records/direct-uploads.ts'
import { busy, type DirectDoor, endHold } from './direct-uploads.ts'
import { assetNotFound, deleteAsset } from './library.ts'
import { removeBytesOf } from './removal.ts'

/** Few enough for one transaction and for a moment of memory: a client may announce very many. */
const sweptAtOnce = 500

const dayMs = 24 * 60 * 60 * 1000
/** A batch can be read this long after it was made. */
const keepBatchesMs = 30 * dayMs

/** Only for who holds the lock of the data folder: then every other run of the service is over. */
export async function sweepAbandonedDirectUploads(door: DirectDoor): Promise<void> {
  await takeOver(door, (heir) => inheritAbandoned(door.database, heir))
}

/** What a holder left alone, what has expired, and what was kept long enough. */
export async function sweepDirectUploads(door: DirectDoor): Promise<void> {
  const { database, clock } = door
  let failure: unknown = null
  for (let taken = sweptAtOnce; taken === sweptAtOnce; )
    taken = await takeOver(door, (heir) => inheritLapsed(database, heir, clock.steadyMs(), sweptAtOnce))
  for (let ended = sweptAtOnce; ended === sweptAtOnce; ) {
    const token = randomName()
    await database.write([inheritExpired(database, heirOf(door, token), earliestMs(clock), sweptAtOnce)])
    const some = await endUnfinished(
      door,
      token,
      'The bytes of this upload did not come in time, or it was not completed.',
    )
    ended = some.taken
    failure ??= some.failure
  }
  const notAfterMs = earliestMs(clock) - dayMs
  await database.write([
    deleteLongSettled(database, notAfterMs),
    ...deleteOldBatches(database, earliestMs(clock) - keepBatchesMs),
  ])
  if (failure !== null) throw failure
}

/**
 * Deletes an asset, or ends the upload that was announced to become it.
 * @throws {Fault} `asset_not_found` where the workspace has none such, `conflict` where somebody works on it just now,
 *   `service_unavailable`
 */
export async function removeAsset(door: DirectDoor, workspace: string, assetId: string): Promise<void> {
  if (!(await deleteAsset(door, workspace, assetId))) await cancel(door, workspace, assetId)
}

async function cancel(door: DirectDoor, workspace: string, assetId: string): Promise<void> {
  const token = randomName()
  const taken = await door.database.write([
    inheritOpen(door.database, workspace, assetId, heirOf(door, token)),
  ])
  if (!taken.written) {
    const upload = await findDirectUpload(door.database, assetId)
    // It may have become an asset since that was looked for.
    if (upload?.state === 'completed' && (await deleteAsset(door, workspace, assetId))) return
    const isOpen = upload?.state === 'pending_upload' || upload?.state === 'processing'
    throw isOpen && upload.workspace === workspace ? busy() : assetNotFound()
  }
  const { failure } = await endUnfinished(door, token, 'This upload was cancelled.')
  if (failure !== null) throw failure
}

function heirOf({ leases }: DirectDoor, token: string): Holder {
  return { token, serviceId: leases.serviceId, leaseExpiresAtMs: leases.untilMs() }
}

/** @returns how many there were */
async function takeOver(door: DirectDoor, inherit: (heir: Holder) => Step): Promise<number> {
  const token = randomName()
  await door.database.write([inherit(heirOf(door, token))])
  return endHold(door, token)
}

/** `taken`: how many there were; `failure`: why some could not be ended yet, null: all were. */
type Ended = { taken: number; failure: unknown }

async function endUnfinished(door: DirectDoor, token: string, message: string): Promise<Ended> {
  const failed = {
    error: JSON.stringify({ code: 'asset_not_found', message, param: null }),
    atMs: door.clock.wallMs(),
  }
  const rows = await findHeldBy(door.database, token)
  const { failure } = await removeBytesOf(
    door,
    rows,
    ({ scratch_blob_key }) => scratch_blob_key,
    (row) => endWithoutBytes(door.database, row, token, failed),
  )
  await endHold(door, token)
  return { taken: rows.length, failure }
}
