import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, type TestContext, test } from 'node:test'
import { sql } from 'kysely'
import { Fault } from '../errors.ts'
import { type ApiKeyRow, findApiKey, insertApiKey, listApiKeys, revokeApiKey } from '../records/api-keys.ts'
import { type Database, type Step, step } from '../records/database.ts'
import { migrations } from '../records/migrations.ts'
import { openSqlite } from './sqlite.ts'
import { migrate, openForWriting, SchemaTooNew } from './sqlite-connection.ts'

const folder = mkdtempSync(join(tmpdir(), 'assetd-sqlite-'))
after(() => rmSync(folder, { recursive: true }))

let files = 0
const freshPath = (): string => join(folder, `${files++}.sqlite`)

async function opened(context: TestContext, path = freshPath()): Promise<Database> {
  const database = await openSqlite(path)
  context.after(() => database.close())
  return database
}

function keyRow(key_id: string, owner = 'o'): ApiKeyRow {
  const none = { expires_at_ms: null, last_used_at_ms: null, revoked_at_ms: null }
  return { key_id, secret_hash: 'h', workspace: 'w', owner, scopes: '', created_at_ms: 1, ...none }
}

const idsIn = async (database: Database): Promise<string[]> =>
  (await listApiKeys(database)).map((row) => row.key_id)

/** A statement that the database refuses: a NOT NULL column is null. */
function failing(database: Database): Step {
  const query = database.build.insertInto('api_keys').values({ ...keyRow('bad'), owner: sql<string>`NULL` })
  return step(query)
}

const isUnavailable = (error: unknown): boolean =>
  error instanceof Fault && error.code === 'service_unavailable' && (error.retryAfterSeconds ?? 0) >= 1

/** Opens the file beside the service, to look at it. */
function look<T>(path: string, work: (connection: DatabaseSync) => T): T {
  const connection = new DatabaseSync(path)
  try {
    return work(connection)
  } finally {
    connection.close()
  }
}

/** Five seconds of waiting for a lock, beside the other tests: the last one looks at what came of it. */
const lockedOut = (async () => {
  const path = freshPath()
  const database = await openSqlite(path)
  const other = new DatabaseSync(path)
  other.exec('BEGIN IMMEDIATE')
  const started = performance.now()
  const write = await database.write([insertApiKey(database, keyRow('a'))]).then(
    () => null,
    (error: unknown) => error,
  )
  const waitedMs = performance.now() - started
  const meanwhile = await idsIn(database)
  other.exec('ROLLBACK')
  other.close()
  const afterwards = await database.write([insertApiKey(database, keyRow('b'))])
  await database.close()
  return { write, waitedMs, meanwhile, afterwards }
})()

test('a fresh file gets the whole schema, and can be opened again', async (context) => {
  const path = freshPath()
  const first = await openSqlite(path)
  await first.write([insertApiKey(first, keyRow('a'))])
  await first.close()
  assert.equal(
    look(path, (file) => file.prepare('PRAGMA user_version').get()?.user_version),
    migrations.length,
  )
  const second = await opened(context, path)
  assert.deepEqual({ ...(await findApiKey(second, 'a')) }, keyRow('a'))
  assert.equal(await findApiKey(second, 'b'), null)
})

test('F66: the writer of the service itself runs with WAL and synchronous=FULL', async (context) => {
  const path = freshPath()
  const database = await opened(context, path)
  const seen = sql<string>`(SELECT journal_mode FROM pragma_journal_mode) || ' ' || (SELECT synchronous FROM pragma_synchronous)`
  await database.write([step(database.build.insertInto('api_keys').values({ ...keyRow('a'), owner: seen }))])
  assert.equal((await findApiKey(database, 'a'))?.owner, 'wal 2')
})

test('a connection for writing: every setting that durability rests on', () => {
  const connection = openForWriting(freshPath())
  const setting = (name: string): unknown =>
    Object.values(connection.prepare(`PRAGMA ${name}`).get() ?? {})[0]
  assert.equal(setting('journal_mode'), 'wal')
  assert.equal(setting('synchronous'), 2)
  assert.equal(setting('busy_timeout'), 5_000)
  assert.equal(setting('fullfsync'), 1)
  assert.equal(setting('checkpoint_fullfsync'), 1)
  connection.close()
})

