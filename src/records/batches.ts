/** The rows of batches; their items are direct uploads. */
import type { Selectable } from 'kysely'
import { type Database, type Step, step } from './database.ts'
import type { DirectUpload } from './direct-uploads.ts'
import type { BatchesTable, DirectUploadState } from './schema.ts'

export type Batch = Selectable<BatchesTable>

export function insertBatch(database: Database, batch: Batch): Step {
  return step(database.build.insertInto('batches').values(batch))
}

/** Null where the workspace has no such batch. */
export async function findBatch(
  database: Database,
  workspace: string,
  batchId: string,
): Promise<Batch | null> {
  const rows = await database.read(
    database.build
      .selectFrom('batches')
      .selectAll()
      .where('batch_id', '=', batchId)
      .where('workspace', '=', workspace),
  )
  return rows[0] ?? null
}

export async function countItemsByState(
  database: Database,
  batchId: string,
): Promise<Record<DirectUploadState, number>> {
  const counts = { pending_upload: 0, processing: 0, completed: 0, failed: 0 }
  const rows = await database.read(
    database.build
      .selectFrom('direct_uploads')
      .select((row) => ['state', row.fn.countAll<number>().as('count')])
      .where('batch_id', '=', batchId)
      .groupBy('state'),
  )
  for (const { state, count } of rows) counts[state] = Number(count)
  return counts
}

/** The items in their order, from an index on. */
export async function listItems(
  database: Database,
  batchId: string,
  fromIndex: number,
  limit: number,
): Promise<DirectUpload[]> {
  return database.read(
    database.build
      .selectFrom('direct_uploads')
      .selectAll()
      .where('batch_id', '=', batchId)
      .where('item_index', '>=', fromIndex)
      .orderBy('item_index')
      .limit(limit),
  )
}

/** Items whose bytes may be there in time, and that nobody works on. */
export async function findQueueable(database: Database, batchId: string, wallMs: number) {
  return database.read(
    database.build
      .selectFrom('direct_uploads')
      .select(['asset_id', 'blob_key'])
      .where('batch_id', '=', batchId)
      .where('state', '=', 'pending_upload')
      .where('expires_at_ms', '>', wallMs)
      .where('token', 'is', null),
  )
}

/** Seals those of these items whose bytes are there in time, for whoever verifies what waits. */
export function queueItems(
  database: Database,
  batchId: string,
  assetIds: readonly string[],
  wallMs: number,
): Step {
  return step(
    database.build
      .updateTable('direct_uploads')
      .set({ state: 'processing' })
      .where('batch_id', '=', batchId)
      .where('asset_id', 'in', assetIds.length === 0 ? [''] : assetIds) // SQL has no empty list
      .where('state', '=', 'pending_upload')
      .where('blob_key', 'is not', null)
      .where('expires_at_ms', '>', wallMs)
      .where('token', 'is', null),
  )
}

/** Old batches are forgotten, with all their items; none of these is open any more. */
export function deleteOldBatches(database: Database, notAfterMs: number): Step[] {
  const old = database.build.selectFrom('batches').select('batch_id').where('created_at_ms', '<=', notAfterMs)
  return [
    step(
      database.build
        .deleteFrom('direct_uploads')
        .where('batch_id', 'in', old)
        .where('settled_at_ms', 'is not', null)
        .where('token', 'is', null),
    ),
    step(
      database.build
        .deleteFrom('batches')
        .where('created_at_ms', '<=', notAfterMs)
        .where((row) =>
          row.not(
            row.exists(
              row
                .selectFrom('direct_uploads')
                .select('asset_id')
                .whereRef('direct_uploads.batch_id', '=', 'batches.batch_id'),
            ),
          ),
        ),
    ),
  ]
}
