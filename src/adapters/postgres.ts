/**
 * PostgreSQL, for many copies of the service. A batch goes out whole, without waiting for an answer in between, and so
 * costs one round trip: a statement that had to change a row and did not raises an error, which undoes the batch.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { CompiledQuery } from 'kysely'
import { DatabaseError, Pool, type PoolClient, type PoolConfig, type QueryConfig } from 'pg'
import {
  type Compilable,
  type Database,
  databaseUnavailable,
  type Outcome,
  type Step,
} from '../records/database.ts'
import {
  DummyDriver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
} from '../records/kysely.ts'
import type { Tables } from '../records/schema.ts'
import { openSharedClock, type SharedClock } from './postgres-clock.ts'
import { clientConfig, prepare } from './postgres-connection.ts'
import { postgresTexts } from './postgres-texts.ts'

const build = new Kysely<Tables>({
  dialect: {
    createAdapter: () => new PostgresAdapter(),
    createDriver: () => new DummyDriver(),
    createIntrospector: (database) => new PostgresIntrospector(database),
    createQueryCompiler: () => new PostgresQueryCompiler(),
  },
})

export type PostgresOptions = {
  url: string
  /** Connections for each of the two pools, one that reads and one that writes. */
  poolSize?: number
  /** After so long a server that says nothing is left; it is told to give up a little earlier. */
  answerMs?: number
}

/** Who asks whether the database can be used wants to know now. */
const probeMs = 1_000

/** The server undid the batch to let another one through, and it may pass now: deadlock, serialization. */
const mayPassNow = new Set(['40P01', '40001'])
const attempts = 5

/**
 * Connects, and brings the schema up to date.
 * @throws {PostgresRefused} {SchemaTooNew}
 */
export async function openPostgres(options: PostgresOptions): Promise<Database & { clock: SharedClock }> {
  const { url, poolSize = 10, answerMs = 10_000 } = options
  await prepare(url)
  const config: PoolConfig = {
    ...clientConfig(url),
    pipeline: true,
    max: poolSize,
    idleTimeoutMillis: 60_000,
    statement_timeout: answerMs - Math.min(1_000, answerMs / 10),
  }
  const writers = poolOf(config)
  // A plan that suits every search suits none: the words decide which index is the short way.
  // And to compile one, or to start processes that share it, costs more than a query of some milliseconds.
  const plans = '-c plan_cache_mode=force_custom_plan -c jit=off -c max_parallel_workers_per_gather=0'
  const readerOptions = `-c default_transaction_read_only=on ${plans}`
  const readers = poolOf({ ...config, options: readerOptions })
  const underWay = new Set<Promise<unknown>>()
  let closed: Promise<void> | undefined

  async function using<T>(pool: Pool, ms: number, work: (client: PoolClient) => Promise<T>): Promise<T> {
    if (closed !== undefined) throw databaseUnavailable('the database has been closed')
    const running = onFreshPlans(poolSize, () => withClient(pool, ms, work))
    underWay.add(running)
    try {
      return await running
    } catch (error) {
      throw databaseUnavailable(error)
    } finally {
      underWay.delete(running)
    }
  }

  const clock = await openSharedClock(() =>
    using(readers, answerMs, async (client) => {
      const { rows } = await client.query('SELECT extract(epoch FROM clock_timestamp()) * 1000 AS now')
      return Number(rows[0].now)
    }),
  ).catch(async (error) => {
    await Promise.all([writers.end(), readers.end()])
    throw error
  })

  return {
    build,
    texts: postgresTexts,
    clock,
    read<Row>(query: Compilable<Row>): Promise<Row[]> {
      return using(readers, answerMs, async (client) => {
        const { rows } = await client.query(toQuery(query.compile()))
        return rows as Row[]
      })
    },
    write(batch: readonly Step[]): Promise<Outcome> {
      const queries = batch.map(toWrite)
      return using(writers, answerMs, (client) => runBatch(client, queries))
    },
    async assertUsable(): Promise<void> {
      // The second half asks of the primary that it still is one.
      const isWriter = `SELECT 1 / (NOT pg_is_in_recovery() AND NOT current_setting('transaction_read_only')::bool)::int`
      await using(writers, probeMs, (client) => client.query(isWriter))
      await using(readers, probeMs, (client) => client.query('SELECT id FROM token_issuer'))
    },
    close(): Promise<void> {
      clock.close()
      closed ??= Promise.allSettled(underWay)
        .then(() => Promise.all([writers.end(), readers.end()]))
        .then(() => {})
      return closed
    },
  }
}

