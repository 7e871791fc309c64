/** The contract of the database, held by SQLite. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { openSqlite } from '../src/adapters/sqlite.ts'
import { databaseContract, type Engine } from './contract/database.ts'
import { directUploadsContract } from './contract/direct-uploads.ts'
import { recordsContract } from './contract/records.ts'
import { searchContract } from './contract/search.ts'
import { sharedContract } from './contract/shared.ts'

const folder = mkdtempSync(join(tmpdir(), 'assetd-contract-'))
after(() => rmSync(folder, { recursive: true }))

let files = 0

const engine: Engine = {
  name: 'SQLite',
  place() {
    const path = join(folder, `${files++}.sqlite`)
    return () => openSqlite(path)
  },
}
databaseContract(engine)
recordsContract(engine)
searchContract(engine)
directUploadsContract(engine)
sharedContract(engine)
