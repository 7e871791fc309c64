/**
 * The port to the database. Queries are built by Kysely in the engine's dialect and run here; a write is one
 * atomic batch of statements known beforehand, with its conditions inside the SQL, so that no engine ever
 * waits for us in the middle of a transaction.
 */
import type { CompiledQuery, Kysely } from 'kysely'
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

export interface Database {
  /** Builds queries; runs none. */
  readonly build: Kysely<Tables>
  /** @throws {Fault} `service_unavailable` where the database does not answer */
  read<Row>(query: Compilable<Row>): Promise<Row[]>
  /**
   * Runs the batch as one transaction, durable when the promise resolves.
   * @throws {Fault} `service_unavailable`; whether the batch was written is then not known
   */
  write(batch: readonly Step[]): Promise<Outcome>
  close(): Promise<void>
}

/** A statement of a batch. */
export function step(query: Compilable<unknown>, options: { mustChange?: boolean } = {}): Step {
  return { query: query.compile(), ...options }
}
