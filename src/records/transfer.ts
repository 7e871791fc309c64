/** Rows as they go from one database to another: whole, in the order in which they were made, some at a time. */
import type { Selectable } from 'kysely'
import { type Database, type Step, step } from './database.ts'
import { sql } from './kysely.ts'
import type { AssetsTable } from './schema.ts'

const assetColumns = [
  'asset_id',
  'workspace',
  'owner',
  'token',
  'service_id',
  'blob_key',
  'created_at_ms',
  'name',
  'media_type',
  'size_bytes',
  'sha256',
  'width',
  'height',
  'completed_at_ms',
  'damaged_at_ms',
] as const

export type TransferredAsset = Pick<Selectable<AssetsTable>, (typeof assetColumns)[number]> & {
  size_bytes: number
  sha256: string
}

const pageSize = 200

/** All completed assets in the order of their completion; those that come meanwhile are at the end. */
export async function* assetsByCompletion(database: Database): AsyncGenerator<TransferredAsset[]> {
  for (let after = -1; ; ) {
    const page = await database.read(
      database.build
        .selectFrom('assets')
        .select([...assetColumns, 'completed_order'])
        .where('completed_order', '>', after)
        .orderBy('completed_order')
        .limit(pageSize)
        .$narrowType<{ size_bytes: number; sha256: string; completed_order: number }>(),
    )
    const last = page.at(-1)
    if (last === undefined) return
    yield page.map(({ completed_order: _, ...asset }) => asset)
    after = last.completed_order
  }
}

/** In two steps: its place in the order, and its words, come with its completion. */
export function insertTransferred(database: Database, asset: TransferredAsset): Step[] {
  const pending = { ...asset, state: 'pending', lease_expires_at_ms: null } as const
  return [
    step(database.build.insertInto('assets').values(pending)),
    step(
      database.build.updateTable('assets').set({ state: 'completed' }).where('asset_id', '=', asset.asset_id),
      { mustChange: true },
    ),
  ]
}

export function deleteTransferred(database: Database, assetId: string): Step {
  return step(database.build.deleteFrom('assets').where('asset_id', '=', assetId))
}

/** The other tables that go along, by their keys. */
const keysOf = {
  token_issuer: ['id'],
  api_keys: ['key_id'],
  batches: ['batch_id'],
  direct_uploads: ['asset_id'],
  idempotency_keys: ['workspace', 'route', 'key'],
} as const

export type TransferredTable = keyof typeof keysOf
export const transferredTables = Object.keys(keysOf) as TransferredTable[]

type Row = Record<string, string | number | null>

/** The rows of a table in the order of its key. What is under way stays: it has no bytes elsewhere, or no answer yet. */
export async function* rowsOf(database: Database, name: TransferredTable): AsyncGenerator<Row[]> {
  const keys = keysOf[name]
  const key = sql.join(keys.map((column) => sql.ref(column)))
  for (let after: Row | null = null; ; ) {
    let query = database.build.selectFrom(sql.table(name).as('t')).selectAll().limit(pageSize)
    for (const column of keys) query = query.orderBy(sql.ref(column))
    if (name === 'direct_uploads')
      query = query.where(sql<boolean>`settled_at_ms IS NOT NULL AND token IS NULL`)
    if (name === 'idempotency_keys') query = query.where(sql<boolean>`body IS NOT NULL`)
    if (after !== null) {
      const values = sql.join(keys.map((column) => after?.[column]))
      query = query.where(sql<boolean>`(${key}) > (${values})`)
    }
    const page = (await database.read(query)) as Row[]
    const last = page.at(-1)
    if (last === undefined) return
    yield page
    after = last
  }
}

/** @param options.replaces whether it takes the place of the row that has its key, if there is one */
export function putRow(
  database: Database,
  name: TransferredTable,
  row: Row,
  { replaces }: { replaces: boolean },
): Step {
  return step(
    database.build
      .insertInto(name as 'batches')
      .values(row as never)
      .onConflict((conflict) => {
        const same = conflict.columns(keysOf[name] as never)
        return replaces ? same.doUpdateSet(row as never) : same.doNothing()
      }),
  )
}
