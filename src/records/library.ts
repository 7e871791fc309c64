/** The completed assets of a workspace, as its people look at them: one, a page, those that a text finds. */
import { mediaTypeNames, mediaTypes } from '../asset.ts'
import { type Database, type Step, step, type Words } from './database.ts'
import { sql } from './kysely.ts'
import type { AssetsTable } from './schema.ts'

export type LibraryAsset = {
  [K in 'asset_id' | 'owner' | 'workspace' | 'blob_key']: AssetsTable[K]
} & {
  [K in 'media_type' | 'size_bytes' | 'completed_at_ms' | 'sha256']: NonNullable<AssetsTable[K]>
} & Pick<AssetsTable, 'name' | 'width' | 'height'>

/** Where a page ends: the next one begins behind it, whatever was added or deleted meanwhile. */
export type Position = { completedAtMs: number; assetId: string }

const columns = [
  'asset_id',
  'owner',
  'workspace',
  'blob_key',
  'media_type',
  'size_bytes',
  'completed_at_ms',
  'sha256',
  'name',
  'width',
  'height',
] as const

/** Null where the workspace has no such completed asset. */
export async function findAsset(
  database: Database,
  workspace: string,
  assetId: string,
): Promise<LibraryAsset | null> {
  const rows = await database.read(
    database.build
      .selectFrom('assets')
      .select(columns)
      .where('asset_id', '=', assetId)
      .where('workspace', '=', workspace)
      .where('state', '=', 'completed')
      .$narrowType<LibraryAsset>(),
  )
  return rows[0] ?? null
}

export type Page = {
  workspace: string
  /** Null: of every owner. */
  owner: string | null
  /** Null: from the newest. */
  after: Position | null
  limit: number
}

/** The newest first. */
export async function listAssets(
  database: Database,
  { workspace, owner, after, limit }: Page,
): Promise<LibraryAsset[]> {
  let query = database.build
    .selectFrom('assets')
    .select(columns)
    .where('workspace', '=', workspace)
    .where('state', '=', 'completed')
    .orderBy('completed_at_ms', 'desc')
    .orderBy('asset_id', 'desc')
    .limit(limit)
    .$narrowType<LibraryAsset>()
  if (owner !== null) query = query.where('owner', '=', owner)
  if (after !== null) {
    const behind = sql<boolean>`(completed_at_ms, asset_id) < (${after.completedAtMs}, ${after.assetId})`
    query = query.where(behind)
  }
  return database.read(query)
}

export type Search = {
  workspace: string
  /** Words, all of which must be in the asset's name, type or owner. */
  words: readonly string[]
  kind: 'image'
  /** Null: from the newest; else behind the one with this `completed_order`. */
  before: number | null
  limit: number
}

export type FoundAsset = LibraryAsset & { completed_order: number }

/** Words up to this long are found by their beginnings too: more would be too much of the index to read. */
const longestPrefix = 6

/** As the text index has it, by the migrations. */
const typesOf = { image: mediaTypeNames.filter((name) => mediaTypes[name].kind === 'image') }

/** What was completed last comes first. */
export async function searchAssets(database: Database, search: Search): Promise<FoundAsset[]> {
  const words = search.words.map((text) => ({ text, isPrefix: isPrefix(text) }))
  return (await findByWords(database, search, words)) ?? (await findInScope(database, search, words))
}

/**
 * What has the words, of whatever workspace and kind, and of that what is wanted: fast for words that few assets have,
 * and for those that many of this workspace have. Each of the two ways reads one state of the records, and a page is
 * all of one of them, so whatever is deleted meanwhile, none is missing.
 * @returns null where so few of those looked at are wanted that the page has to be found otherwise
 */
async function findByWords(
  database: Database,
  { workspace, kind, before, limit }: Search,
  words: Words,
): Promise<FoundAsset[] | null> {
  const found = database.texts.findAnywhere({ words, before, limit: lookedAt(limit) })
  if (found === null) return null
  const query = database.build
    .selectFrom(found.as('found'))
    .leftJoin('assets', 'assets.completed_order', 'found.at')
    .select([...columns.map((name) => `assets.${name}` as const), 'found.at as completed_order'])
    .where(({ eb, or, and }) =>
      or([
        eb('found.at', '=', 0),
        and([eb('assets.workspace', '=', workspace), eb('assets.media_type', 'in', typesOf[kind])]),
      ]),
    )
    .orderBy('found.at', 'desc')
    .limit(limit)
    .$narrowType<FoundAsset>()
  const rows = await database.read(query)
  if (rows.at(-1)?.completed_order === 0) return rows.slice(0, -1)
  return rows.length === limit ? rows : null
}

/** Enough where a quarter of what has the words is wanted. */
function lookedAt(limit: number): number {
  return Math.max(64, 4 * limit)
}

async function findInScope(
  database: Database,
  { workspace, kind, before, limit }: Search,
  words: Words,
): Promise<FoundAsset[]> {
  const found = database.texts.find({ workspace, kind, words, before, limit })
  const query = database.build
    .selectFrom(found.as('found'))
    .innerJoin('assets', 'assets.completed_order', 'found.at')
    .select([...columns.map((name) => `assets.${name}` as const), 'assets.completed_order'])
    .orderBy('found.at', 'desc')
    .$narrowType<FoundAsset>()
  return database.read(query)
}

function isPrefix(word: string): boolean {
  const letters = [...word].length
  return letters >= 2 && letters <= longestPrefix
}

/**
 * Takes a completed asset out of the library and gives it to an heir, which removes its bytes and then its row: from
 * now on nobody can see it, and a crash leaves what any unfinished upload leaves. Must change a row.
 */
export function withdrawAsset(
  database: Database,
  workspace: string,
  assetId: string,
  heir: { token: string; serviceId: string; leaseExpiresAtMs: number },
): Step {
  const query = database.build
    .updateTable('assets')
    .set({
      state: 'pending',
      token: heir.token,
      service_id: heir.serviceId,
      lease_expires_at_ms: heir.leaseExpiresAtMs,
    })
    .where('asset_id', '=', assetId)
    .where('workspace', '=', workspace)
    .where('state', '=', 'completed')
  return step(query, { mustChange: true })
}

/** Which of these the workspace has. @param workspace null: whosever they are */
export async function findCompletedIds(
  database: Database,
  workspace: string | null,
  assetIds: readonly string[],
): Promise<Set<string>> {
  if (assetIds.length === 0) return new Set()
  const completed = database.build
    .selectFrom('assets')
    .select('asset_id')
    .where('asset_id', 'in', assetIds)
    .where('state', '=', 'completed')
  const rows = await database.read(
    workspace === null ? completed : completed.where('workspace', '=', workspace),
  )
  return new Set(rows.map(({ asset_id }) => asset_id))
}
