/**
 * The port to the database. Queries are built by Kysely in the engine's dialect and run here; a write is one
 * atomic batch of statements known beforehand, with its conditions inside the SQL, so that no engine ever
 * waits for us in the middle of a transaction.
 */
import type { CompiledQuery, Kysely, RawBuilder } from 'kysely'
import { Fault } from '../errors.ts'
import type { Tables } from './schema.ts'

/** One statement of a batch. */
export type Step = {
  query: CompiledQuery
  /** The batch is undone, all of it, if this statement changes no row. */
  mustChange?: boolean
}

/** `failedStep` is the index of the statement that had to change a row and did not: nothing was written. */
export type Outcome = { written: true } | { written: false; failedStep: number }

export type Compilable<Row> = { compile(): CompiledQuery<Row> }

/**
 * The index over the words of completed assets: of their names, types and owners, without regard to case and accents.
 * The database keeps it by itself. It is the one place where a query differs from engine to engine.
 */
export interface TextIndex {
  /** An expression to select from: the `completed_order` of what has all the words, as `at`, the highest first. */
  find(wanted: TextSearch): RawBuilder<{ at: number }>
  /**
   * The same over all workspaces and kinds; where it comes to the end within `limit`, an `at` of 0, which no asset has,
   * follows. Null where that could be more work than to go over `limit` assets, or is not quicker than `find`.
   */
  findAnywhere(wanted: WordSearch): RawBuilder<{ at: number }> | null
}

/** Of letters and digits alone. */
export type Words = readonly { text: string; isPrefix: boolean }[]

export type WordSearch = {
  words: Words
  /** Null: from the highest. */
  before: number | null
  limit: number
}

export type TextSearch = WordSearch & { workspace: string; kind: 'image' }

export interface Database {
  /** Builds queries; runs none. */
  readonly build: Kysely<Tables>
  readonly texts: TextIndex
  /** @throws {Fault} `service_unavailable` where the database does not answer */
  read<Row>(query: Compilable<Row>): Promise<Row[]>
  /**
   * Runs the batch as one transaction, durable when the promise resolves.
   * @throws {Fault} `service_unavailable`; whether the batch was written is then not known
   */
  write(batch: readonly Step[]): Promise<Outcome>
  /**
   * Resolves where a write would be durable now.
   * @throws {Fault} `service_unavailable`
   */
  assertUsable(): Promise<void>
  /** Ends what is under way first. May be called again. */
  close(): Promise<void>
}

/** A statement of a batch. */
export function step(query: Compilable<unknown>, options: { mustChange?: boolean } = {}): Step {
  return { query: query.compile(), ...options }
}

/** Stands where a value will: Kysely passes on what it does not know as it is. */
class Gap {
  readonly name: string

  constructor(name: string) {
    this.name = name
  }
}

/**
 * A statement of the busiest paths, put together and compiled once for each engine; to do that for each upload cost more
 * than to carry it out (docs/performance.md). What varies has to be a value, never the shape of the statement.
 * @param build gives the statement; what it takes from `values` are not yet the values
 */
export function template<Values extends object, Row>(
  build: (query: Kysely<Tables>, values: Values) => Compilable<Row>,
): (database: Pick<Database, 'build'>, values: Values) => Compilable<Row> {
  const compiled = new WeakMap<Kysely<Tables>, CompiledQuery<Row>>()
  const gaps = new Proxy({}, { get: (_, name) => new Gap(String(name)) }) as Values
  return (database, values) => {
    let once = compiled.get(database.build)
    if (once === undefined) {
      once = build(database.build, gaps).compile()
      compiled.set(database.build, once)
    }
    const parameters = once.parameters.map((value) =>
      value instanceof Gap ? values[value.name as keyof Values] : value,
    )
    const query = { ...once, parameters }
    return { compile: () => query }
  }
}

/** What whoever asks is told, whatever is wrong with the database. */
export function databaseUnavailable(cause: unknown): Fault {
  return new Fault(
    'service_unavailable',
    'The database cannot be used at the moment. Nothing was stored. Retry shortly.',
    { retryAfterSeconds: 5, cause },
  )
}

/** The records were written by a newer assetd: running on would risk what we do not understand. */
export class SchemaTooNew extends Error {
  override readonly name = 'SchemaTooNew'

  /** @param found the version of the schema that is there */
  static of(found: number, known: number): SchemaTooNew {
    return new SchemaTooNew(
      `its schema has version ${found}, and this assetd knows versions up to ${known}: run the newer assetd that wrote it`,
    )
  }
}
