/** The contract of the database, held by a real PostgreSQL. */
import { after, before, describe } from 'node:test'
import { openPostgres } from '../../src/adapters/postgres.ts'
import { databaseContract, type Engine } from '../contract/database.ts'
import { directUploadsContract } from '../contract/direct-uploads.ts'
import { recordsContract } from '../contract/records.ts'
import { searchContract } from '../contract/search.ts'
import { sharedContract } from '../contract/shared.ts'
import { noPostgres, type PostgresServer, startPostgres } from './postgres.ts'

describe('PostgreSQL', { skip: noPostgres }, () => {
  let server: PostgresServer
  before(async () => {
    server = await startPostgres()
  })
  after(() => server.remove())

  const engine: Engine = {
    name: 'PostgreSQL',
    async place() {
      const url = await server.freshUrl()
      return () => openPostgres({ url })
    },
  }
  databaseContract(engine)
  recordsContract(engine)
  searchContract(engine)
  directUploadsContract(engine)
  sharedContract(engine)
})
