/** What came together while no copy ran, or comes faster than anybody thought, is taken back all the same. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { Client } from 'pg'
import { openPostgres } from '../../src/adapters/postgres.ts'
import { sweepExpiredKeys } from '../../src/assets/sweep.ts'
import { areKeysExpired, claimKey } from '../../src/records/idempotency-keys.ts'
import { noPostgres, startPostgres } from './postgres.ts'

it('more expired answers than one statement could remove in its time', {
  skip: noPostgres,
}, async (context) => {
  const server = await startPostgres()
  context.after(() => server.remove())
  const url = await server.freshUrl()
  const database = await openPostgres({ url, answerMs: 1_000 }) // the tenth of what a service gives it
  context.after(() => database.close())
  const client = new Client(url)
  await client.connect()
  await client.query(`
    INSERT INTO idempotency_keys (workspace, route, key, token, service_id, lease_expires_at_ms, status, body, expires_at_ms)
    SELECT 'default', 'POST /v3/assets', md5('k' || i), 't', 's', 0, 200, repeat('x', 220), i
    FROM generate_series(1, 600000) AS i`)
  await client.end()
  let isDone = false
  const sweep = sweepExpiredKeys(database, database.clock).finally(() => {
    isDone = true
  })
  const waits: number[] = []
  while (!isDone) {
    const startMs = performance.now()
    const key = { workspace: 'default', route: 'POST /v3/assets', key: `new-${waits.length}` }
    const lease = { token: 't', serviceId: 's', leaseExpiresAtMs: database.clock.steadyMs() + 30_000 }
    assert.ok((await database.write([claimKey(database, key, lease, database.clock)])).written)
    waits.push(performance.now() - startMs)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  await sweep
  assert.equal(await areKeysExpired(database, database.clock), false)
  assert.ok(
    waits.length > 10 && Math.max(...waits) < 900,
    `${waits.length} claims, the longest ${Math.max(...waits)} ms`,
  )
})
