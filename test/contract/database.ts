/**
 * What every implementation of the port to the database must prove: batches here, the queries in `records.ts`. Each
 * test gets a place of its own, empty at first; what is opened there twice are two copies of the service.
 */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { sql } from 'kysely'
import { Fault } from '../../src/errors.ts'
import {
  type ApiKeyRow,
  findApiKey,
  insertApiKey,
  listApiKeys,
  revokeApiKey,
} from '../../src/records/api-keys.ts'
import { type Database, type Step, step } from '../../src/records/database.ts'

/** Opens one more connection to the same records. Whoever opens it closes it. */
export type Place = () => Promise<Database>

/** Makes a place for one test, and takes it away again when the test is over. */
export type Engine = { name: string; place(context: TestContext): Promise<Place> | Place }

export async function opened(context: TestContext, place: Place): Promise<Database> {
  const database = await place()
  context.after(() => database.close())
  return database
}

export function keyRow(key_id: string, owner = 'o'): ApiKeyRow {
  const none = { expires_at_ms: null, last_used_at_ms: null, revoked_at_ms: null }
  return { key_id, secret_hash: 'h', workspace: 'w', owner, scopes: '', created_at_ms: 1, ...none }
}

export const idsIn = async (database: Database): Promise<string[]> =>
  (await listApiKeys(database)).map((row) => row.key_id)

export const isUnavailable = (error: unknown): boolean =>
  error instanceof Fault && error.code === 'service_unavailable' && (error.retryAfterSeconds ?? 0) >= 1

/** A statement that the database refuses: a NOT NULL column is null. */
export function failing(database: Database): Step {
  const query = database.build.insertInto('api_keys').values({ ...keyRow('bad'), owner: sql<string>`NULL` })
  return step(query)
}

