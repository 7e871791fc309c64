/** The two ways that SQLite is searched, by the words alone and within a scope: which is gone, and that no page is of both. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { openSqlite } from '../src/adapters/sqlite.ts'
import { sqliteTexts } from '../src/adapters/sqlite-texts.ts'
import { completePending, insertPending } from '../src/records/assets.ts'
import type { Compilable, Database } from '../src/records/database.ts'
import { type Search, searchAssets, withdrawAsset } from '../src/records/library.ts'
import { pending } from './contract/records.ts'

const folder = mkdtempSync(join(tmpdir(), 'assetd-search-'))
after(() => rmSync(folder, { recursive: true }))

let files = 0

/** Images a0 to a399: a0, a100, … are of a small workspace, a1, a101, … are rare ones of the large one. */
async function filled(context: TestContext): Promise<Database> {
  const database = await openSqlite(join(folder, `${files++}.sqlite`))
  context.after(() => database.close())
  const facts = { type: 'png', sha256: 'h', completedAtMs: 1, width: 1, height: 1, sizeBytes: 1 } as const
  const batch = Array.from({ length: 400 }, (_, index) => {
    const id = `a${index}`
    const workspace = index % 100 === 0 ? 'small' : 'large'
    const name = index % 100 === 1 ? 'every rare' : 'every'
    return [
      insertPending(database, pending(id, { workspace })),
      completePending(database, id, `t-${id}`, { name, ...facts }),
    ]
  })
  assert.deepEqual(await database.write(batch.flat()), { written: true })
  return database
}

/** What is found, and in how many reads. */
async function searched(database: Database, search: Partial<Search>, meanwhile = async () => {}) {
  let reads = 0
  const watched: Database = {
    ...database,
    async read<Row>(query: Compilable<Row>) {
      if (reads++ > 0) await meanwhile()
      return database.read(query)
    },
  }
  const all = { workspace: 'large', words: ['every'], kind: 'image', before: null, limit: 3 } as const
  const found = await searchAssets(watched, { ...all, ...search })
  return { found: found.map(({ asset_id }) => asset_id), reads }
}

test('SQLite is asked once for a word that few assets have, for one that many of the workspace have, and for none', async (context) => {
  const database = await filled(context)
  const rare = { found: ['a301', 'a201', 'a101'], reads: 1 }
  assert.deepEqual(await searched(database, { words: ['rare'] }), rare)
  assert.deepEqual(
    (await searched(database, { words: ['rare'], limit: 4 })).reads,
    1,
    'a page that is just full',
  )
  assert.deepEqual((await searched(database, { words: ['rare'], limit: 9 })).reads, 1)
  assert.deepEqual(await searched(database, {}), { found: ['a399', 'a398', 'a397'], reads: 1 })
  assert.deepEqual(await searched(database, { words: ['absent'] }), { found: [], reads: 1 })
  assert.deepEqual(await searched(database, { workspace: 'small', words: ['rare'] }), { found: [], reads: 1 })
})

test('SQLite is asked once more for a word that others have, and at once within the scope for two words', async (context) => {
  const database = await filled(context)
  const small = { workspace: 'small', limit: 4 }
  assert.deepEqual(await searched(database, small), { found: ['a300', 'a200', 'a100', 'a0'], reads: 2 })
  assert.deepEqual(await searched(database, { words: ['rare', 'every'] }), {
    found: ['a301', 'a201', 'a101'],
    reads: 1,
  })
})

test('what is deleted between the two reads is not found, and nothing else is missing', async (context) => {
  const database = await filled(context)
  const heir = { token: 'heir', serviceId: 's', leaseExpiresAtMs: 0 }
  const removeNewest = async () => {
    await database.write([withdrawAsset(database, 'small', 'a300', heir)])
  }
  const page = { workspace: 'small', limit: 2 }
  assert.deepEqual(await searched(database, page, removeNewest), { found: ['a200', 'a100'], reads: 2 })
})

test('words whose lists could be long, and of which nothing is found, are looked for within the scope alone', () => {
  const isAsked = (...texts: string[]): boolean => {
    const words = texts.map((text) => ({ text, isPrefix: true }))
    return sqliteTexts.findAnywhere({ words, before: null, limit: 64 }) !== null
  }
  for (const word of ['beach', 'wörter', 'window', 'a1', '2024']) assert.ok(isAsked(word), word)
  for (const word of ['w6', 'W6C', 'ŵ6', 'wé', 'w6c61726765image']) assert.ok(!isAsked(word), word)
  assert.ok(!isAsked('beach', 'sunset'))
})
