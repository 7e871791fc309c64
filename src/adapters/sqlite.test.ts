import assert from 'node:assert/strict'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, type TestContext, test } from 'node:test'
import { sql } from 'kysely'
import { idsIn, isUnavailable, keyRow } from '../../test/contract/database.ts'
import { findApiKey, insertApiKey } from '../records/api-keys.ts'
import { type Database, SchemaTooNew, step } from '../records/database.ts'
import { migrations } from '../records/migrations.ts'
import { openSqlite } from './sqlite.ts'
import { migrate, openForWriting } from './sqlite-connection.ts'

const folder = mkdtempSync(join(tmpdir(), 'assetd-sqlite-'))
after(() => rmSync(folder, { recursive: true }))

let files = 0
const freshPath = (): string => join(folder, `${files++}.sqlite`)

async function opened(context: TestContext, path = freshPath()): Promise<Database> {
  const database = await openSqlite(path)
  context.after(() => database.close())
  return database
}

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

test('a fresh file gets the whole schema', async () => {
  const path = freshPath()
  await (await openSqlite(path)).close()
  assert.equal(
    look(path, (file) => file.prepare('PRAGMA user_version').get()?.user_version),
    migrations.length,
  )
})

test('case 66: the writer of the service itself runs with WAL and synchronous=FULL', async (context) => {
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

test('case 102: a file of a newer assetd is not opened, not changed, and the message says what to do', async () => {
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

test('case 68: a migration that was cut off is taken again, whole', () => {
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

test('what cannot be sent to the writer is refused, and no statement is taken for another afterwards', async (context) => {
  const database = await opened(context)
  const { query } = insertApiKey(database, keyRow('a'))
  const unsendable = { query: { ...query, parameters: [() => {}] } }
  await assert.rejects(database.write([unsendable]), isUnavailable)
  const build = database.build.updateTable('api_keys')
  const other = step(build.set({ owner: 'changed' }))
  const nonsense = step(build.set({ owner: sql<string>`nothing.like_this` }))
  await assert.rejects(database.write([nonsense, other]), isUnavailable)
  assert.deepEqual(await database.write([insertApiKey(database, keyRow('b'))]), { written: true })
  assert.deepEqual(await idsIn(database), ['b'])
  await assert.rejects(database.write([nonsense]), isUnavailable)
  assert.deepEqual(await database.write([other]), { written: true })
  assert.deepEqual(await idsIn(database), ['b'])
})

test('case 73: a file that another process has locked for longer than we wait is service_unavailable; reads go on', async () => {
  const { write, waitedMs, meanwhile, afterwards } = await lockedOut
  assert.ok(isUnavailable(write))
  assert.ok(waitedMs > 4_000 && waitedMs < 12_000, `${waitedMs} ms`)
  assert.deepEqual(meanwhile, [])
  assert.deepEqual(afterwards, { written: true })
})

for (const [what, damage] of [
  ['deleted', (path: string) => rmSync(path)],
  [
    'replaced',
    (path: string) => {
      renameSync(path, `${path}.old`)
      writeFileSync(path, '')
    },
  ],
  ['robbed of its write-ahead log', (path: string) => rmSync(`${path}-wal`)],
] as const) {
  test(`case 73: once the file was ${what} no write is acknowledged, and the database says so of itself`, async (context) => {
    const path = freshPath()
    const database = await opened(context, path)
    await database.write([insertApiKey(database, keyRow('before'))])
    await database.assertUsable()
    damage(path)
    await assert.rejects(database.write([insertApiKey(database, keyRow('after'))]), isUnavailable)
    await assert.rejects(database.assertUsable(), isUnavailable)
  })
}

test('case 73: a database that another process has locked is not usable, and is told so within about a second', async (context) => {
  const path = freshPath()
  const database = await opened(context, path)
  const other = new DatabaseSync(path)
  other.exec('BEGIN IMMEDIATE')
  const started = performance.now()
  await assert.rejects(database.assertUsable(), isUnavailable)
  assert.ok(performance.now() - started < 4_000, 'not after the busy timeout of five seconds')
  other.exec('ROLLBACK')
  other.close()
  await database.assertUsable()
})
