/**
 * `npm run bench:library`: get, list (the first page and the thousandth) and search, beside each other on a thousand
 * assets and on a million. Prints each ratio, and how SQLite finds the rows.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { openSqlite } from '../src/adapters/sqlite.ts'
import type { Compilable, Database } from '../src/records/database.ts'
import { findAsset, listAssets, type Position, searchAssets } from '../src/records/library.ts'

const workspace = 'default'
const pageSize = 20
const rounds = 400
const words = [
  'beach',
  'city',
  'forest',
  'portrait',
  'drone',
  'interview',
  'logo',
  'sunset',
  'river',
  'night',
]

/** Fills the tables as the service would, in one transaction. */
function fill(path: string, count: number): void {
  const database = new DatabaseSync(path)
  database.exec('PRAGMA synchronous = OFF; BEGIN')
  const insert = database.prepare(
    `INSERT INTO assets (asset_id, workspace, owner, state, token, service_id, blob_key, created_at_ms, name,
                         media_type, size_bytes, sha256, width, height, completed_at_ms)
     VALUES (?, ?, ?, 'pending', 't', 's', ?, ?, ?, ?, 1000, 'h', 640, 480, ?)`,
  )
  const complete = database.prepare(`UPDATE assets SET state = 'completed' WHERE asset_id = ?`)
  for (let at = 0; at < count; at++) {
    const id = idOf(at)
    const name = `${words[at % 10]} ${words[(at >> 3) % 10]} ${at}.png`
    const type = at % 2 === 0 ? 'png' : 'mp4'
    insert.run(id, workspace, `owner${at % 7}`, `blob${at}`, at, name, type, 1_700_000_000_000 + at)
    complete.run(id)
  }
  database.exec('COMMIT')
  database.close()
}

const idOf = (at: number): string => `asset_${(at * 2_654_435_761) % 4_294_967_296}_${at}`

type Work = { name: string; run(database: Database, count: number): Promise<unknown> }

const pages = new WeakMap<Database, Position>()

/** Where the thousandth page begins; of few assets the last one. */
async function thousandth(database: Database, count: number): Promise<Position> {
  const at = Math.max(0, count - Math.min(1_000 * pageSize, count - pageSize))
  return pages.get(database) ?? { completedAtMs: 1_700_000_000_000 + at, assetId: idOf(at) }
}

const page = { workspace, owner: null, after: null, limit: pageSize + 1 }
const search = { workspace, kind: 'image', before: null, limit: pageSize + 1 } as const
const works: readonly Work[] = [
  { name: 'get', run: (database, count) => findAsset(database, workspace, idOf(count >> 1)) },
  { name: 'list, first page', run: (database) => listAssets(database, page) },
  {
    name: 'list, page 1,000',
    run: async (database, count) =>
      listAssets(database, { ...page, after: await thousandth(database, count) }),
  },
  { name: 'list of one owner', run: (database) => listAssets(database, { ...page, owner: 'owner3' }) },
  {
    name: 'search, a common word',
    run: (database) => searchAssets(database, { ...search, words: ['beach'] }),
  },
  {
    name: 'search, two words',
    run: (database) => searchAssets(database, { ...search, words: ['city', 'drone'] }),
  },
  { name: 'search, a beginning', run: (database) => searchAssets(database, { ...search, words: ['fore'] }) },
  { name: 'search, a rare word', run: (database) => searchAssets(database, { ...search, words: ['500'] }) },
  {
    name: 'search, found six times',
    run: (database, count) => searchAssets(database, { ...search, words: [count > 1_000 ? '50012' : '50'] }),
  },
  {
    name: 'search, found once',
    run: (database, count) =>
      searchAssets(database, { ...search, words: [count > 1_000 ? '500124' : '500'] }),
  },
  { name: 'search, no such word', run: (database) => searchAssets(database, { ...search, words: ['zzz'] }) },
]

/** Median of one read, in microseconds. */
async function medianUs(times: number, work: () => Promise<unknown>): Promise<number> {
  const taken: number[] = []
  for (let at = 0; at < times; at++) {
    const start = performance.now()
    await work()
    taken.push(performance.now() - start)
  }
  return (taken.toSorted((a, b) => a - b)[times >> 1] ?? 0) * 1_000
}

/** The plan of each statement that a work runs. */
async function plansOf(path: string, work: Work, database: Database, count: number): Promise<string[]> {
  const seen: string[] = []
  const connection = new DatabaseSync(path, { readOnly: true })
  const watching: Database = {
    ...database,
    read<Row>(query: Compilable<Row>) {
      const { sql, parameters } = query.compile()
      const rows = connection.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...(parameters as never[]))
      for (const { detail } of rows) seen.push(String(detail))
      return database.read(query)
    },
  }
  await work.run(watching, count)
  connection.close()
  return seen
}

const folder = mkdtempSync(join(tmpdir(), 'assetd-library-'))
try {
  const opened = []
  for (const count of [1_000, 1_000_000]) {
    const path = join(folder, `${count}.sqlite`)
    await (await openSqlite(path)).close()
    fill(path, count)
    opened.push({ count, path, database: await openSqlite(path) })
  }
  const [few, many] = opened
  if (few === undefined || many === undefined) throw new Error('nothing was opened')
  console.log('read                       1,000 rows   1,000,000 rows   ratio (median of 5, least to most)')
  for (const work of works) {
    const ratios: number[] = []
    const both: [number[], number[]] = [[], []]
    for (let round = 0; round < 5; round++) {
      const small = await medianUs(rounds, () => work.run(few.database, few.count))
      const large = await medianUs(rounds, () => work.run(many.database, many.count))
      both[0].push(small)
      both[1].push(large)
      ratios.push(large / small)
    }
    const [small, large, ratio] = [...both, ratios].map((some) => some.toSorted((a, b) => a - b))
    const columns = [
      work.name.padEnd(24),
      `${small?.[2]?.toFixed(0)} µs`.padStart(12),
      `${large?.[2]?.toFixed(0)} µs`.padStart(16),
      `${ratio?.[2]?.toFixed(2)} (${ratio?.[0]?.toFixed(2)} to ${ratio?.[4]?.toFixed(2)})`.padStart(24),
    ]
    console.log(columns.join(' '))
  }
  console.log('\nHow SQLite finds the rows:')
  for (const work of works)
    for (const plan of await plansOf(many.path, work, many.database, many.count))
      console.log(`${work.name}: ${plan}`)
  for (const { database } of opened) await database.close()
} finally {
  rmSync(folder, { recursive: true })
}