function poolOf(config: PoolConfig): Pool {
  const pool = new Pool(config)
  pool.on('error', () => {}) // an idle connection ended: the pool has dropped it and will make another
  pool.on('connect', (client) => client.on('error', () => {})) // the queries that are on it fail with it
  return pool
}

/**
 * A copy of the next version has changed a table: what this connection had prepared no longer suits, so it goes, and
 * the work, of which nothing was done, is done on another one. Each connection may have such a statement.
 */
async function onFreshPlans<T>(poolSize: number, work: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (!isStale(error) || attempt > poolSize) throw error
    }
  }
}

function isStale(error: unknown): boolean {
  return error instanceof DatabaseError && error.code === '0A000' && /cached plan/.test(error.message)
}

/** Work that fails in any other way than by the server's word leaves a connection of which nothing is known. */
async function withClient<T>(pool: Pool, ms: number, work: (client: PoolClient) => Promise<T>): Promise<T> {
  let late = false
  let give: (() => void) | undefined
  let timer: NodeJS.Timeout | undefined
  const tooLate = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      late = true
      give?.()
      reject(new Error(`no answer within ${ms} ms`))
    }, ms)
  })
  const working = (async () => {
    const client = await pool.connect()
    if (late) {
      client.release()
      throw new Error('too late')
    }
    let isReleased = false
    const release = (destroy: boolean): void => {
      if (isReleased) return
      isReleased = true
      client.release(destroy)
    }
    give = () => release(true)
    try {
      const result = await work(client)
      release(false)
      return result
    } catch (error) {
      release(!(error instanceof DatabaseError) || isOfServer(error) || isStale(error))
      throw error
    }
  })()
  try {
    return await Promise.race([working, tooLate])
  } finally {
    clearTimeout(timer)
    working.catch(() => {}) // told already, by the timer
  }
}

/** It shuts down, fails over or can no longer write: what comes next is better tried on a new connection. */
function isOfServer({ code, severity }: DatabaseError): boolean {
  return (
    severity === 'FATAL' || severity === 'PANIC' || code === '25006' || (code?.startsWith('57P') ?? false)
  )
}

async function runBatch(client: PoolClient, queries: readonly QueryConfig[]): Promise<Outcome> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await runOnce(client, queries)
    } catch (error) {
      const again = error instanceof DatabaseError && mayPassNow.has(error.code ?? '')
      if (!again || attempt === attempts) throw error
      await sleep(Math.random() * 20 * 2 ** attempt) // else the same ones meet again
    }
  }
}

async function runOnce(client: PoolClient, queries: readonly QueryConfig[]): Promise<Outcome> {
  // One statement is a transaction of its own.
  const isOne = queries.length === 1
  const begin = isOne ? [] : [client.query('BEGIN')]
  const sent = queries.map((query) => client.query(query))
  const end = isOne ? [] : [client.query('COMMIT')]
  const [began, answers, ended] = await Promise.all([
    Promise.allSettled(begin),
    Promise.allSettled(sent),
    Promise.allSettled(end),
  ])
  for (const [index, answer] of [...began, ...answers].entries()) {
    if (answer.status === 'fulfilled') continue
    const failedStep = index - began.length
    if (answer.reason instanceof DatabaseError && answer.reason.code === 'AD000')
      return { written: false, failedStep }
    throw answer.reason
  }
  for (const answer of ended) {
    if (answer.status === 'rejected') throw answer.reason
    if (answer.value.command !== 'COMMIT') throw new Error(`COMMIT came to ${answer.value.command}`)
  }
  return { written: true }
}

function toWrite({ query, mustChange }: Step): QueryConfig {
  if (!mustChange) return toQuery(query)
  const text = `WITH changed AS (${query.sql} RETURNING 1) SELECT assetd_must_change(count(*)) FROM changed`
  return toQuery({ sql: text, parameters: query.parameters })
}

/** Statements that come again and again are parsed once for each connection; there are some that hardly ever do. */
const names = new Map<string, string>()
const mostNames = 200

function toQuery({ sql, parameters }: Pick<CompiledQuery, 'sql' | 'parameters'>): QueryConfig {
  let name = names.get(sql)
  if (name === undefined && names.size < mostNames) {
    name = `assetd_${names.size}`
    names.set(sql, name)
  }
  // PostgreSQL has no U+0000. What is written was looked at before; what is looked for with it is not there.
  const values = parameters.map((one) => (typeof one === 'string' ? one.replaceAll('\0', '\ufffd') : one))
  const query = { text: sql, values }
  return name === undefined ? query : { ...query, name }
}
