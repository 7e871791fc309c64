/** Many direct uploads as one: announced together, completed in the background, each with its own fate. */
import { randomName } from '../asset.ts'
import { Fault } from '../errors.ts'
import type { Principal } from '../principal.ts'
import {
  type Batch,
  countItemsByState,
  findBatch,
  findQueueable,
  insertBatch,
  queueItems,
} from '../records/batches.ts'
import { type DirectUpload, insertDirectUpload } from '../records/direct-uploads.ts'
import type { KeyScope } from '../records/idempotency-keys.ts'
import { type Announcement, announcedFacts, newDirectUpload } from './announcement.ts'
import type { DirectDoor, Once } from './direct-uploads.ts'

export const maxItems = 100

/**
 * Announces all of them or none.
 * @throws {Fault} `request_in_progress`, `service_unavailable`
 */
export async function createBatch(
  door: DirectDoor,
  principal: Principal,
  key: KeyScope | null,
  { title, files }: { title: string | null; files: readonly Announcement[] },
  bodySha256: string,
): Promise<Once> {
  const { database } = door
  await door.admission.assertRoom()
  const batch: Batch = {
    batch_id: `batch_${randomName()}`,
    workspace: principal.workspace,
    owner: principal.owner,
    title,
    total_items: files.length,
    created_at_ms: door.clock.wallMs(),
  }
  const items = files.map((file, index) =>
    newDirectUpload(door, principal, file, { batchId: batch.batch_id, index }),
  )
  const facts = await Promise.all(items.map((item) => announcedFacts(door, item)))
  const data = {
    batch_id: batch.batch_id,
    items: facts.map((item, index) => ({ item_index: index, ...item })),
  }
  const steps = [insertBatch(database, batch), ...items.map((item) => insertDirectUpload(database, item))]
  const answer = { status: 200, body: JSON.stringify({ data }), file_sha256: bodySha256 }
  const once = await door.claims.writeOnce(key, steps, answer)
  if (once === null) throw new Error('inserts apply always')
  return once
}

/**
 * Hands every item whose bytes are there to the background. Doing so again drives the same batch on.
 * @throws {Fault} `batch_not_found`, `request_in_progress`, `service_unavailable`
 */
export async function completeBatch(
  door: DirectDoor,
  principal: Principal,
  key: KeyScope | null,
  batchId: string,
  bodySha256: string,
): Promise<Once> {
  const { database, clock } = door
  const batch = await findBatch(database, principal.workspace, batchId)
  if (batch === null) throw batchNotFound()
  const status = batchStatus(await countItemsByState(database, batchId))
  const body = JSON.stringify({ data: { batch_id: batchId, status } })
  const answer = { status: 202, body, file_sha256: bodySha256 }
  const ready = await readyItems(door, batchId)
  const once = await door.claims.writeOnce(
    key,
    [queueItems(database, batchId, ready, clock.wallMs())],
    answer,
  )
  if (once === null) throw new Error('a step that may change nothing applies always')
  return once
}

const askedAtOnce = 10

/** Those whose bytes are there: others are not sealed, since their bytes may still come. */
async function readyItems({ database, clock, target }: DirectDoor, batchId: string): Promise<string[]> {
  const items = (await findQueueable(database, batchId, clock.wallMs())).values()
  const ready: string[] = []
  const ask = async (): Promise<void> => {
    for (const { asset_id, blob_key } of items) {
      if (blob_key !== null && (await target.hasBytes(blob_key))) ready.push(asset_id)
    }
  }
  await Promise.all(Array.from({ length: askedAtOnce }, ask))
  return ready
}

/** Failed only if no item succeeded; under way until each has come to its end. */
export function batchStatus(
  counts: Record<DirectUpload['state'], number>,
): 'processing' | 'completed' | 'failed' {
  if (counts.pending_upload + counts.processing > 0) return 'processing'
  return counts.completed > 0 ? 'completed' : 'failed'
}

export function batchNotFound(): Fault {
  return new Fault('batch_not_found', 'There is no such batch here.')
}
