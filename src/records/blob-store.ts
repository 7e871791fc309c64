/** By which records and the store of their blobs know each other: one row, made once and kept. */
import type { Selectable } from 'kysely'
import { type Database, type Step, step } from './database.ts'
import { sql } from './kysely.ts'
import type { BlobStoreTable, CopyState } from './schema.ts'

export type BlobStore = Omit<Selectable<BlobStoreTable>, 'id'>

/** Changes nothing where there is one already, so that copies that start at once agree on the first. */
export function insertRecordsId(database: Database, recordsId: string): Step {
  return step(
    database.build
      .insertInto('blob_store')
      .values({ id: 1, records_id: recordsId, store_id: null, copied_from: null, copy_state: null })
      .onConflict((conflict) => conflict.column('id').doNothing()),
  )
}

/** From now on no other store is taken for ours. Changes nothing where there is one already. */
export function setStoreId(database: Database, storeId: string): Step {
  return step(
    database.build.updateTable('blob_store').set({ store_id: storeId }).where('store_id', 'is', null),
  )
}

export async function findBlobStore(database: Database): Promise<BlobStore | null> {
  const rows = await database.read(
    database.build
      .selectFrom('blob_store')
      .select(['records_id', 'store_id', 'copied_from', 'copy_state'])
      .where('id', '=', 1),
  )
  return rows[0] ?? null
}

/** Must change a row: nothing else was copied into these records. One that a service has gone on with stays as it is. */
export function beginCopy(database: Database, from: string): Step {
  const query = database.build
    .updateTable('blob_store')
    .set((row) => ({
      copied_from: from,
      copy_state: row
        .case()
        .when('copy_state', '=', 'served')
        .then(sql.lit<CopyState>('served'))
        .else(sql.lit<CopyState>('unfinished'))
        .end(),
    }))
    .where((row) => row.or([row('copied_from', 'is', null), row('copied_from', '=', from)]))
  return step(query, { mustChange: true })
}

export function endCopy(database: Database): Step {
  return moveCopy(database, 'unfinished', 'whole')
}

/** A service starts on it. */
export function serveCopy(database: Database): Step {
  return moveCopy(database, 'whole', 'served')
}

function moveCopy(database: Database, from: CopyState, to: CopyState): Step {
  return step(database.build.updateTable('blob_store').set({ copy_state: to }).where('copy_state', '=', from))
}
