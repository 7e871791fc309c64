/**
 * How long PostgreSQL takes for what an upload and a reader ask of it, with few rows and with many. The rows are made
 * by one statement, with the indexes built afterwards, in a cluster of our own with the settings that Debian gives it.
 */
import { createHash, randomInt } from 'node:crypto'
import { Client } from 'pg'
import { openPostgres } from '../src/adapters/postgres.ts'
import { newAssetId, randomName } from '../src/asset.ts'
import { completePending, insertPending } from '../src/records/assets.ts'
import type { Database } from '../src/records/database.ts'
import { claimKey, type findKey, type KeyScope, keepAnswer } from '../src/records/idempotency-keys.ts'
import { findAsset, listAssets, searchAssets } from '../src/records/library.ts'
import { startPostgres } from '../test/scale/postgres.ts'
import { percentile, shown, table } from './figures.ts'
import { open } from './scale-load.ts'

const workspace = 'default'
const firstMs = 1_700_000_000_000
const limit = 21

/** The id of the row of that number, in SQL and here alike; as far apart from the next one's as ours are. */
const idInSql = `'asset_' || left(md5('a' || i), 26)`

/** Of the trigger's words without its way to them, which would take an hour for ten million names. */
const fill = (rows: number): string[] => [
  // The trigger is for updates of the state; here a row comes as it is when it is completed.
  ...[
    'assets_of_workspace',
    'assets_of_owner',
    'assets_by_completion',
    'assets_by_words',
    'assets_pending',
  ].map((index) => `DROP INDEX ${index}`),
  'ALTER TABLE assets DROP CONSTRAINT assets_pkey, DROP CONSTRAINT assets_blob_key_key',
  `INSERT INTO assets (asset_id, workspace, owner, state, token, service_id, blob_key, created_at_ms, name, media_type,
       size_bytes, sha256, width, height, completed_at_ms, completed_order, words)
     SELECT ${idInSql}, '${workspace}', 'owner' || i % 7, 'completed', left(md5('t' || i), 26), left(md5('s'), 26),
       left(md5('b' || i), 26), ${firstMs} + i, word[1 + i % 10] || ' ' || word[1 + (i / 8) % 10] || ' ' || i || '.png',
       type, 100000, md5('x' || i) || md5('y' || i), 640, 480, ${firstMs} + i, nextval('assets_completion'),
       array_to_tsvector(ARRAY[CASE type WHEN 'png' THEN image ELSE other END, word[1 + i % 10],
         word[1 + (i / 8) % 10], i::text, 'png', type, 'owner' || i % 7])
     FROM generate_series(1, ${rows}) AS i,
       LATERAL (SELECT CASE i % 2 WHEN 0 THEN 'png' ELSE 'mp4' END AS type) AS types,
       (SELECT '{beach,city,forest,portrait,drone,interview,logo,sunset,river,night}'::text[] AS word,
         assetd_scope('${workspace}', 'image') AS image, assetd_scope('${workspace}', 'other') AS other) AS fixed`,
  'ALTER TABLE assets ADD CONSTRAINT assets_pkey PRIMARY KEY (asset_id)',
  'ALTER TABLE assets ADD CONSTRAINT assets_blob_key_key UNIQUE (blob_key)',
  `CREATE INDEX assets_pending ON assets (created_at_ms) WHERE state = 'pending'`,
  'CREATE INDEX assets_of_workspace ON assets (workspace, state, completed_at_ms DESC, asset_id DESC)',
  'CREATE INDEX assets_of_owner ON assets (workspace, owner, state, completed_at_ms DESC, asset_id DESC)',
  'CREATE UNIQUE INDEX assets_by_completion ON assets (completed_order) WHERE completed_order IS NOT NULL',
  'CREATE INDEX assets_by_words ON assets USING gin (words)',
  // A day's answers, as many as there are assets, up to a million.
  `INSERT INTO idempotency_keys (workspace, route, key, token, service_id, lease_expires_at_ms, status, body,
       file_sha256, expires_at_ms)
     SELECT '${workspace}', 'POST /v3/assets', md5('k' || i), left(md5('t' || i), 26), left(md5('s'), 26), 0, 200,
       '{"data":{"asset_id":"' || ${idInSql} || '","url":"https://media.example.com/files/' || ${idInSql} ||
       '.png","mime_type":"image/png","size_bytes":100000}}', md5('x' || i) || md5('y' || i), 9000000000000
     FROM generate_series(1, ${Math.min(rows, 1_000_000)}) AS i`,
  'VACUUM ANALYZE',
]

type Work = { name: string; run(asked: Asked): Promise<unknown> }
type Asked = {
  database: Database
  rows: number
  anyId(): Promise<string>
  clock: Parameters<typeof findKey>[2]
}

type Reserved = { assetId: string; token: string; key: KeyScope }
const reserved: Reserved[] = []

const page = { workspace, owner: null, after: null, limit }
const search = { workspace, kind: 'image', before: null, limit } as const

