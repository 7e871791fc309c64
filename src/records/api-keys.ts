/** The rows of API keys. The secret half of a key is never stored, only its SHA-256. */
import type { Selectable } from 'kysely'
import { type Database, type Step, step, template } from './database.ts'
import type { ApiKeysTable } from './schema.ts'

export type ApiKeyRow = Selectable<ApiKeysTable>

export function insertApiKey(database: Database, row: ApiKeyRow): Step {
  return step(database.build.insertInto('api_keys').values(row))
}

export async function findApiKey(database: Database, keyId: string): Promise<ApiKeyRow | null> {
  const rows = await database.read(apiKey(database, { keyId }))
  return rows[0] ?? null
}

const apiKey = template((query, { keyId }: { keyId: string }) =>
  query.selectFrom('api_keys').selectAll().where('key_id', '=', keyId),
)

export async function listApiKeys(database: Database): Promise<ApiKeyRow[]> {
  return database.read(
    database.build.selectFrom('api_keys').selectAll().orderBy('created_at_ms').orderBy('key_id'),
  )
}

/** Must change a row: an unknown or already revoked key is not revoked again. */
export function revokeApiKey(database: Database, keyId: string, nowMs: number): Step {
  const query = database.build
    .updateTable('api_keys')
    .set({ revoked_at_ms: nowMs })
    .where('key_id', '=', keyId)
    .where('revoked_at_ms', 'is', null)
  return step(query, { mustChange: true })
}

/** Writes down when a key was last used; never moves it back. */
export function touchApiKey(database: Database, keyId: string, usedAtMs: number): Step {
  return step(
    database.build
      .updateTable('api_keys')
      .set({ last_used_at_ms: usedAtMs })
      .where('key_id', '=', keyId)
      .where((row) => row.or([row('last_used_at_ms', 'is', null), row('last_used_at_ms', '<', usedAtMs)])),
  )
}
