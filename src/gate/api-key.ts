/**
 * API keys: `assetd_<id>_<secret><checksum>`. The prefix lets people and secret scanners know one when they see it,
 * the checksum lets us refuse a mistyped one without asking the database. The secret has 160 random bits and only
 * its SHA-256 is kept.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { type Principal, parseScopes } from '../principal.ts'
import { type ApiKeyRow, findApiKey, touchApiKey } from '../records/api-keys.ts'
import type { Database } from '../records/database.ts'

export type NewApiKey = { keyId: string; key: string; secretHash: string }

/** The id that logs show for the key given as `ASSETD_API_KEY`. */
export const givenKeyId = 'environment'

const shape = /^assetd_([0-9a-f]{12})_([0-9a-f]{40})([0-9a-f]{8})$/

export function newApiKey(): NewApiKey {
  const keyId = randomBytes(6).toString('hex')
  const secret = randomBytes(20).toString('hex')
  return { keyId, key: `assetd_${keyId}_${secret}${checksum(keyId, secret)}`, secretHash: hash(secret) }
}

export type KnownKey = { principal: Principal; keyId: string }

export interface ApiKeys {
  /** @returns null for a key that is unknown, mistyped, revoked or expired: the same for all, in similar time */
  find(key: string): Promise<KnownKey | null>
  /** Writes down the last uses seen so far. */
  flush(): Promise<void>
}

/** @param givenKey the key from the configuration, accepted beside the stored ones */
export function createApiKeys(database: Database, givenKey: string | null, now = Date.now): ApiKeys {
  const given = givenKey === null ? null : hash(givenKey)
  const lastUses = new Map<string, number>()
  return {
    async find(key) {
      if (given !== null && sameHash(hash(key), given)) return { principal: everything, keyId: givenKeyId }
      const [, keyId = '', secret = '', sum = ''] = shape.exec(key) ?? []
      const row = sum === checksum(keyId, secret) ? await findApiKey(database, keyId) : null
      const matches = sameHash(hash(secret), row?.secret_hash ?? hash(''))
      if (row === null || !matches || !isLive(row, now())) return null
      noteUse(lastUses, row, now())
      return { principal: principalOf(row), keyId }
    },
    async flush() {
      const uses = [...lastUses]
      lastUses.clear()
      if (uses.length === 0) return
      await database.write(uses.map(([keyId, usedAtMs]) => touchApiKey(database, keyId, usedAtMs)))
    },
  }
}

const everything: Principal = {
  workspace: 'default',
  owner: 'default',
  scopes: parseScopes('assets:read assets:write'),
}

function principalOf(row: ApiKeyRow): Principal {
  return { workspace: row.workspace, owner: row.owner, scopes: parseScopes(row.scopes) }
}

function isLive(row: ApiKeyRow, nowMs: number): boolean {
  return row.revoked_at_ms === null && (row.expires_at_ms === null || row.expires_at_ms > nowMs)
}

/** To the minute: a finer clock would cost a write for every request. */
function noteUse(lastUses: Map<string, number>, row: ApiKeyRow, nowMs: number): void {
  const minute = nowMs - (nowMs % 60_000)
  if ((row.last_used_at_ms ?? 0) < minute) lastUses.set(row.key_id, minute)
}

function checksum(keyId: string, secret: string): string {
  return crc32(`${keyId}_${secret}`).toString(16).padStart(8, '0')
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

function sameHash(a: string, b: string): boolean {
  return timingSafeEqual(Buffer.from(a), Buffer.from(b))
}
