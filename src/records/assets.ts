/** The rows of assets: reserved as pending, then completed or removed. */
import type { Selectable } from 'kysely'
import type { FileFacts } from '../asset.ts'
import { type Database, type Step, step, template } from './database.ts'
import { findBlobsOfDirectUploads, type Holder } from './direct-uploads.ts'
import { sql } from './kysely.ts'
import type { AssetsTable } from './schema.ts'

/** As a word of the statement itself: for a value that is bound, SQLite does not take the index of pending rows. */
const pending = sql.lit<'pending'>('pending')

export type PendingAsset = Pick<
  AssetsTable,
  'asset_id' | 'workspace' | 'owner' | 'token' | 'service_id' | 'blob_key' | 'created_at_ms'
> & { lease_expires_at_ms: number }

export type CompletedFacts = FileFacts & {
  name: string | null
  sizeBytes: number
  sha256: string
  completedAtMs: number
}

/** Reserves an id and a blob key before a byte is stored, so that a crash leaves a row that names them. */
export function insertPending(database: Database, asset: PendingAsset): Step {
  return step(pendingInsertion(database, asset))
}

const unknownYet = {
  name: null,
  media_type: null,
  size_bytes: null,
  sha256: null,
  width: null,
  height: null,
  completed_at_ms: null,
  damaged_at_ms: null,
}

const pendingInsertion = template((query, asset: PendingAsset) =>
  query.insertInto('assets').values({
    asset_id: asset.asset_id,
    workspace: asset.workspace,
    owner: asset.owner,
    token: asset.token,
    service_id: asset.service_id,
    blob_key: asset.blob_key,
    created_at_ms: asset.created_at_ms,
    lease_expires_at_ms: asset.lease_expires_at_ms,
    state: 'pending',
    ...unknownYet,
  }),
)

/** Makes the asset public; must change its row, else the reservation is no longer ours (fencing). */
export function completePending(
  database: Database,
  assetId: string,
  token: string,
  facts: CompletedFacts,
): Step {
  return step(completion(database, { ...facts, assetId, token }), { mustChange: true })
}

const completion = template((query, facts: CompletedFacts & { assetId: string; token: string }) =>
  query
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
    .where('asset_id', '=', facts.assetId)
    .where('token', '=', facts.token)
    .where('state', '=', 'pending'),
)

export function deletePending(database: Database, assetId: string, token: string): Step {
  return step(
    database.build
      .deleteFrom('assets')
      .where('asset_id', '=', assetId)
      .where('token', '=', token)
      .where('state', '=', 'pending'),
  )
}

/**
 * Gives a reservation another token, so that a commit under its first one comes to nothing, even one that is not known
 * to have failed; must change its row, else it is completed or no longer ours. May be done again.
 */
