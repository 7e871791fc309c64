/** The embedded database: `node:sqlite`, writing in a thread of its own, reading here on a read-only connection. */
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { Worker } from 'node:worker_threads'
import { DummyDriver, Kysely, SqliteAdapter, SqliteIntrospector, SqliteQueryCompiler } from 'kysely'
import { Fault } from '../errors.ts'
import type { Compilable, Database, Outcome, Step } from '../records/database.ts'
import type { Tables } from '../records/schema.ts'
import { SchemaTooNew } from './sqlite-connection.ts'
import type { WireStep, WriterReply, WriterRequest } from './sqlite-writer.ts'

const build = new Kysely<Tables>({
  dialect: {
    createAdapter: () => new SqliteAdapter(),
    createDriver: () => new DummyDriver(),
    createIntrospector: (database) => new SqliteIntrospector(database),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  },
})

type Waiting = { resolve: (outcome: Outcome) => void; reject: (error: Fault) => void }

/**
 * Opens the database file, made and brought up to date where need be.
 * @throws {SchemaTooNew} where a newer assetd wrote it
 */
export async function openSqlite(path: string): Promise<Database> {
  const writer = await startWriter(path)
  const reader = new DatabaseSync(path, { readOnly: true })
  reader.exec('PRAGMA busy_timeout = 1000')
  const prepared = new Map<string, StatementSync>()
  const waiting = new Map<number, Waiting>()
  let nextId = 1
  let dead = false

  writer.on('message', (reply: WriterReply) => {
    if ('results' in reply) {
      for (const result of reply.results) {
        const one = settle(waiting, result.id)
        if ('outcome' in result) one?.resolve(result.outcome)
        else one?.reject(unavailable(result.refused))
      }
    } else if ('failed' in reply) {
      for (const id of reply.failed.ids) settle(waiting, id)?.reject(unavailable(reply.failed.message))
    }
  })
  const die = (cause: unknown): void => {
    dead = true
    for (const id of [...waiting.keys()]) settle(waiting, id)?.reject(unavailable(cause))
  }
  writer.on('error', die)
  writer.on('exit', () => die('the writer has ended'))

  return {
    build,
    async read<Row>(query: Compilable<Row>): Promise<Row[]> {
      const { sql, parameters } = query.compile()
      try {
        let statement = prepared.get(sql)
        if (statement === undefined) {
          statement = reader.prepare(sql)
          prepared.set(sql, statement)
        }
        return statement.all(...(parameters as SQLInputValue[])) as Row[]
      } catch (error) {
        throw unavailable(error)
      }
    },
    write(batch: readonly Step[]): Promise<Outcome> {
      if (dead) return Promise.reject(unavailable('the writer has ended'))
      const id = nextId++
      const request: WriterRequest = { id, batch: batch.map(toWire) }
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject })
        writer.postMessage(request)
      })
    },
    async close(): Promise<void> {
      reader.close() // first: the last connection to close folds the write-ahead log back into the file
      if (dead) return
      const ended = new Promise((resolve) => writer.once('exit', resolve))
      writer.postMessage({ close: true } satisfies WriterRequest)
      await ended
    },
  }
}

function startWriter(path: string): Promise<Worker> {
  const writer = new Worker(new URL('./sqlite-writer.ts', import.meta.url), { workerData: { path } })
  return new Promise((resolve, reject) => {
    writer.once('error', reject)
    writer.once('message', (reply: WriterReply) => {
      writer.off('error', reject)
      if (!('failedToOpen' in reply)) return resolve(writer)
      const { name, message } = reply.failedToOpen
      reject(name === 'SchemaTooNew' ? new SchemaTooNew(message) : new Error(message))
    })
  })
}

function settle(waiting: Map<number, Waiting>, id: number): Waiting | undefined {
  const one = waiting.get(id)
  waiting.delete(id)
  return one
}

function toWire({ query, mustChange }: Step): WireStep {
  return { sql: query.sql, parameters: query.parameters as SQLInputValue[], mustChange: mustChange ?? false }
}

function unavailable(cause: unknown): Fault {
  return new Fault(
    'service_unavailable',
    'The database cannot be used at the moment. Nothing was stored. Retry shortly.',
    { retryAfterSeconds: 5, cause },
  )
}
