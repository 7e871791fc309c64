/** The rows of assets: reserved as pending, then completed or removed. */
import type { Selectable } from 'kysely'
import type { Inspection } from '../asset.ts'
import { type Database, type Step, step } from './database.ts'
import type { AssetsTable } from './schema.ts'

export type PendingAsset = Pick<
  AssetsTable,
  'asset_id' | 'workspace' | 'owner' | 'token' | 'service_id' | 'blob_key' | 'created_at_ms'
> & { lease_expires_at_ms: number }

export type CompletedFacts = Inspection & {
  name: string | null
  sizeBytes: number
  sha256: string
  completedAtMs: number
}

/** Reserves an id and a blob key before a byte is stored, so that a crash leaves a row that names them. */
export function insertPending(database: Database, asset: PendingAsset): Step {
  return step(database.build.insertInto('assets').values({ ...asset, state: 'pending', ...unknownYet }))
}

const unknownYet = {
  name: null,
  media_type: null,
  size_bytes: null,
  sha256: null,
  width: null,
  height: null,
  completed_at_ms: null,
}

/** Makes the asset public; must change its row, else the reservation is no longer ours (fencing). */
export function completePending(
  database: Database,
  assetId: string,
  token: string,
  facts: CompletedFacts,
): Step {
  const query = database.build
    .updateTable('assets')
    .set({
      state: 'completed',
      lease_expires_at_ms: null,
      name: facts.name,
      media_type: facts.type,
      size_bytes: facts.sizeBytes,
      sha256: facts.sha256,
      width: facts.width,
      height: facts.height,
      completed_at_ms: facts.completedAtMs,
    })
    .where('asset_id', '=', assetId)
    .where('token', '=', token)
    .where('state', '=', 'pending')
  return step(query, { mustChange: true })
}

export function deletePending(database: Database, assetId: string, token: string): Step {
  return step(
    database.build
      .deleteFrom('assets')
      .where('asset_id', '=', assetId)
      .where('token', '=', token)
      .where('state', '=', 'pending'),
  )
}

/** Keeps a running upload's reservation alive. */
export function renewPending(
  database: Database,
  assetId: string,
  token: string,
  leaseExpiresAtMs: number,
): Step {
  return step(
    database.build
      .updateTable('assets')
      .set({ lease_expires_at_ms: leaseExpiresAtMs })
      .where('asset_id', '=', assetId)
      .where('token', '=', token)
      .where('state', '=', 'pending'),
  )
}

/** What the public file URL needs to know, or null where there is no such completed asset. */
export async function findPublicFile(database: Database, assetId: string): Promise<PublicFile | null> {
  const rows = await database.read(
    database.build
      .selectFrom('assets')
      .select(['blob_key', 'media_type', 'size_bytes', 'sha256', 'completed_at_ms'])
      .where('asset_id', '=', assetId)
      .where('state', '=', 'completed')
      .$narrowType<PublicFile>(),
  )
  return rows[0] ?? null
}

export type PublicFile = {
  [K in 'blob_key' | 'media_type' | 'size_bytes' | 'sha256' | 'completed_at_ms']: NonNullable<AssetsTable[K]>
}

/** Reservations whose service is gone: what a crash left behind. */
export async function findAbandoned(
  database: Database,
  livingServiceId: string,
): Promise<Pick<Selectable<AssetsTable>, 'asset_id' | 'token' | 'blob_key'>[]> {
  return database.read(
    database.build
      .selectFrom('assets')
      .select(['asset_id', 'token', 'blob_key'])
      .where('state', '=', 'pending')
      .where('service_id', '!=', livingServiceId),
  )
}
