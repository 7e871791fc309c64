/** Several copies on one PostgreSQL: what one does holds on all, and what one leaves behind another takes over. */
import assert from 'node:assert/strict'
import { after, before, describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fakedClock, noFaketime } from '../crash/faketime.ts'
import { newFile, newUpload, send } from '../crash/uploads.ts'
import { isShort } from '../form.ts'
import { serverPid } from '../raw-http.ts'
import { eventually, type RunningService, upload } from '../service.ts'
import { assertNothingStray, assertWhole, beginUpload, type Copies, copiesOn } from './copies.ts'
import { noPostgres, type PostgresServer, startPostgres } from './postgres.ts'

describe('copies of the service', { skip: noPostgres, concurrency: false }, () => {
  let server: PostgresServer
  before(async () => {
    server = await startPostgres()
  })
  after(() => server.remove())

  async function fresh(context: TestContext): Promise<Copies> {
    const copies = copiesOn(await server.freshUrl())
    context.after(() => copies.remove())
    return copies
  }

  /** Starts a copy that ends with the test, whatever becomes of it there. */
  async function startIn(
    context: TestContext,
    copies: Copies,
    env: Record<string, string> = {},
  ): Promise<RunningService> {
    const service = await copies.start(env)
    context.after(async () => {
      try {
        process.kill(serverPid(service), 'SIGCONT')
      } catch {
        // It has ended already.
      }
      await service.stop({ keepData: true })
    })
    return service
  }

  const statusOf = async (service: RunningService, key: string, file = newFile(20_000)): Promise<number> => {
    const response = await upload(service, file, { 'idempotency-key': key })
    await response.arrayBuffer()
    return response.status
  }
  const meWith = async (service: RunningService, headers: Record<string, string>): Promise<number> => {
    const response = await fetch(`${service.url}/v3/users/me`, { headers })
    await response.arrayBuffer()
    return response.status
  }

  test('a key that is made or revoked, and a token, count on all copies at once; ten that start at once agree', async (context) => {
    const copies = await fresh(context)
    const all = await Promise.all(Array.from({ length: 10 }, () => startIn(context, copies)))
    const key = copies.assetd('keys', 'create').output.split('\n')[0] ?? ''
    const token = copies.assetd('tokens', 'create').output.trim()
    for (const copy of all) {
      assert.equal(await meWith(copy, { 'x-api-key': key }), 200)
      assert.equal(await meWith(copy, { authorization: `Bearer ${token}` }), 200)
    }
    const jwks = await Promise.all(
      all.map(async ({ url }) => (await fetch(`${url}/.well-known/jwks.json`)).text()),
    )
    assert.equal(new Set(jwks).size, 1)
    assert.equal(copies.assetd('keys', 'revoke', key).status, 0)
    for (const copy of all) assert.equal(await meWith(copy, { 'x-api-key': key }), 401)
  })

  test('case 48, 49: fifty uploads at once with one key over three copies give one asset', async (context) => {
    const copies = await fresh(context)
    const services = await Promise.all([1, 2, 3].map(() => startIn(context, copies)))
    const sent = newUpload()
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, index) => send(services[index % 3] as RunningService, { ...sent })),
    )
    const bodies = answers.filter((one) => one?.status === 200).map((one) => String(one?.body))
    assert.equal(new Set(bodies).size, 1)
    assert.deepEqual(
      answers.filter((one) => one?.status !== 200 && one?.status !== 409),
      [],
    )
    assert.equal(answers.filter((one) => one?.status === 200 && !one.replayed).length, 1)
    await assertWhole(copies, services[2] as RunningService, [{ ...sent, acknowledged: bodies[0] ?? null }])
  })

  test('case 54: a copy that is killed in the middle: 409 until its lease ends, then another takes the key, and what is left goes', async (context) => {
    const copies = await fresh(context)
    const lease = { ASSETD_IDEMPOTENCY_LEASE_SECONDS: '12' }
    const [one, two] = [await copies.start(lease), await startIn(context, copies, lease)]
    const sent = newUpload()
    const lost = await beginUpload(copies, one, sent)
    await one.stop({ keepData: true, signal: 'SIGKILL' })
    assert.equal(await statusOf(two, sent.key, sent.file), 409)
    await eventually(async () => assert.equal((await send(two, sent))?.status, 200), 40_000)
    lost.reset()
    await assertWhole(copies, two, [sent])
  })

  test('case 54: a copy that sleeps beyond its lease and wakes up cannot commit', async (context) => {
    const copies = await fresh(context)
    const [one, two] = [await startIn(context, copies), await startIn(context, copies)]
    const sent = newUpload()
    const zombie = await beginUpload(copies, one, sent)
    await sleep(7_000)
    assert.equal(await statusOf(two, sent.key, sent.file), 409, 'a running owner keeps its lease')
    process.kill(serverPid(one), 'SIGSTOP')
    await eventually(async () => assert.equal((await send(two, sent))?.status, 200))
    process.kill(serverPid(one), 'SIGCONT')
    await zombie.finish()
    const refused = await zombie.answer()
    assert.equal(refused.status, 503, refused.body.toString())
    zombie.reset()
    await assertWhole(copies, one, [sent])
  })

  test('a copy whose clock is hours ahead or behind breaks nothing', {
    skip: noFaketime,
  }, async (context) => {
    const copies = await fresh(context)
    const right = await startIn(context, copies)
    for (const offset of isShort ? ['+5h'] : ['+5h', '-5h']) {
      const faked = fakedClock(offset)
      context.after(() => faked.remove())
      const wrong = await startIn(context, copies, faked.env)
      const dates = [right, wrong].map(async ({ url }) =>
        Date.parse((await fetch(`${url}/healthz`)).headers.get('date') ?? ''),
      )
      const [now = 0, shifted = 0] = await Promise.all(dates)
      assert.ok(Math.abs(Math.abs(shifted - now) - 5 * 3_600_000) < 60_000, 'its clock is wrong indeed')

      const running = newUpload()
      const connection = await beginUpload(copies, right, running)
      const theirs = newUpload()
      const theirConnection = await beginUpload(copies, wrong, theirs)
      assert.equal(await statusOf(wrong, running.key, running.file), 409, 'the lease of the other one holds')
      assert.equal(await statusOf(right, theirs.key, theirs.file), 409, 'and so does its own')
      await sleep(12_000) // both have looked for what lapsed, and their leases were renewed several times
      await connection.finish()
      await theirConnection.finish()
      assert.equal((await connection.answer()).status, 200)
      assert.equal((await theirConnection.answer()).status, 200)
      for (const sent of [running, theirs]) {
        for (const service of [right, wrong]) {
          const replay = await send(service, sent)
          assert.deepEqual([replay?.status, replay?.replayed], [200, true])
        }
      }
      const token = copies.assetd('tokens', 'create').output.trim()
      const key = copies.assetd('keys', 'create', '--expires', '1h').output.split('\n')[0] ?? ''
      assert.equal(await meWith(wrong, { authorization: `Bearer ${token}` }), 200)
      assert.equal(await meWith(wrong, { 'x-api-key': key }), 200)
      await wrong.stop({ keepData: true })
    }
    for (const { created_at_ms, completed_at_ms } of copies.rows('assets'))
      for (const at of [created_at_ms, completed_at_ms])
        assert.ok(Math.abs(Number(at) - Date.now()) < 600_000, 'times are those of the database')
  })

  test('a copy on another machine with a folder of its own is refused in plain words', async (context) => {
    const copies = await fresh(context)
    await startIn(context, copies)
    const elsewhere = copiesOn(copies.databaseUrl)
    context.after(() => elsewhere.remove())
    await assert.rejects(
      elsewhere.start(),
      /ended with 1: assetd: the blob folder .* is not the one that these records belong to\. Copies on several machines need one store in common[^\n]*\n$/,
    )
    const others = copiesOn(await server.freshUrl())
    context.after(() => others.remove())
    await assert.rejects(
      others.start({ ASSETD_DATA_DIR: copies.folder }),
      /belongs to the records of another service[^\n]*\n$/,
    )
  })

  test('a batch whose copy dies half-way is finished by another', async (context) => {
    const copies = await fresh(context)
    const [one, two] = [await copies.start(), await startIn(context, copies)]
    const files = Array.from({ length: 30 }, () => newFile(300_000))
    const post = async (service: RunningService, path: string, body: object) => {
      const answer = await fetch(service.url + path, {
        method: 'POST',
        headers: { 'x-api-key': copies.key },
        body: JSON.stringify(body),
      })
      // biome-ignore lint/suspicious/noExplicitAny: what comes is looked at field by field
      return { status: answer.status, json: (await answer.json()) as any }
    }
    const asked = files.map((file, index) => ({
      filename: `${index}.wav`,
      content_type: 'audio/wav',
      size_bytes: file.length,
    }))
    const made = await post(one, '/v3/assets/direct-uploads/batches', { files: asked })
    assert.equal(made.status, 200, JSON.stringify(made.json))
    const { batch_id, items } = made.json.data
    for (const [index, { upload_url, upload_headers }] of items.entries()) {
      const { pathname, search } = new URL(upload_url)
      const put = await fetch(two.url + pathname + search, {
        method: 'PUT',
        headers: upload_headers,
        body: new Uint8Array(files[index] ?? []),
      })
      assert.equal(put.status, 200, await put.text())
    }
    const completing = await post(one, '/v3/assets/complete/batches', { batch_id })
    assert.equal(completing.status, 202, JSON.stringify(completing.json))
    await one.stop({ keepData: true, signal: 'SIGKILL' })
    await eventually(() => {
      const states = copies.rows('direct_uploads', 'state').map(({ state }) => state)
      assert.deepEqual(states, Array(30).fill('completed'))
    }, 100_000)
    const sent = files.map((file) => newUpload(file))
    await assertNothingStray(copies, sent)
    assert.match(copies.assetd('fsck', '--deep').output, /^30 assets.*0 disagreements/m)
  })
})