const works: readonly Work[] = [
  {
    name: 'claim: the key and the reservation',
    async run({ database, clock }) {
      const [assetId, token] = [newAssetId(), randomName()]
      const key = { workspace, route: 'POST /v3/assets', key: randomName() }
      const leaseExpiresAtMs = clock.steadyMs() + 30_000
      const outcome = await database.write([
        claimKey(database, key, { token, serviceId: 'bench', leaseExpiresAtMs }, clock),
        insertPending(database, {
          asset_id: assetId,
          workspace,
          owner: 'owner1',
          token,
          service_id: 'bench',
          blob_key: randomName(),
          created_at_ms: clock.wallMs(),
          lease_expires_at_ms: leaseExpiresAtMs,
        }),
      ])
      if (!outcome.written) throw new Error('the claim was lost')
      reserved.push({ assetId, token, key })
    },
  },
  {
    name: 'commit: the record and the answer',
    async run({ database, clock }) {
      const held = reserved.shift()
      if (held === undefined) throw new Error('nothing is reserved')
      const facts = { type: 'png', name: `river night ${held.assetId}.png`, width: 1, height: 1 } as const
      const outcome = await database.write([
        completePending(database, held.assetId, held.token, {
          ...facts,
          sizeBytes: 100_000,
          sha256: '0'.repeat(64),
          completedAtMs: clock.wallMs(),
        }),
        keepAnswer(database, held.key, held.token, {
          status: 200,
          body: JSON.stringify({
            data: { asset_id: held.assetId, url: 'https://media.example.com/files/' },
          }).padEnd(220),
          file_sha256: '0'.repeat(64),
          expires_at_ms: clock.wallMs() + 86_400_000,
        }),
      ])
      if (!outcome.written) throw new Error('the commit was lost')
    },
  },
  {
    name: 'get, any asset',
    run: async ({ database, anyId }) => must(await findAsset(database, workspace, await anyId())),
  },
  {
    name: 'list, the first page',
    run: async ({ database }) => must((await listAssets(database, page))[limit - 1]),
  },
  {
    name: 'list, a page anywhere',
    async run({ database, rows, anyId }) {
      const after = { completedAtMs: firstMs + randomInt(rows >> 1, rows), assetId: await anyId() }
      must((await listAssets(database, { ...page, after }))[limit - 1])
    },
  },
  {
    name: 'list, of one owner',
    run: async ({ database }) => must((await listAssets(database, { ...page, owner: 'owner3' }))[limit - 1]),
  },
  {
    name: 'search, a common word',
    run: ({ database }) => searchAssets(database, { ...search, words: ['beach'] }),
  },
  {
    name: 'search, two common words',
    run: ({ database }) => searchAssets(database, { ...search, words: ['city', 'drone'] }),
  },
  {
    name: 'search, a rare word',
    run: ({ database, rows }) =>
      searchAssets(database, { ...search, words: [String(randomInt(1_000_000, 1_000_000 + rows))] }),
  },
]

/** Of one query, measured again and again. */
const longestMs = 30_000

function must(value: unknown): void {
  if (value === undefined || value === null) throw new Error('a row that must be there is not')
}

export type RecordsOptions = { rows: readonly number[]; times: number; say(text: string): void }

export async function measureRecords({ rows: counts, times, say }: RecordsOptions): Promise<string> {
  const columns: string[][] = []
  for (const rows of counts) columns.push(await column(rows, times, say))
  const names = ['', ...works.map(({ name }) => name), 'tables and indexes']
  return table(names.map((name, at) => [name, ...columns.map((cells) => cells[at] ?? '')]))
}

async function column(rows: number, times: number, say: (text: string) => void): Promise<string[]> {
  const server = await startPostgres({ max_wal_size: '4GB' })
  open.push(() => server.remove())
  try {
    const url = await server.freshUrl()
    await (await openPostgres({ url })).close() // makes the schema
    const client = new Client(url)
    await client.connect()
    await client.query(`SET maintenance_work_mem = '1GB'`)
    await client.query('SET synchronous_commit = off') // of this connection alone, while it fills the tables
    for (const statement of fill(rows)) {
      const startMs = performance.now()
      await client.query(statement)
      const seconds = (performance.now() - startMs) / 1_000
      if (seconds > 5)
        say(`${rows} rows: ${statement.slice(0, 60).replace(/\s+/g, ' ')}… took ${shown(seconds)} s`)
    }
    await client.query('CHECKPOINT')
    const size = await client.query<{ size: string }>(
      'SELECT pg_size_pretty(pg_database_size(current_database())) AS size',
    )
    const anyId = async (): Promise<string> => idOf(randomInt(1, rows + 1))
    const database = await openPostgres({ url })
    const cells = [`${rows.toLocaleString('en')} rows: p50 / p99`]
    for (const work of works) {
      const asked: Asked = { database, rows, anyId, clock: database.clock }
      const warmMs = performance.now() + longestMs / 10
      for (let at = 0; at < times / 10 && performance.now() < warmMs; at++) await work.run(asked)
      const taken: number[] = []
      const endMs = performance.now() + longestMs
      const walBefore = await walOf(client)
      for (let at = 0; at < times && performance.now() < endMs; at++) {
        const startMs = performance.now()
        await work.run(asked)
        taken.push(performance.now() - startMs)
      }
      const walBytes = ((await walOf(client)) - walBefore) / taken.length
      const wal = walBytes > 100 ? `, ${shown(walBytes / 1_000)} KB of WAL` : ''
      cells.push(`${shown(percentile(taken, 0.5))} / ${shown(percentile(taken, 0.99))} ms${wal}`)
      say(`${rows} rows, ${work.name}: ${cells.at(-1)}`)
    }
    await database.close()
    await client.end()
    return [...cells, size.rows[0]?.size ?? '']
  } finally {
    await server.remove()
  }
}

/** How much PostgreSQL has written to its log in its life. */
async function walOf(client: Client): Promise<number> {
  const { rows } = await client.query<{ bytes: string }>(`SELECT pg_current_wal_lsn() - '0/0' AS bytes`)
  return Number(rows[0]?.bytes)
}

function idOf(row: number): string {
  return `asset_${createHash('md5').update(`a${row}`).digest('hex').slice(0, 26)}`
}
