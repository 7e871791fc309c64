/** What is PostgreSQL's own: its start, its migrations, and its ways to fail. */
import assert from 'node:assert/strict'
import { after, before, describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { openPostgres, type PostgresOptions } from '../../src/adapters/postgres.ts'
import { PostgresRefused, prepare } from '../../src/adapters/postgres-connection.ts'
import { insertApiKey, listApiKeys, revokeApiKey } from '../../src/records/api-keys.ts'
import { type Database, SchemaTooNew } from '../../src/records/database.ts'
import { migrations } from '../../src/records/migrations.ts'
import { postgresMigrations } from '../../src/records/migrations-postgres.ts'
import { idsIn, isUnavailable, keyRow } from '../contract/database.ts'
import { eventually } from '../service.ts'
import { noPostgres, type PostgresServer, startPostgres } from './postgres.ts'
import { startProxy } from './proxy.ts'

const newest = migrations.length

test('the newest version of the schema is the same on both engines', () => {
  assert.equal(postgresMigrations.at(-1)?.version, newest)
  const versions = postgresMigrations.map(({ version }) => version)
  assert.deepEqual(
    versions,
    versions.toSorted((one, other) => one - other),
  )
})

describe('PostgreSQL', { skip: noPostgres }, () => {
  let server: PostgresServer
  before(async () => {
    server = await startPostgres()
  })
  after(() => server.remove())

  async function opened(context: TestContext, options: PostgresOptions): Promise<Database> {
    const database = await openPostgres(options)
    context.after(() => database.close())
    return database
  }

  async function beside(context: TestContext, url: string): Promise<Client> {
    const client = new Client(url)
    client.on('error', () => {})
    await client.connect()
    context.after(() => client.end())
    return client
  }

  const refusedFor = (why: RegExp) => (error: unknown) => {
    assert.ok(error instanceof PostgresRefused, String(error))
    assert.match(error.message, why)
    assert.doesNotMatch(error.message, /secret|\n/)
    return true
  }

  test('what would lose what was acknowledged, or cannot be used, stops the start in one line', async (context) => {
    const off = await server.freshUrl({ synchronous_commit: 'off' })
    await assert.rejects(openPostgres({ url: off }), refusedFor(/synchronous_commit=off.*set it to on/))
    const readOnly = await server.freshUrl({ default_transaction_read_only: 'on' })
    await assert.rejects(openPostgres({ url: readOnly }), refusedFor(/only read/))
    const url = await server.freshUrl()
    const gone = url.replace(/\/t\w+$/, '/none')
    await assert.rejects(openPostgres({ url: gone }), refusedFor(/database "none" does not exist/))
    const nobody = url.replace('assetd:secret', 'nobody:secret')
    await assert.rejects(openPostgres({ url: nobody }), refusedFor(/role "nobody" does not exist/))
    const closed = url.replace(/:\d+\//, ':1/')
    await assert.rejects(openPostgres({ url: closed }), refusedFor(/127\.0\.0\.1:1.*ECONNREFUSED/))
    const admin = await beside(context, url)
    await admin.query('CREATE ROLE reader LOGIN')
    const reader = url.replace('assetd:secret', 'reader:secret')
    await assert.rejects(openPostgres({ url: reader }), refusedFor(/permission denied for schema public/))
  })

  test('fsync=off and full_page_writes=off stop the start', async (context) => {
    for (const setting of ['fsync', 'full_page_writes']) {
      const careless = await startPostgres({ [setting]: 'off' })
      context.after(() => careless.remove())
      const url = await careless.freshUrl()
      await assert.rejects(openPostgres({ url }), refusedFor(new RegExp(`${setting}=off`)))
    }
  })

  test('ten copies that start at once make the schema once', async (context) => {
    const url = await server.freshUrl()
    const copies = await Promise.all(Array.from({ length: 10 }, () => opened(context, { url, poolSize: 2 })))
    await Promise.all(copies.map((copy, index) => copy.write([insertApiKey(copy, keyRow(`k${index}`))])))
    assert.equal((await idsIn(copies[0] as Database)).length, 10)
    const { rows } = await (await beside(context, url)).query('SELECT version FROM assetd_schema')
    assert.deepEqual(rows, [{ version: String(newest) }])
  })

  test('case 102: a database of a newer assetd is not opened, not changed, and the message says what to do', async (context) => {
    const url = await server.freshUrl()
    await (await openPostgres({ url })).close()
    const admin = await beside(context, url)
    await admin.query('UPDATE assetd_schema SET version = $1, works_since = $1', [newest + 1])
    await assert.rejects(
      openPostgres({ url }),
      (error) => error instanceof SchemaTooNew && /run the newer assetd/.test(error.message),
    )
    const { rows } = await admin.query('SELECT version FROM assetd_schema')
    assert.deepEqual(rows, [{ version: String(newest + 1) }])
  })

  test('words that an earlier schema cut at their accents are whole after the upgrade', async (context) => {
    const url = await server.freshUrl()
    await prepare(
      url,
      postgresMigrations.filter(({ version }) => version < 7),
    )
    const client = await beside(context, url)
    await client.query(`
      INSERT INTO assets (asset_id, workspace, owner, state, token, service_id, blob_key, created_at_ms)
      VALUES ('a', 'w', 'o', 'pending', 't', 's', 'k', 1)`)
    await client.query(`UPDATE assets SET state = 'completed', media_type = 'png', name = $1`, [
      'Résumé.png'.normalize('NFD'),
    ])
    const count = async (): Promise<unknown> =>
      (await client.query(`SELECT FROM assets WHERE words @@ 'resume'::tsquery`)).rowCount
    assert.equal(await count(), 0)
    await opened(context, { url })
    assert.equal(await count(), 1)
  })

  test('case 68: a migration that is cut off or fails changes nothing, and the next start takes it whole', async (context) => {
    const url = await server.freshUrl()
    const admin = await beside(context, url)
    const more = (sql: string) => [...postgresMigrations, { version: newest + 1, sql }]
    const failing = prepare(url, more('CREATE TABLE half (x int); SELECT no_such_function()'))
    await assert.rejects(failing, refusedFor(/no_such_function/))
    const slow = prepare(url, more('CREATE TABLE half (x int); SELECT pg_sleep(60)'))
    const cut = assert.rejects(slow, refusedFor(/terminat/))
    await eventually(async () => {
      const { rowCount } = await admin.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()`,
      )
      assert.equal(rowCount, 1)
    })
    await cut
    const seen = async () => {
      const { rows } = await admin.query(`SELECT version, to_regclass('half') AS half FROM assetd_schema`)
      return rows
    }
    assert.deepEqual(await seen(), [{ version: String(newest), half: null }])
    await Promise.all([1, 2, 3].map(() => prepare(url, more('CREATE TABLE half (x int)'))))
    assert.deepEqual(await seen(), [{ version: String(newest + 1), half: 'half' }])
  })

  test('case 102: while an upgrade is under way, copies of the version before go on, and start', async (context) => {
    const url = await server.freshUrl()
    const old = await opened(context, { url, poolSize: 3 })
    await old.write([insertApiKey(old, keyRow('before'))])
    // Each connection has prepared statements that name every column there was.
    await Promise.all([1, 2, 3, 4, 5].map(() => listApiKeys(old)))
    const added = { version: newest + 1, sql: 'ALTER TABLE api_keys ADD COLUMN colour text' }
    await prepare(url, [...postgresMigrations, added])
    const seen = await Promise.all([1, 2, 3, 4, 5].map(() => listApiKeys(old)))
    for (const rows of seen)
      assert.deepEqual(
        rows.map(({ key_id }) => key_id),
        ['before'],
      )
    await old.write([insertApiKey(old, keyRow('after'))])
    const restarted = await opened(context, { url })
    assert.deepEqual(await idsIn(restarted), ['after', 'before'])
    const breaking = {
      version: newest + 2,
      worksSince: newest + 1,
      sql: 'ALTER TABLE api_keys DROP COLUMN colour',
    }
    await prepare(url, [...postgresMigrations, added, breaking])
    await assert.rejects(openPostgres({ url }), SchemaTooNew)
  })

  test('the clock is the one of the database', async (context) => {
    const database = await openPostgres({ url: await server.freshUrl(), poolSize: 1 })
    context.after(() => database.close())
    const { clock } = database
    assert.ok(Math.abs(clock.wallMs() - Date.now()) < 500)
  })

  test('a batch of many statements costs one round trip, as a read does', async (context) => {
    const url = await server.freshUrl()
    const proxy = await startProxy(Number(new URL(url).port))
    context.after(() => proxy.close())
    const through = url.replace(/:\d+\//, `:${proxy.port}/`)
    const database = await opened(context, { url: through, poolSize: 1 })
    const batch = (round: string) => [
      ...['a', 'b', 'c', 'd'].map((id) => insertApiKey(database, keyRow(round + id))),
      revokeApiKey(database, `${round}a`, 5),
    ]
    await database.write(batch('warm'))
    await database.read(database.build.selectFrom('api_keys').select('key_id'))
    proxy.delayMs = 100
    const timed = async (work: () => Promise<unknown>): Promise<number> => {
      const started = performance.now()
      await work()
      return performance.now() - started
    }
    const least = async (work: (round: number) => Promise<unknown>): Promise<number> =>
      Math.min(await timed(() => work(1)), await timed(() => work(2)), await timed(() => work(3)))
    const read = await least(() => idsIn(database))
    const write = await least((round) => database.write(batch(`then${round}`)))
    proxy.delayMs = 0
    assert.ok(read >= 190, `the line is slow: ${read} ms`)
    assert.ok(write < 1.8 * read, `${write} ms beside ${read} ms`)
  })

  test('a COMMIT whose answer was lost is service_unavailable and may have been written; the next write goes on', async (context) => {
    const url = await server.freshUrl()
    const proxy = await startProxy(Number(new URL(url).port))
    context.after(() => proxy.close())
    const database = await opened(context, { url: url.replace(/:\d+\//, `:${proxy.port}/`) })
    await database.write([insertApiKey(database, keyRow('warm'))])
    proxy.onSent = (data) => data.includes('lost')
    const batch = ['lost', 'lost too'].map((id) => insertApiKey(database, keyRow(id)))
    await assert.rejects(database.write(batch), isUnavailable)
    proxy.onSent = undefined
    assert.deepEqual(await database.write([insertApiKey(database, keyRow('next'))]), { written: true })
    assert.deepEqual(await idsIn(database), ['lost', 'lost too', 'next', 'warm'])
  })

  test('a batch that the server undid to end a deadlock is written at the next try', async (context) => {
    const url = await server.freshUrl({ deadlock_timeout: '4s' }) // it is looked for once, that long after the wait began
    const database = await opened(context, { url, answerMs: 30_000 })
    const other = await beside(context, url)
    await other.query(`SET deadlock_timeout = '1h'`) // so that it is the batch that is undone
    await database.write(['a', 'b'].map((id) => insertApiKey(database, keyRow(id))))
    await other.query('BEGIN')
    await other.query(`UPDATE api_keys SET owner = 'other' WHERE key_id = 'b'`)
    const writing = database.write(['a', 'b'].map((id) => revokeApiKey(database, id, 5)))
    await eventually(async () => {
      const waits = `SELECT 1 FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()`
      assert.ok((await other.query(waits)).rowCount)
    })
    await other.query(`UPDATE api_keys SET owner = 'other' WHERE key_id = 'a'`)
    await other.query('COMMIT')
    assert.deepEqual(await writing, { written: true })
    await eventually(async () => {
      const { rows } = await other.query(
        'SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()',
      )
      assert.deepEqual(rows, [{ deadlocks: '1' }])
    }, 20_000)
  })

  test('case 73: a row that another has locked for longer than we wait is service_unavailable in bounded time', async (context) => {
    const url = await server.freshUrl()
    const database = await opened(context, { url, answerMs: 3_000 })
    await database.write([insertApiKey(database, keyRow('a')), insertApiKey(database, keyRow('b'))])
    const other = await beside(context, url)
    await other.query('BEGIN')
    await other.query(`SELECT 1 FROM api_keys WHERE key_id = 'a' FOR UPDATE`)
    const started = performance.now()
    await assert.rejects(database.write([revokeApiKey(database, 'a', 1)]), isUnavailable)
    assert.ok(performance.now() - started < 12_000)
    assert.deepEqual(await database.write([revokeApiKey(database, 'b', 1)]), { written: true })
    assert.deepEqual(await idsIn(database), ['a', 'b'])
    await other.query('COMMIT')
    assert.deepEqual(await database.write([revokeApiKey(database, 'a', 2)]), { written: true })
  })

  test('a server that is stopped is told of in bounded time, and used again by itself', async (context) => {
    const frozen = await startPostgres()
    context.after(() => frozen.remove())
    const database = await opened(context, { url: await frozen.freshUrl(), answerMs: 3_000 })
    await database.write([insertApiKey(database, keyRow('a'))])
    const all = frozen.processes()
    for (const pid of all) process.kill(pid, 'SIGSTOP')
    const started = performance.now()
    const asked = await Promise.allSettled([
      ...Array.from({ length: 30 }, (_, index) =>
        database.write([insertApiKey(database, keyRow(`s${index}`))]),
      ),
      idsIn(database),
      database.assertUsable(),
    ])
    const ms = performance.now() - started
    for (const pid of all) process.kill(pid, 'SIGCONT')
    assert.ok(asked.every((one) => one.status === 'rejected' && isUnavailable(one.reason)))
    assert.ok(ms < 12_000, `${ms} ms`)
    await eventually(() => database.assertUsable())
    assert.deepEqual(await database.write([insertApiKey(database, keyRow('z'))]), { written: true })
    assert.ok((await idsIn(database)).includes('z'))
  })

  test('a server that is killed under load loses nothing that it acknowledged, and is used again by itself', async (context) => {
    const mortal = await startPostgres()
    context.after(() => mortal.remove())
    const database = await opened(context, { url: await mortal.freshUrl(), answerMs: 3_000 })
    const acknowledged: string[] = []
    const refusals: unknown[] = []
    let going = true
    context.after(() => {
      going = false
    })
    const writer = async (name: string): Promise<void> => {
      for (let count = 0; going; count++) {
        const id = `${name}-${count}`
        try {
          const pair = [insertApiKey(database, keyRow(id)), revokeApiKey(database, id, 1)]
          if ((await database.write(pair)).written) acknowledged.push(id)
        } catch (error) {
          refusals.push(error)
          await sleep(20)
        }
      }
    }
    const writers = Array.from({ length: 8 }, (_, index) => writer(`w${index}`))
    for (const end of [() => mortal.kill(), () => mortal.stop(), () => mortal.kill()]) {
      const before = acknowledged.length
      await eventually(async () => assert.ok(acknowledged.length > before + 50))
      await end()
      await assert.rejects(database.assertUsable(), isUnavailable)
      await mortal.start()
    }
    const before = acknowledged.length
    await eventually(async () => assert.ok(acknowledged.length > before + 50))
    going = false
    await Promise.all(writers)
    assert.ok(refusals.length > 0 && refusals.every(isUnavailable))
    const rows = await database.read(
      database.build.selectFrom('api_keys').select(['key_id', 'revoked_at_ms']),
    )
    const there = new Set(rows.map((row) => row.key_id))
    assert.deepEqual(
      acknowledged.filter((id) => !there.has(id)),
      [],
    )
    assert.ok(
      rows.every((row) => row.revoked_at_ms === 1),
      'no batch is there by half',
    )
  })

  test('a connection that the server ends costs at most the query that was on it', async (context) => {
    const url = await server.freshUrl()
    const database = await opened(context, { url })
    await database.write([insertApiKey(database, keyRow('a'))])
    await idsIn(database)
    const admin = await beside(context, url)
    await admin.query(
      'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
    )
    const others = `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`
    await eventually(async () => assert.deepEqual((await admin.query(others)).rows, []))
    await sleep(200)
    assert.deepEqual(await idsIn(database), ['a'])
    assert.deepEqual(await database.write([insertApiKey(database, keyRow('b'))]), { written: true })
  })

  test('lists, searches and sweeps go down an index', async (context) => {
    const url = await server.freshUrl()
    const database = await opened(context, { url })
    const admin = await beside(context, url)
    const { build } = database
    const queries = {
      assets_by_words: database.texts
        .find({
          workspace: 'w',
          kind: 'image',
          words: [{ text: 'x', isPrefix: false }],
          before: null,
          limit: 10,
        })
        .compile(build),
      direct_uploads_held: build
        .selectFrom('direct_uploads')
        .select('asset_id')
        .where('token', '=', 't')
        .compile(),
      assets_of_workspace: build
        .selectFrom('assets')
        .select('asset_id')
        .where('workspace', '=', 'w')
        .where('state', '=', 'completed')
        .orderBy('completed_at_ms', 'desc')
        .orderBy('asset_id', 'desc')
        .limit(3)
        .compile(),
    }
    await admin.query('SET enable_seqscan = off')
    for (const [index, { sql, parameters }] of Object.entries(queries)) {
      const text = index === 'assets_by_words' ? sql.replace(/^\(|\)$/g, '') : sql
      const { rows } = await admin.query(`EXPLAIN ${text}`, [...parameters])
      assert.match(JSON.stringify(rows), new RegExp(index))
    }
  })
})
