/**
 * The rows of direct uploads. Whoever works on one holds its token, with a lease; every write names that token, so one
 * that was away for too long changes nothing (fencing).
 */
import type { ExpressionBuilder, Selectable } from 'kysely'
import { type Database, type Step, step } from './database.ts'
import { sql } from './kysely.ts'
import type { DirectUploadsTable, Tables } from './schema.ts'

export type DirectUpload = Selectable<DirectUploadsTable>

export type NewDirectUpload = Pick<
  DirectUpload,
  | 'asset_id'
  | 'workspace'
  | 'owner'
  | 'name'
  | 'content_type'
  | 'size_bytes'
  | 'sha256'
  | 'created_at_ms'
  | 'expires_at_ms'
  | 'batch_id'
  | 'item_index'
  | 'blob_key'
>

export type Holder = { token: string; serviceId: string; leaseExpiresAtMs: number }

const untouched = {
  state: 'pending_upload',
  scratch_blob_key: null,
  token: null,
  service_id: null,
  lease_expires_at_ms: null,
  settled_at_ms: null,
  error: null,
} as const

export function insertDirectUpload(database: Database, announced: NewDirectUpload): Step {
  return step(database.build.insertInto('direct_uploads').values({ ...announced, ...untouched }))
}

export async function findDirectUpload(database: Database, assetId: string): Promise<DirectUpload | null> {
  const rows = await database.read(
    database.build.selectFrom('direct_uploads').selectAll().where('asset_id', '=', assetId),
  )
  return rows[0] ?? null
}

/** Takes the right to write its bytes; must change a row: it is open, and nobody else works on it. */
export function claimForBytes(
  database: Database,
  assetId: string,
  holder: Holder,
  scratchBlobKey: string,
): Step {
  const query = database.build
    .updateTable('direct_uploads')
    .set({ ...held(holder), scratch_blob_key: scratchBlobKey })
    .where('asset_id', '=', assetId)
    .where('state', '=', 'pending_upload')
    .where('token', 'is', null)
  return step(query, { mustChange: true })
}

/** The new bytes count from now on, and those before them are the scratch; must change a row. */
export function keepBytes(database: Database, assetId: string, token: string): Step {
  const query = database.build
    .updateTable('direct_uploads')
    .set((row) => ({ blob_key: row.ref('scratch_blob_key'), scratch_blob_key: row.ref('blob_key') }))
    .where(heldBy(assetId, token))
  return step(query, { mustChange: true })
}

/**
 * Gives a hold another token, so that a write under its first one comes to nothing, even one that is not known to have
 * failed. May be done again.
 */
export function fenceHold(database: Database, token: string, fence: string): Step {
  return step(database.build.updateTable('direct_uploads').set({ token: fence }).where('token', '=', token))
}

/** The scratch is gone, and the row is free for others. */
export function letGo(database: Database, assetId: string, token: string): Step {
  return step(
    database.build
      .updateTable('direct_uploads')
      .set({ scratch_blob_key: null, token: null, service_id: null, lease_expires_at_ms: null })
      .where(heldBy(assetId, token)),
  )
}

/**
 * Takes the right to verify the bytes that were read as `blobKey`; must change a row. From then on no others can come.
 */
export function claimForVerification(
  database: Database,
  assetId: string,
  blobKey: string,
  holder: Holder,
): Step {
  const query = database.build
    .updateTable('direct_uploads')
    .set({ ...held(holder), state: 'processing' })
    .where('asset_id', '=', assetId)
    .where('state', 'in', ['pending_upload', 'processing'])
    .where('blob_key', '=', blobKey)
    .where('token', 'is', null)
  return step(query, { mustChange: true })
}

/** It is an asset now, or never will be; its own bytes are the scratch. Must change a row. */
export function settle(
  database: Database,
  assetId: string,
  token: string,
  outcome: { state: 'completed' | 'failed'; error: string | null; atMs: number },
): Step {
  const query = database.build
    .updateTable('direct_uploads')
    .set((row) => ({
      state: outcome.state,
      error: outcome.error,
      settled_at_ms: outcome.atMs,
      scratch_blob_key: row.ref('blob_key'),
      blob_key: null,
    }))
    .where(heldBy(assetId, token))
  return step(query, { mustChange: true })
}

export function renewHold(
  database: Database,
  assetId: string,
  token: string,
  leaseExpiresAtMs: number,
): Step {
  return step(
    database.build
      .updateTable('direct_uploads')
      .set({ lease_expires_at_ms: leaseExpiresAtMs })
      .where(heldBy(assetId, token)),
  )
}

/** Takes over what other runs of the service held. */
export function inheritAbandoned(database: Database, heir: Holder): Step {
  return step(
    database.build
      .updateTable('direct_uploads')
      .set(held(heir))
      .where('token', 'is not', null)
      .where('service_id', '!=', heir.serviceId),
  )
}

