import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { openSqlite } from '../adapters/sqlite.ts'
import { type ApiKeyRow, findApiKey, insertApiKey, revokeApiKey } from '../records/api-keys.ts'
import type { Database } from '../records/database.ts'
import { createApiKeys, givenKeyId, type NewApiKey, newApiKey } from './api-key.ts'

const folder = mkdtempSync(join(tmpdir(), 'assetd-keys-'))
let database: Database
let reads = 0
before(async () => {
  const opened = await openSqlite(join(folder, 'keys.sqlite'))
  database = {
    ...opened,
    read(query) {
      reads++
      return opened.read(query)
    },
  }
})
after(async () => {
  await database.close()
  rmSync(folder, { recursive: true })
})

const minute = 60_000
const start = 1_700_000_000_000 - (1_700_000_000_000 % minute)

async function addKey(facts: Partial<ApiKeyRow> = {}): Promise<NewApiKey> {
  const made = newApiKey()
  const row: ApiKeyRow = {
    key_id: made.keyId,
    secret_hash: made.secretHash,
    workspace: 'w',
    owner: 'o',
    scopes: 'assets:read',
    created_at_ms: start,
    expires_at_ms: null,
    last_used_at_ms: null,
    revoked_at_ms: null,
    ...facts,
  }
  await database.write([insertApiKey(database, row)])
  return made
}

test('a new key has the shape that secret scanners look for, and no two are equal', () => {
  const keys = Array.from({ length: 200 }, newApiKey)
  for (const { key, keyId } of keys) assert.match(key, new RegExp(`^assetd_${keyId}_[0-9a-f]{48}$`))
  assert.equal(new Set(keys.map(({ key }) => key)).size, 200)
})

test('the secret half is not kept: the hash is of it, not it', () => {
  const { key, keyId, secretHash } = newApiKey()
  const secret = key.slice(`assetd_${keyId}_`.length)
  assert.match(secretHash, /^[0-9a-f]{64}$/)
  assert.ok(!secretHash.includes(secret.slice(0, 40)))
})

test('case 41: a stored key is found with its principal', async () => {
  const { key, keyId } = await addKey({
    workspace: 'w1',
    owner: 'o1',
    scopes: 'assets:write assets:read other',
  })
  assert.deepEqual(await createApiKeys(database, null).find(key), {
    keyId,
    principal: { workspace: 'w1', owner: 'o1', scopes: new Set(['assets:read', 'assets:write']) },
  })
})

test('case 41: unknown, mistyped, cut and padded keys are all null', async () => {
  const apiKeys = createApiKeys(database, null)
  const { key, keyId } = await addKey()
  const other = newApiKey()
  const wrong = [
    '',
    ' ',
    'assetd_',
    keyId,
    newApiKey().key,
    other.key.replace(other.keyId, keyId),
    key.slice(0, -1),
    `${key}0`,
    `${key} `,
    ` ${key}`,
    `${key}\n`,
    key.toUpperCase(),
    key.replace('assetd_', 'assetx_'),
    key.replace(/.$/, (last) => (last === '0' ? '1' : '0')),
    'k'.repeat(10_000),
    `${key}${'0'.repeat(10_000)}`,
  ]
  for (const text of wrong) assert.equal(await apiKeys.find(text), null, text.slice(0, 100))
})

test('a mistyped key does not cost a question to the database', async () => {
  const apiKeys = createApiKeys(database, null)
  const { key } = await addKey()
  const before = reads
  await apiKeys.find(key.replace(/.$/, (last) => (last === '0' ? '1' : '0')))
  await apiKeys.find('nonsense')
  assert.equal(reads, before)
  await apiKeys.find(key)
  assert.equal(reads, before + 1)
})

test('case 41: a key stops at the moment it expires, and once it is revoked', async () => {
  let now = start
  const apiKeys = createApiKeys(database, null, () => now)
  const { key, keyId } = await addKey({ expires_at_ms: start + 1000 })
  now = start + 999
  assert.notEqual(await apiKeys.find(key), null)
  now = start + 1000
  assert.equal(await apiKeys.find(key), null)
  const second = await addKey()
  assert.notEqual(await apiKeys.find(second.key), null)
  await database.write([revokeApiKey(database, second.keyId, now)])
  assert.equal(await apiKeys.find(second.key), null)
  assert.deepEqual(await database.write([revokeApiKey(database, second.keyId, now)]), {
    written: false,
    failedStep: 0,
  })
  assert.notEqual(keyId, second.keyId)
})

test('the key of the configuration is all scopes of the workspace default, and any other is not it', async () => {
  const given = 'g'.repeat(40)
  const apiKeys = createApiKeys(database, given)
  assert.deepEqual(await apiKeys.find(given), {
    keyId: givenKeyId,
    principal: { workspace: 'default', owner: 'default', scopes: new Set(['assets:read', 'assets:write']) },
  })
  for (const text of ['', 'g'.repeat(39), 'g'.repeat(41), `${given} `])
    assert.equal(await apiKeys.find(text), null)
  assert.equal(await createApiKeys(database, null).find(given), null)
  const stored = await addKey()
  assert.equal((await apiKeys.find(stored.key))?.keyId, stored.keyId, 'stored keys work beside it')
})

test('the last use is written down by flush, to the minute, and never moved back', async () => {
  let now = start + 5 * minute + 1_234
  const apiKeys = createApiKeys(database, null, () => now)
  const { key, keyId } = await addKey()
  const lastUse = async (): Promise<number | null | undefined> =>
    (await findApiKey(database, keyId))?.last_used_at_ms
  await apiKeys.find(key)
  assert.equal(await lastUse(), null)
  await apiKeys.flush()
  assert.equal(await lastUse(), start + 5 * minute)
  now = start + 2 * minute
  await apiKeys.find(key)
  await apiKeys.flush()
  assert.equal(await lastUse(), start + 5 * minute)
  now = start + 7 * minute
  await apiKeys.find(key)
  await apiKeys.flush()
  assert.equal(await lastUse(), start + 7 * minute)
})

test('a key that was refused is not used', async () => {
  const apiKeys = createApiKeys(database, null)
  const { key, keyId } = await addKey({ revoked_at_ms: start })
  assert.equal(await apiKeys.find(key), null)
  await apiKeys.flush()
  assert.equal((await findApiKey(database, keyId))?.last_used_at_ms, null)
})