export function databaseContract(engine: Engine): void {
  const it = (
    what: string,
    body: (context: TestContext, database: Database, place: Place) => Promise<void>,
  ) =>
    test(`${engine.name}: ${what}`, async (context) => {
      const place = await engine.place(context)
      await body(context, await opened(context, place), place)
    })

  it('what was written is there when it is opened again', async (context, first, place) => {
    await first.write([insertApiKey(first, keyRow('a'))])
    await first.close()
    const second = await opened(context, place)
    assert.deepEqual({ ...(await findApiKey(second, 'a')) }, keyRow('a'))
    assert.equal(await findApiKey(second, 'b'), null)
    await second.assertUsable()
  })

  it('a batch is written whole, and can be read once its promise resolves', async (_, database) => {
    const batch = ['a', 'b', 'c'].map((id) => insertApiKey(database, keyRow(id)))
    assert.deepEqual(await database.write(batch), { written: true })
    assert.deepEqual(await idsIn(database), ['a', 'b', 'c'])
    assert.deepEqual(await database.write([]), { written: true })
  })

  it('a statement that had to change a row and did not undoes the whole batch, and is named', async (_, database) => {
    const outcome = await database.write([
      insertApiKey(database, keyRow('a')),
      insertApiKey(database, keyRow('b')),
      revokeApiKey(database, 'not there', 5),
      insertApiKey(database, keyRow('c')),
    ])
    assert.deepEqual(outcome, { written: false, failedStep: 2 })
    assert.deepEqual(await idsIn(database), [])
    const alone = await database.write([revokeApiKey(database, 'not there', 5)])
    assert.deepEqual(alone, { written: false, failedStep: 0 })
  })

  it('of several that had to change a row and did not, the first is named', async (_, database) => {
    const none = revokeApiKey(database, 'not there', 5)
    const batch = [insertApiKey(database, keyRow('a')), none, none, failing(database)]
    assert.deepEqual(await database.write(batch), { written: false, failedStep: 1 })
  })

  it('every kind of statement can be one that must change a row', async (_, database) => {
    const insert = { ...insertApiKey(database, keyRow('a')), mustChange: true }
    const remove = step(database.build.deleteFrom('api_keys').where('key_id', '=', 'a'), { mustChange: true })
    const none = database.build.insertInto('api_keys').values(keyRow('b'))
    const ignored = step(
      none.onConflict((conflict) => conflict.column('key_id').doNothing()),
      { mustChange: true },
    )
    assert.deepEqual(await database.write([insert, remove, ignored]), { written: true })
    assert.deepEqual(await database.write([remove]), { written: false, failedStep: 0 })
    assert.deepEqual(await database.write([insert, ignored]), { written: false, failedStep: 1 })
    assert.deepEqual(await idsIn(database), ['b'])
  })

  it('a statement sees what those before it in the batch wrote', async (_, database) => {
    const batch = [insertApiKey(database, keyRow('a')), revokeApiKey(database, 'a', 5)]
    assert.deepEqual(await database.write(batch), { written: true })
    assert.equal((await findApiKey(database, 'a'))?.revoked_at_ms, 5)
    const again = await database.write([revokeApiKey(database, 'a', 6)])
    assert.deepEqual(again, { written: false, failedStep: 0 })
  })

  it('a statement that need not change a row may change none', async (_, database) => {
    const { query } = revokeApiKey(database, 'not there', 5)
    assert.deepEqual(await database.write([{ query }]), { written: true })
    assert.deepEqual(await database.write([{ query }, { query }]), { written: true })
  })

  it('hundreds of batches at once: each is decided by itself', async (_, database) => {
    // What waits for one of PostgreSQL's ten connections waits for five seconds at most, on whatever disk.
    const count = engine.name === 'PostgreSQL' ? 300 : 1_000
    const outcomes = await Promise.all(
      Array.from({ length: count }, (_none, index) => {
        const id = String(Math.floor(index / 2)).padStart(4, '0')
        const insert = insertApiKey(database, keyRow(id))
        // The even ones insert and revoke; the odd ones revoke the same key, which they see revoked or not at all.
        const more = insertApiKey(database, keyRow(`never-${id}`))
        return database.write(
          index % 2 === 0 ? [insert, revokeApiKey(database, id, 1)] : [more, revokeApiKey(database, id, 2)],
        )
      }),
    )
    for (const [index, outcome] of outcomes.entries())
      assert.deepEqual(outcome, index % 2 === 0 ? { written: true } : { written: false, failedStep: 1 })
    const rows = await listApiKeys(database)
    assert.equal(rows.length, count / 2)
    assert.ok(rows.every((row) => row.revoked_at_ms === 1))
  })

  it('of fifty that claim one row at once, one wins', async (_, database) => {
    await database.write([insertApiKey(database, keyRow('a'))])
    const all = Array.from({ length: 50 }, (_none, index) =>
      database.write([revokeApiKey(database, 'a', index)]),
    )
    const won = (await Promise.all(all)).filter((outcome) => outcome.written)
    assert.equal(won.length, 1)
  })

  it('batches that change the same rows in opposite orders are all written', async (_, database) => {
    const renamed = (id: string) =>
      step(database.build.updateTable('api_keys').set({ owner: 'x' }).where('key_id', '=', id), {
        mustChange: true,
      })
    await database.write(['a', 'b'].map((id) => insertApiKey(database, keyRow(id))))
    const outcomes = await Promise.all(
      Array.from({ length: 8 }, (_none, index) => {
        const batch = [renamed('a'), renamed('b')]
        return database.write(index % 2 === 0 ? batch : batch.toReversed())
      }),
    )
    assert.ok(outcomes.every((outcome) => outcome.written))
  })

  it('a statement that the database refuses is service_unavailable, and nothing of its batch is written', async (_, database) => {
    await assert.rejects(
      database.write([insertApiKey(database, keyRow('a')), failing(database)]),
      isUnavailable,
    )
    await assert.rejects(database.write([failing(database)]), isUnavailable)
    assert.deepEqual(await idsIn(database), [])
    assert.deepEqual(await database.write([insertApiKey(database, keyRow('b'))]), { written: true })
  })

  it('a row that is there already is refused the same way', async (_, database) => {
    await database.write([insertApiKey(database, keyRow('a'))])
    const again = insertApiKey(database, keyRow('a', 'other'))
    await assert.rejects(database.write([insertApiKey(database, keyRow('b')), again]), isUnavailable)
    assert.deepEqual(await idsIn(database), ['a'])
  })

  it('a refused statement takes no other batch with it', async (_, database) => {
    const settled = await Promise.allSettled([
      database.write([insertApiKey(database, keyRow('a'))]),
      database.write([insertApiKey(database, keyRow('x')), failing(database)]),
      database.write([insertApiKey(database, keyRow('b'))]),
    ])
    assert.deepEqual(
      settled.map((one) => one.status),
      ['fulfilled', 'rejected', 'fulfilled'],
    )
    assert.deepEqual(await idsIn(database), ['a', 'b'])
  })

  it('a read that cannot be done is service_unavailable', async (_, database) => {
    const broken = database.build.selectFrom('api_keys').select(sql<number>`no_such_column`.as('x'))
    await assert.rejects(database.read(broken), isUnavailable)
    assert.deepEqual(await idsIn(database), [])
  })

  it('reads cannot write', async (_, database) => {
    const insert = database.build.insertInto('api_keys').values(keyRow('a')).returning('key_id')
    await assert.rejects(database.read(insert), isUnavailable)
    assert.deepEqual(await idsIn(database), [])
  })

  it('values are bound: quotes, backslashes and letters beyond the first plane come back as they were', async (_, database) => {
    const id = `'; DROP TABLE api_keys; -- "é☃ \\ $1 ? 🎞 \u0001\n`
    await database.write([insertApiKey(database, keyRow(id))])
    assert.deepEqual(await idsIn(database), [id])
  })

  it('whole numbers come back as numbers, up to the largest that a number holds exactly', async (_, database) => {
    const most = Number.MAX_SAFE_INTEGER
    await database.write([
      insertApiKey(database, { ...keyRow('a'), created_at_ms: most, expires_at_ms: -most }),
    ])
    const row = await findApiKey(database, 'a')
    assert.deepEqual([row?.created_at_ms, row?.expires_at_ms, row?.revoked_at_ms], [most, -most, null])
  })

  it('text is ordered by its bytes, whatever language the machine speaks', async (_, database) => {
    const ids = ['B', 'a', 'Z', '_', '-', 'é', '1', 'ab', 'a b', 'a-b']
    await database.write(ids.map((id) => insertApiKey(database, keyRow(id))))
    assert.deepEqual(await idsIn(database), ids.toSorted())
  })

  it('after close, writes and reads are service_unavailable; those under way are written', async (context, database, place) => {
    const underWay = database.write([insertApiKey(database, keyRow('a'))])
    await database.close()
    assert.deepEqual(await underWay, { written: true })
    await assert.rejects(database.write([insertApiKey(database, keyRow('b'))]), isUnavailable)
    await assert.rejects(idsIn(database), isUnavailable)
    await assert.rejects(database.assertUsable(), isUnavailable)
    assert.deepEqual(await idsIn(await opened(context, place)), ['a'])
  })

  test(`${engine.name}: two that open one fresh place at once both have it, with the schema made once`, async (context) => {
    for (let round = 0; round < 4; round++) {
      const place = await engine.place(context)
      const [first, second] = await Promise.all([opened(context, place), opened(context, place)])
      const writes = Array.from({ length: 40 }, (_, index) => {
        const database = index % 2 === 0 ? first : second
        return database.write([insertApiKey(database, keyRow(`k${String(index).padStart(2, '0')}`))])
      })
      await Promise.all(writes)
      assert.equal((await idsIn(first)).length, 40)
      assert.deepEqual(await idsIn(second), await idsIn(first))
    }
  })

  it('of two copies that claim one row, one wins, and both see it', async (context, first, place) => {
    const second = await opened(context, place)
    await first.write([insertApiKey(first, keyRow('a'))])
    const outcomes = await Promise.all([
      first.write([revokeApiKey(first, 'a', 1)]),
      second.write([revokeApiKey(second, 'a', 2)]),
    ])
    assert.equal(outcomes.filter((outcome) => outcome.written).length, 1)
    assert.deepEqual(await findApiKey(first, 'a'), await findApiKey(second, 'a'))
  })
}
