/** Searching in more assets than the newest that are looked at first: nothing is missed, nothing comes twice. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { Client } from 'pg'
import { openPostgres } from '../../src/adapters/postgres.ts'
import type { Database } from '../../src/records/database.ts'
import { searchAssets } from '../../src/records/library.ts'
import { noPostgres, type PostgresServer, startPostgres } from './postgres.ts'

const rows = 50_000

describe('a search over many assets', { skip: noPostgres }, () => {
  let server: PostgresServer
  let database: Database
  before(async () => {
    server = await startPostgres()
    const url = await server.freshUrl()
    database = await openPostgres({ url })
    const client = new Client(url)
    await client.connect()
    // As the service does it, so that the trigger makes the words: reserved, then completed.
    await client.query(`
      INSERT INTO assets (asset_id, workspace, owner, state, token, service_id, blob_key, created_at_ms)
      SELECT 'asset_' || i, CASE i % 1000 WHEN 7 THEN 'small' ELSE 'large' END, 'o', 'pending', 't', 's', 'b' || i, i
      FROM generate_series(1, ${rows}) AS i`)
    await client.query(`
      UPDATE assets SET state = 'completed', media_type = 'png', completed_at_ms = created_at_ms, size_bytes = 1,
        sha256 = 'h', name = concat_ws(' ', 'every', CASE WHEN created_at_ms % 3000 = 1 THEN 'rare' END,
          CASE WHEN created_at_ms = 17 THEN 'single' END, 'n' || created_at_ms)`)
    await client.query('ANALYZE assets')
    await client.end()
  })
  after(async () => {
    await database.close()
    await server.remove()
  })

  async function all(workspace: string, words: string[], limit: number): Promise<number[]> {
    const found: number[] = []
    for (let behind: number | null = null; ; ) {
      const page = await searchAssets(database, { workspace, kind: 'image', words, before: behind, limit })
      found.push(...page.map(({ asset_id }) => Number(asset_id.slice('asset_'.length))))
      const last = page.at(-1)
      if (last === undefined || page.length < limit) return found
      behind = last.completed_order
    }
  }
  const newestFirst = (wanted: (row: number) => boolean): number[] =>
    Array.from({ length: rows }, (_, index) => rows - index).filter(wanted)
  const isSmall = (row: number): boolean => row % 1_000 === 7

  it('a word that some assets have, near and far, page by page', async () => {
    const wanted = newestFirst((row) => row % 3_000 === 1 && !isSmall(row))
    assert.equal(wanted.length, 17)
    for (const limit of [1, 2, 5, 16, 17, 18, 100]) {
      assert.deepEqual(await all('large', ['rare'], limit), wanted, `${limit} at a time`)
      assert.deepEqual(await all('large', ['ra', 'every'], limit), wanted)
    }
  })

  it('a word that one old asset has, and one that none has', async () => {
    assert.deepEqual(await all('large', ['single'], 20), [17])
    const begun = newestFirst((row) => String(row).startsWith('4711'))
    assert.deepEqual(await all('large', ['n4711'], 20), begun, 'short words are beginnings too')
    assert.deepEqual(await all('large', ['nothing'], 20), [])
  })

  it('a word that all have, of a large workspace and of a small one among it', async () => {
    assert.deepEqual(
      await all('large', ['every'], 10_000),
      newestFirst((row) => !isSmall(row)),
    )
    assert.deepEqual(await all('small', ['every'], 7), newestFirst(isSmall))
  })
})
