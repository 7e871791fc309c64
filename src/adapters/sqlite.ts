/** The embedded database: `node:sqlite`, writing in a thread of its own, reading here on a read-only connection. */

import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import type { Fault } from '../errors.ts'
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
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
} from '../records/kysely.ts'
import type { Tables } from '../records/schema.ts'
import { sqliteTexts } from './sqlite-texts.ts'
import { startWriter } from './sqlite-thread.ts'
import type { Job, WireStep, WriterReply, WriterRequest } from './sqlite-writer.ts'

const build = new Kysely<Tables>({
  dialect: {
    createAdapter: () => new SqliteAdapter(),
    createDriver: () => new DummyDriver(),
    createIntrospector: (database) => new SqliteIntrospector(database),
    createQueryCompiler: () => new SqliteQueryCompiler(),
  },
})

/** Who asks whether the database can be used wants to know now, not when its busy timeout has passed. */
const probeMs = 1_000

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
  /** What the writer knows each text by. */
  const numbers = new Map<string, number>()
  const waiting = new Map<number, Waiting>()
  let nextId = 1
  let dead = false
  let closed: Promise<void> | undefined

  writer.on('message', (reply: WriterReply) => {
    if ('results' in reply) {
      for (const result of reply.results) {
        const one = settle(waiting, result.id)
        if ('outcome' in result) one?.resolve(result.outcome)
        else one?.reject(databaseUnavailable(result.refused))
      }
    } else if ('failed' in reply) {
      for (const id of reply.failed.ids)
        settle(waiting, id)?.reject(databaseUnavailable(reply.failed.message))
    }
  })
  const die = (cause: unknown): void => {
    dead = true
    for (const id of [...waiting.keys()]) settle(waiting, id)?.reject(databaseUnavailable(cause))
  }
  writer.on('error', die)
  writer.on('exit', () => die('the writer has ended'))

  const database: Database = {
    build,
    texts: sqliteTexts,
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
        throw databaseUnavailable(error)
      }
    },
    write(batch: readonly Step[]): Promise<Outcome> {
      if (dead) return Promise.reject(databaseUnavailable('the writer has ended'))
      const id = nextId++
      const texts: Job['texts'] = []
      const request: WriterRequest = { id, batch: batch.map((one) => toWire(one, numbers, texts)), texts }
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject })
        try {
          writer.postMessage(request)
        } catch (error) {
          // A value that cannot be sent: the texts that went with it are not known there.
          for (const [, text] of texts) numbers.delete(text)
          settle(waiting, id)?.reject(databaseUnavailable(error))
        }
      })
    },
    async assertUsable(): Promise<void> {
      // A transaction without a statement: takes the lock, and costs no sync.
      await Promise.race([database.write([]), failAfter(probeMs)])
      await database.read(build.selectFrom('token_issuer').select('id'))
    },
    close(): Promise<void> {
      closed ??= close()
      return closed
    },
  }
  const close = async (): Promise<void> => {
    reader.close() // first: the last connection to close folds the write-ahead log back into the file
    if (dead) return
    const ended = new Promise((resolve) => writer.once('exit', resolve))
    writer.postMessage({ close: true } satisfies WriterRequest)
    await ended
  }
  return database
}

function failAfter(ms: number): Promise<never> {
  return new Promise((_, reject) => {
    setTimeout(() => reject(databaseUnavailable(`no answer within ${ms} ms`)), ms).unref()
  })
}

function settle(waiting: Map<number, Waiting>, id: number): Waiting | undefined {
  const one = waiting.get(id)
  waiting.delete(id)
  return one
}

/** @param texts takes what the writer does not know yet */
function toWire({ query, mustChange }: Step, numbers: Map<string, number>, texts: Job['texts']): WireStep {
  let statement = numbers.get(query.sql)
  if (statement === undefined) {
    statement = numbers.size
    numbers.set(query.sql, statement)
    texts.push([statement, query.sql])
  }
  return { statement, parameters: query.parameters as SQLInputValue[], mustChange: mustChange ?? false }
}