test('a batch is written whole, and can be read once its promise resolves', async (context) => {
  const database = await opened(context)
  const batch = ['a', 'b', 'c'].map((id) => insertApiKey(database, keyRow(id)))
  assert.deepEqual(await database.write(batch), { written: true })
  assert.deepEqual(await idsIn(database), ['a', 'b', 'c'])
  assert.deepEqual(await database.write([]), { written: true })
})

test('a statement that had to change a row and did not undoes the whole batch, and is named', async (context) => {
  const database = await opened(context)
  const outcome = await database.write([
    insertApiKey(database, keyRow('a')),
    insertApiKey(database, keyRow('b')),
    revokeApiKey(database, 'not there', 5),
    insertApiKey(database, keyRow('c')),
  ])
  assert.deepEqual(outcome, { written: false, failedStep: 2 })
  assert.deepEqual(await idsIn(database), [])
})

test('a statement sees what those before it in the batch wrote', async (context) => {
  const database = await opened(context)
  const batch = [insertApiKey(database, keyRow('a')), revokeApiKey(database, 'a', 5)]
  assert.deepEqual(await database.write(batch), { written: true })
  assert.equal((await findApiKey(database, 'a'))?.revoked_at_ms, 5)
  assert.deepEqual(await database.write([revokeApiKey(database, 'a', 6)]), { written: false, failedStep: 0 })
})

test('a statement that need not change a row may change none', async (context) => {
  const database = await opened(context)
  const { query } = revokeApiKey(database, 'not there', 5)
  assert.deepEqual(await database.write([{ query }]), { written: true })
})

test('a thousand batches at once: each is decided by itself, in the order they were given', async (context) => {
  const database = await opened(context)
  const outcomes = await Promise.all(
    Array.from({ length: 1_000 }, (_, index) => {
      const id = String(Math.floor(index / 2)).padStart(4, '0')
      const insert = insertApiKey(database, keyRow(id))
      // The even ones insert and revoke; the odd ones revoke the same key again, which must fail.
      const more = insertApiKey(database, keyRow(`never-${id}`))
      return database.write(
        index % 2 === 0 ? [insert, revokeApiKey(database, id, 1)] : [more, revokeApiKey(database, id, 2)],
      )
    }),
  )
  for (const [index, outcome] of outcomes.entries())
    assert.deepEqual(outcome, index % 2 === 0 ? { written: true } : { written: false, failedStep: 1 })
  const rows = await listApiKeys(database)
  assert.equal(rows.length, 500)
  assert.ok(rows.every((row) => row.revoked_at_ms === 1))
})

test('of fifty that claim one row at once, one wins', async (context) => {
  const database = await opened(context)
  await database.write([insertApiKey(database, keyRow('a'))])
  const all = Array.from({ length: 50 }, (_, index) => database.write([revokeApiKey(database, 'a', index)]))
  const won = (await Promise.all(all)).filter((outcome) => outcome.written)
  assert.equal(won.length, 1)
})

test('a statement that the database refuses is service_unavailable, and nothing of its batch is written', async (context) => {
  const database = await opened(context)
  await assert.rejects(
    database.write([insertApiKey(database, keyRow('a')), failing(database)]),
    isUnavailable,
  )
  assert.deepEqual(await idsIn(database), [])
  assert.deepEqual(await database.write([insertApiKey(database, keyRow('b'))]), { written: true })
})

