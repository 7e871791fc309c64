/**
 * The query builder, of which everything comes from here: as CommonJS it loads in two thirds of the time that its three
 * hundred ES modules take, which is a tenth of the service's start (docs/performance.md).
 */
import { createRequire } from 'node:module'

const kysely = createRequire(import.meta.url)('kysely') as typeof import('kysely')

export const {
  DummyDriver,
  Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  sql,
} = kysely
