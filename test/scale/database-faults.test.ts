/** Case 74 with running copies: PostgreSQL goes in every way it can, under load, and comes back. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { after, afterEach, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { newFile, newUpload, type Sent, send } from '../crash/uploads.ts'
import { eventually, type RunningService, upload } from '../service.ts'
import { assertWhole, type Copies, copiesOn } from './copies.ts'
import { assertHonest, startLoad } from './load.ts'
import { noPostgres, type PostgresServer, startPostgres } from './postgres.ts'
import { startProxy } from './proxy.ts'

describe('PostgreSQL fails under running copies', { skip: noPostgres, concurrency: false }, () => {
  let server: PostgresServer
  let copies: Copies
  let services: RunningService[]
  before(async () => {
    server = await startPostgres()
    copies = copiesOn(await server.freshUrl())
    services = [await copies.start(), await copies.start()]
  })
  after(async () => {
    for (const service of services) await service.stop({ keepData: true })
    copies.remove()
    await server.remove()
  })
  const all: Sent[] = []
  // The uploads of every test so far: what one left behind would show in the next.
  afterEach(() => assertWhole(copies, services[0] as RunningService, all))

  const readyOf = async ({ url }: RunningService) => {
    const response = await fetch(`${url}/readyz`)
    // biome-ignore lint/suspicious/noExplicitAny: what comes is looked at field by field
    return { status: response.status, json: (await response.json()) as any }
  }
  const isReady = () =>
    eventually(async () => {
      for (const service of services) assert.equal((await readyOf(service)).status, 200)
    }, 20_000)

  const withAdmin = async (work: (admin: Client) => Promise<void>): Promise<void> => {
    const admin = new Client(copies.databaseUrl)
    admin.on('error', () => {})
    await admin.connect()
    await work(admin)
    await admin.end().catch(() => {})
  }
  const cutAll = (admin: Client) =>
    admin.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = current_database() AND pid <> pg_backend_pid()`)

  const stopping = [
    {
      words: 'killed, and started again',
      withinMs: 12_000,
      async fault() {
        await server.kill()
        await sleep(2_000)
        for (const service of services) {
          assert.equal((await fetch(`${service.url}/healthz`)).status, 200, 'case 100: it lives')
          const { status, json } = await readyOf(service)
          assert.deepEqual([status, json.error.details.checks.database], [503, 'failed'])
        }
        await server.start()
      },
    },
    {
      words: 'stopped in good order, and started again',
      withinMs: 12_000,
      async fault() {
        await server.stop()
        await sleep(500)
        await server.start()
      },
    },
    {
      words: 'silent for longer than anybody waits, and then awake',
      withinMs: 25_000, // twice what an answer of the database may take, and what it was silent for
      async fault() {
        const processes = server.processes()
        for (const pid of processes) process.kill(pid, 'SIGSTOP')
        await sleep(14_000)
        for (const pid of processes) process.kill(pid, 'SIGCONT')
      },
    },
    {
      words: 'its connections are cut, again and again',
      withinMs: 12_000,
      async fault() {
        await withAdmin(async (admin) => {
          for (let round = 0; round < 10; round++) {
            await cutAll(admin)
            await sleep(100)
          }
        })
      },
    },
    {
      words: 'it no longer writes, as one that has become a standby, and writes again',
      withinMs: 12_000,
      async fault() {
        await withAdmin(async (admin) => {
          await admin.query('ALTER SYSTEM SET default_transaction_read_only = on')
          await admin.query('SELECT pg_reload_conf()')
          await sleep(300)
          await cutAll(admin)
          await sleep(1_500)
          await eventually(async () =>
            assert.equal((await readyOf(services[0] as RunningService)).status, 503),
          )
          const stored = JSON.parse(String(all.find(({ acknowledged }) => acknowledged)?.acknowledged))
            .data as { url: string }
          const file = await fetch(`${services[0]?.url}${new URL(stored.url).pathname}`)
          assert.equal(file.status, 200, 'files are read on')
          await file.arrayBuffer()
          await admin.query('SET default_transaction_read_only = off')
          await admin.query('ALTER SYSTEM RESET default_transaction_read_only')
          await admin.query('SELECT pg_reload_conf()')
          await sleep(300)
          await cutAll(admin)
        })
      },
    },
  ]

  for (const { words, withinMs, fault } of stopping) {
    test(`case 74: ${words}: 503 in time, nothing acknowledged is lost, and it goes on by itself`, async () => {
      const load = startLoad(services)
      try {
        await load.more(20)
        await fault()
        await isReady()
        await load.more(20)
      } finally {
        await load.stop()
        all.push(...load.sent)
      }
      assertHonest(load, { withinMs })
    })
  }

  test('case 74: more uploads at once than there are connections wait their turn', async (context) => {
    const small = await copies.start({ ASSETD_DATABASE_POOL_SIZE: '1' })
    context.after(() => small.stop({ keepData: true }))
    const many = Array.from({ length: 30 }, () => newUpload(newFile(20_000)))
    const answers = await Promise.all(many.map((sent) => send(small, sent)))
    all.push(...many)
    for (const answer of answers) assert.equal(answer?.status, 200, String(answer?.body))
  })

  for (const [words, markOf] of [
    ['the claim', (sent: Sent) => sent.key],
    ['the commit', (sent: Sent) => sent.sha256],
  ] as const) {
    test(`case 74: the answer to ${words} is lost, and the retry with the key gives one asset`, async (context) => {
      const proxy = await startProxy(Number(new URL(copies.databaseUrl).port))
      context.after(() => proxy.close())
      const url = copies.databaseUrl.replace(/:\d+\//, `:${proxy.port}/`)
      const service = await copies.start({ ASSETD_DATABASE_URL: url })
      context.after(() => service.stop({ keepData: true }))
      const sent = newUpload(newFile(20_000))
      const mark = markOf(sent)
      let seen = 0
      // The key is in each renewal of the lease too; the hash of the file is in the commit alone.
      proxy.onSent = (data) => data.includes(mark) && ++seen === 1
      const first = await upload(service, sent.file, { 'idempotency-key': sent.key })
      assert.equal(first.status, 503, await first.text())
      await eventually(async () => assert.equal((await send(service, sent))?.status, 200), 20_000)
      all.push(sent)
      const count = `SELECT count(*) FROM assets WHERE sha256 = '${sent.sha256}'`
      const asked = ['-qAt', copies.databaseUrl, '-c', count]
      assert.equal(execFileSync('psql', asked, { encoding: 'utf8' }).trim(), '1')
    })
  }
})