export function fencePending(database: Database, assetId: string, token: string, fence: string): Step {
  const query = database.build
    .updateTable('assets')
    .set({ token: fence })
    .where('asset_id', '=', assetId)
    .where('token', 'in', [token, fence])
    .where('state', '=', 'pending')
  return step(query, { mustChange: true })
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

/** Which of these blobs belong to an asset, completed or pending, or to a direct upload. */
export async function findOwnedBlobs(database: Database, keys: readonly string[]): Promise<Set<string>> {
  const owned = new Set<string>()
  for (let at = 0; at < keys.length; at += keysAtOnce) {
    const some = keys.slice(at, at + keysAtOnce)
    const rows = await database.read(
      database.build.selectFrom('assets').select('blob_key').where('blob_key', 'in', some),
    )
    for (const { blob_key } of rows) owned.add(blob_key)
    for (const key of await findBlobsOfDirectUploads(database, some)) owned.add(key)
  }
  return owned
}

/** Few enough for one statement and for a moment of the thread that reads. */
const keysAtOnce = 500

export async function countCompleted(database: Database): Promise<number> {
  const rows = await database.read(
    database.build
      .selectFrom('assets')
      .select((row) => row.fn.countAll<number>().as('count'))
      .where('state', '=', 'completed'),
  )
  return Number(rows[0]?.count ?? 0)
}

/** All completed assets in the order of their ids, some at a time; those that come meanwhile may be among them. */
export async function* pagesOfCompleted(database: Database): AsyncGenerator<CompletedFile[]> {
  for (let after = ''; ; ) {
    const page = await database.read(
      database.build
        .selectFrom('assets')
        .select(['asset_id', 'blob_key', 'size_bytes', 'sha256', 'damaged_at_ms'])
        .where('state', '=', 'completed')
        .where('asset_id', '>', after)
        .orderBy('asset_id')
        .limit(keysAtOnce)
        .$narrowType<CompletedFile>(),
    )
    const last = page.at(-1)
    if (last === undefined) return
    yield page
    after = last.asset_id
  }
}

export type CompletedFile = Pick<PublicFile, 'blob_key' | 'size_bytes' | 'sha256' | 'damaged_at_ms'> & {
  asset_id: string
}

/** @param atMs null: its bytes are good again */
export function markDamaged(database: Database, assetId: string, atMs: number | null): Step {
  return step(
    database.build.updateTable('assets').set({ damaged_at_ms: atMs }).where('asset_id', '=', assetId),
  )
}

/** Of a copy of the records: what was under way when it was made has no bytes in it. */
export function deleteAllPending(database: Database): Step {
  return step(database.build.deleteFrom('assets').where('state', '=', pending))
}

/** What the public file URL needs to know, or null where there is no such completed asset. */
export async function findPublicFile(database: Database, assetId: string): Promise<PublicFile | null> {
  const rows = await database.read(publicFile(database, { assetId }))
  return rows[0] ?? null
}

const publicFile = template((query, { assetId }: { assetId: string }) =>
  query
    .selectFrom('assets')
    .select(['blob_key', 'media_type', 'size_bytes', 'sha256', 'completed_at_ms', 'damaged_at_ms'])
    .where('asset_id', '=', assetId)
    .where('state', '=', 'completed')
    .$narrowType<PublicFile>(),
)

export type PublicFile = {
  [K in 'blob_key' | 'media_type' | 'size_bytes' | 'sha256' | 'completed_at_ms']: NonNullable<AssetsTable[K]>
} & Pick<AssetsTable, 'damaged_at_ms'>

/** Takes over what other runs of the service reserved, whatever their leases say. */
export function takeOverAbandoned(database: Database, heir: Holder): Step {
  return step(inherit(database, heir).where('service_id', '!=', heir.serviceId))
}

/** Takes over some of what nobody has given a sign of life for until its lease ended. */
export function takeOverLapsed(database: Database, heir: Holder, steadyMs: number, limit: number): Step {
  const lapsed = database.build
    .selectFrom('assets')
    .select('asset_id')
    .where('state', '=', pending)
    .where('lease_expires_at_ms', '<=', steadyMs)
    .limit(limit)
  // Again, for the row itself: another copy of the service may have taken it since the list was made.
  return step(
    inherit(database, heir).where('asset_id', 'in', lapsed).where('lease_expires_at_ms', '<=', steadyMs),
  )
}

/** Takes over what was reserved until then, whatever the leases say. */
export function takeOverOlder(database: Database, heir: Holder, notAfterMs: number): Step {
  return step(inherit(database, heir).where('created_at_ms', '<=', notAfterMs))
}

/** The heir's token is no upload's, so that the upload can no longer commit (fencing). */
function inherit(database: Database, { token, serviceId, leaseExpiresAtMs }: Holder) {
  return (
    database.build
      .updateTable('assets')
      // Should the heir not get to its end, whoever looks for what lapsed goes on.
      .set({ token, service_id: serviceId, lease_expires_at_ms: leaseExpiresAtMs })
      .where('state', '=', pending)
  )
}

export async function findPendingOf(
  database: Database,
  token: string,
): Promise<Pick<Selectable<AssetsTable>, 'asset_id' | 'blob_key'>[]> {
  return database.read(
    database.build
      .selectFrom('assets')
      .select(['asset_id', 'blob_key'])
      .where('state', '=', pending)
      .where('token', '=', token),
  )
}