/** Takes over some of what nobody has given a sign of life for until its lease ended. */
export function inheritLapsed(database: Database, heir: Holder, steadyMs: number, limit: number): Step {
  const lapsed = database.build
    .selectFrom('direct_uploads')
    .select('asset_id')
    .where('token', 'is not', null)
    .where('lease_expires_at_ms', '<=', steadyMs)
    .limit(limit)
  return step(
    database.build
      .updateTable('direct_uploads')
      .set(held(heir))
      .where('asset_id', 'in', lapsed)
      .where('token', 'is not', null)
      // Again, for the row itself: another copy of the service may have taken it since the list was made.
      .where('lease_expires_at_ms', '<=', steadyMs),
  )
}

/** Takes over some of what was never completed in its time; its bytes, if there are any, are the scratch. */
export function inheritExpired(database: Database, heir: Holder, wallMs: number, limit: number): Step {
  const expired = database.build
    .selectFrom('direct_uploads')
    .select('asset_id')
    .where('state', '=', sql.lit<'pending_upload'>('pending_upload'))
    .where('token', 'is', null)
    .where('expires_at_ms', '<=', wallMs)
    .limit(limit)
  return step(
    database.build
      .updateTable('direct_uploads')
      .set((row) => ({ ...held(heir), scratch_blob_key: row.ref('blob_key'), blob_key: null }))
      .where('asset_id', 'in', expired)
      .where('token', 'is', null), // again, as above
  )
}

export async function findHeldBy(database: Database, token: string): Promise<DirectUpload[]> {
  return database.read(database.build.selectFrom('direct_uploads').selectAll().where('token', '=', token))
}

/** What waits to be verified and nobody works on, the oldest first; those behind `after`, where one is given. */
export async function findQueued(
  database: Database,
  after: Pick<DirectUpload, 'created_at_ms' | 'asset_id'> | null,
  limit: number,
): Promise<DirectUpload[]> {
  const { created_at_ms, asset_id } = after ?? { created_at_ms: 0, asset_id: '' }
  return database.read(
    database.build
      .selectFrom('direct_uploads')
      .selectAll()
      .where('state', '=', sql.lit<'processing'>('processing'))
      .where('token', 'is', null)
      .where('created_at_ms', '>=', created_at_ms) // alone, it finds the place in the index
      .where((row) => row.or([row('created_at_ms', '>', created_at_ms), row('asset_id', '>', asset_id)]))
      .orderBy('created_at_ms')
      .orderBy('asset_id')
      .limit(limit),
  )
}

/** Settled ones are told of for a while, as is whoever still has their URL; items are kept with their batch. */
export function deleteLongSettled(database: Database, notAfterMs: number): Step {
  return step(
    database.build
      .deleteFrom('direct_uploads')
      .where('settled_at_ms', '<=', notAfterMs)
      .where('batch_id', 'is', null)
      .where('token', 'is', null),
  )
}

function held({ token, serviceId, leaseExpiresAtMs }: Holder) {
  return { token, service_id: serviceId, lease_expires_at_ms: leaseExpiresAtMs }
}

function heldBy(assetId: string, token: string) {
  return (row: ExpressionBuilder<Tables, 'direct_uploads'>) => row.and({ asset_id: assetId, token })
}

/** Of a workspace, whatever their states. */
export async function findDirectUploads(
  database: Database,
  workspace: string,
  assetIds: readonly string[],
): Promise<DirectUpload[]> {
  if (assetIds.length === 0) return []
  return database.read(
    database.build
      .selectFrom('direct_uploads')
      .selectAll()
      .where('workspace', '=', workspace)
      .where('asset_id', 'in', assetIds),
  )
}

/** Which of these blobs belong to a direct upload. */
export async function findBlobsOfDirectUploads(
  database: Database,
  keys: readonly string[],
): Promise<string[]> {
  const rows = await database.read(
    database.build
      .selectFrom('direct_uploads')
      .select(['blob_key', 'scratch_blob_key'])
      .where((row) => row.or([row('blob_key', 'in', keys), row('scratch_blob_key', 'in', keys)])),
  )
  return rows.flatMap(({ blob_key, scratch_blob_key }) =>
    [blob_key, scratch_blob_key].filter((key) => key !== null),
  )
}

/** Takes over one that is open and that nobody works on; its bytes, if there are any, are the scratch. */
export function inheritOpen(database: Database, workspace: string, assetId: string, heir: Holder): Step {
  const query = database.build
    .updateTable('direct_uploads')
    .set((row) => ({ ...held(heir), scratch_blob_key: row.ref('blob_key'), blob_key: null }))
    .where('asset_id', '=', assetId)
    .where('workspace', '=', workspace)
    .where('state', '=', 'pending_upload')
    .where('token', 'is', null)
  return step(query, { mustChange: true })
}

/** Of a copy of the records: their bytes are not in it. */
export function deleteUnsettled(database: Database): Step {
  return step(database.build.deleteFrom('direct_uploads').where('settled_at_ms', 'is', null))
}

/** It has ended without its bytes: forgotten, or failed for good where it is an item of a batch. */
export function endWithoutBytes(
  database: Database,
  { asset_id, batch_id }: Pick<DirectUpload, 'asset_id' | 'batch_id'>,
  token: string,
  failure: { error: string; atMs: number },
): Step {
  if (batch_id === null)
    return step(database.build.deleteFrom('direct_uploads').where(heldBy(asset_id, token)))
  return settle(database, asset_id, token, { state: 'failed', error: failure.error, atMs: failure.atMs })
}