test('a refused statement takes no other batch with it: each has a savepoint of its own', async (context) => {
  const database = await opened(context)
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

test('a read that cannot be done is service_unavailable', async (context) => {
  const database = await opened(context)
  const broken = database.build.selectFrom('api_keys').select(sql<number>`no_such_column`.as('x'))
  await assert.rejects(database.read(broken), isUnavailable)
})

test('reads cannot write', async (context) => {
  const database = await opened(context)
  const insert = database.build.insertInto('api_keys').values(keyRow('a')).returning('key_id')
  await assert.rejects(database.read(insert), isUnavailable)
  assert.deepEqual(await idsIn(database), [])
})

test('values are bound: quotes and NUL come back as they were', async (context) => {
  const database = await opened(context)
  const id = `'; DROP TABLE api_keys; -- "é☃`
  await database.write([insertApiKey(database, keyRow(id))])
  assert.deepEqual(await idsIn(database), [id])
})

test('after close, writes and reads are service_unavailable; those under way are written', async () => {
  const path = freshPath()
  const database = await openSqlite(path)
  const underWay = database.write([insertApiKey(database, keyRow('a'))])
  await database.close()
  assert.deepEqual(await underWay, { written: true })
  await assert.rejects(database.write([insertApiKey(database, keyRow('b'))]), isUnavailable)
  await assert.rejects(idsIn(database), isUnavailable)
  assert.equal(
    look(path, (file) => file.prepare('SELECT count(*) AS n FROM api_keys').get()?.n),
    1,
  )
})

test('two that open one fresh file at once both have it, with the schema made once', async (context) => {
  for (let round = 0; round < 4; round++) {
    const path = freshPath()
    const [first, second] = await Promise.all([opened(context, path), opened(context, path)])
    const writes = Array.from({ length: 40 }, (_, index) => {
      const database = index % 2 === 0 ? first : second
      return database.write([insertApiKey(database, keyRow(`k${String(index).padStart(2, '0')}`))])
    })
    await Promise.all(writes)
    assert.equal((await idsIn(first)).length, 40)
    assert.deepEqual(await idsIn(second), await idsIn(first))
  }
})

test('of two on one file that claim one row, one wins', async (context) => {
  const path = freshPath()
  const [first, second] = await Promise.all([opened(context, path), opened(context, path)])
  await first.write([insertApiKey(first, keyRow('a'))])
  const outcomes = await Promise.all([
    first.write([revokeApiKey(first, 'a', 1)]),
    second.write([revokeApiKey(second, 'a', 2)]),
  ])
  assert.equal(outcomes.filter((outcome) => outcome.written).length, 1)
})

test('N102: a file of a newer assetd is not opened, not changed, and the message says what to do', async () => {
  const path = freshPath()
  await (await openSqlite(path)).close()
  look(path, (file) => file.exec(`PRAGMA user_version = ${migrations.length + 1}`))
  await assert.rejects(
    openSqlite(path),
    (error) => error instanceof SchemaTooNew && /run the newer assetd/.test(error.message),
  )
  assert.equal(
    look(path, (file) => file.prepare('PRAGMA user_version').get()?.user_version),
    migrations.length + 1,
  )
})

test('a file that is no database, and a folder that is not there, are told', async () => {
  const path = freshPath()
  writeFileSync(path, 'this is no database, but long enough to be looked at. '.repeat(100))
  await assert.rejects(openSqlite(path), /not a database/)
  await assert.rejects(openSqlite(join(folder, 'none', 'x.sqlite')), /unable to open/)
})

test('F68: a migration that was cut off is taken again, whole', () => {
  const path = freshPath()
  const cut = openForWriting(path)
  cut.exec(`BEGIN IMMEDIATE; ${migrations[0]}`)
  cut.close() // before its COMMIT, as a killed process would
  const connection = openForWriting(path)
  migrate(connection)
  migrate(connection)
  assert.equal(connection.prepare('PRAGMA user_version').get()?.user_version, migrations.length)
  assert.equal(connection.prepare('PRAGMA integrity_check').get()?.integrity_check, 'ok')
  assert.equal(connection.isTransaction, false)
  connection.close()
})

test('a migration that fails changes nothing and is told', () => {
  const connection = openForWriting(freshPath())
  connection.exec('CREATE TABLE token_issuer (x)') // the last table of the first step
  assert.throws(() => migrate(connection), /already exists/)
  const tables = connection.prepare(`SELECT name FROM sqlite_schema WHERE type = 'table'`).all()
  assert.deepEqual(
    tables.map((table) => table.name),
    ['token_issuer'],
  )
  assert.equal(connection.prepare('PRAGMA user_version').get()?.user_version, 0)
  connection.close()
})

test('H73: a file that another process has locked for longer than we wait is service_unavailable; reads go on', async () => {
  const { write, waitedMs, meanwhile, afterwards } = await lockedOut
  assert.ok(isUnavailable(write))
  assert.ok(waitedMs > 4_000 && waitedMs < 12_000, `${waitedMs} ms`)
  assert.deepEqual(meanwhile, [])
  assert.deepEqual(afterwards, { written: true })
})
