/** Cases 75 and 76 over two running services that share a Redis. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fakedClock, noFaketime } from '../crash/faketime.ts'
import { wav } from '../media/samples.ts'
import { contentsOf, eventually, type RunningService, startService, upload } from '../service.ts'
import { noRedis, type RedisServer, startRedis } from './redis.ts'

/** What comes before has to have that status; on a slow machine the bucket fills a little meanwhile. */
async function untilRefused(ask: () => Promise<Response>, before = 200): Promise<Response> {
  for (let times = 0; times < 300; times++) {
    const answer = await ask()
    if (answer.status === 429) return answer
    assert.equal(answer.status, before)
  }
  throw new Error('nobody was refused')
}

describe('two services and one Redis', { skip: noRedis }, () => {
  let server: RedisServer
  before(async () => {
    server = await startRedis()
  })
  after(() => server.remove())
  beforeEach(() => server.command('FLUSHALL'))

  async function start(
    context: TestContext,
    rate: string,
    env: Record<string, string> = {},
  ): Promise<RunningService> {
    const own = { ASSETD_REDIS_URL: server.url, ASSETD_RATE_LIMIT: rate }
    const service = await startService({ env: { ...own, ...env } })
    context.after(() => service.stop())
    return service
  }

  const me = async ({ url, key }: RunningService): Promise<Response> => {
    const response = await fetch(`${url}/v3/users/me`, { headers: { 'x-api-key': key } })
    await response.arrayBuffer()
    return response
  }
  const ready = async ({
    url,
  }: RunningService): Promise<{ status: string; checks: Record<string, string> }> => {
    const response = await fetch(`${url}/readyz`)
    assert.equal(response.status, 200)
    return ((await response.json()) as { data: { status: string; checks: Record<string, string> } }).data
  }
  const toldOf = (service: RunningService): unknown[] =>
    service
      .log()
      .map(({ msg }) => msg)
      .filter((message) => String(message).startsWith('Redis'))

  /**
   * What must be so while Redis is there. Where this machine was too busy for Redis to answer in 40 ms, a copy counted
   * alone for a while, as it should: that is tried again with fresh buckets.
   */
  async function undisturbed(services: RunningService[], work: () => Promise<void>): Promise<void> {
    for (let tries = 1; ; tries++) {
      const told = (): number => services.flatMap(toldOf).length
      for (const service of services)
        await eventually(async () => assert.equal((await ready(service)).checks.counters, 'ok'), 30_000)
      await server.command('FLUSHALL')
      const before = told()
      const outcome = await work().then(
        () => null,
        (error) => ({ error }),
      )
      await sleep(outcome === null ? 100 : 2_000) // a line of the log may come after the answer
      if (told() === before || tries === 5) {
        if (outcome !== null) throw outcome.error
        return
      }
    }
  }

  it('case 76: at the same moment the limit passes between them; who waits as told is let in, on either', async (context) => {
    const both = [await start(context, '40/min'), await start(context, '40/min')]
    await undisturbed(both, async () => {
      const startMs = performance.now()
      const answers = await Promise.all(
        Array.from({ length: 160 }, (_, index) => me(both[index % 2] as RunningService)),
      )
      const passed = answers.filter(({ status }) => status === 200)
      const refused = answers.filter(({ status }) => status === 429)
      assert.equal(passed.length + refused.length, 160)
      const most = 40 + ((performance.now() - startMs) / 1_000) * (40 / 60)
      assert.ok(passed.length >= 40 && passed.length <= most, `${passed.length} passed`)
      for (const service of both) {
        const last = await untilRefused(() => me(service))
        const wait = last.headers.get('retry-after') ?? ''
        assert.match(wait, /^[1-9]\d*$/)
        await sleep(Number(wait) * 1000)
        assert.equal((await me(service)).status, 200)
      }
    })
  })

  it('case 76: a copy whose clock is hours ahead, and is set back under way, gives nobody more', async (context) => {
    if (noFaketime !== false) return context.skip(noFaketime)
    const clock = fakedClock('+5h')
    context.after(() => clock.remove())
    const wrong = await start(context, '20/min', clock.env)
    const right = await start(context, '20/min')
    await undisturbed([wrong, right], async () => {
      let passed = 0
      const startMs = performance.now()
      for (const offset of ['+5h', '-7h', '+30d', '+0']) {
        clock.set(offset)
        await sleep(1_100) // Node.js keeps the date of its answers for up to a second
        const shown = Date.parse((await me(wrong)).headers.get('date') ?? '')
        if (offset === '+30d') assert.ok(shown > Date.now() + 29 * 86_400_000, 'its clock is indeed another')
        for (let times = 0; times < 10; times++)
          for (const service of [wrong, right]) if ((await me(service)).status === 200) passed++
      }
      const most = 20 + ((performance.now() - startMs) / 1000) * (20 / 60)
      assert.ok(passed <= most && passed >= 15, `${passed} of at most ${most}`)
    })
  })

  it('case 76: 429 on the other copy before the body is read; nothing is stored', async (context) => {
    const [first, second] = [await start(context, '2/hour'), await start(context, '2/hour')]
    await undisturbed([first, second], async () => {
      const before = contentsOf(second.dataDir).assets
      assert.equal((await upload(first, wav())).status, 200)
      assert.equal((await upload(first, wav())).status, 200)
      assert.equal((await upload(second, wav())).status, 429)
      assert.deepEqual(contentsOf(second.dataDir).assets, before)
    })
  })

  it('addresses that guess are counted together too, and take nothing from good credentials', async (context) => {
    const both = [await start(context, '1000/min'), await start(context, '1000/min')]
    await undisturbed(both, async () => {
      const startMs = performance.now()
      let guesses = 0
      await untilRefused(() => {
        const { url } = both[guesses % 2] as RunningService
        return fetch(`${url}/v3/users/me`, { headers: { 'x-api-key': `guess-${guesses++}` } })
      }, 401)
      const most = 61 + (performance.now() - startMs) / 1_000
      assert.ok(guesses > 60 && guesses <= most, `${guesses} guesses`)
      for (const service of both) assert.equal((await me(service)).status, 200)
    })
  })

  it('case 75: Redis stands still and goes on: uploads do not wait, /readyz says so, and the log once each', async (context) => {
    const service = await start(context, '5/hour')
    await eventually(async () => assert.equal((await ready(service)).checks.counters, 'ok'))
    assert.equal((await upload(service, wav())).status, 200)
    const before = toldOf(service).length
    process.kill(server.pid(), 'SIGSTOP')
    try {
      const waits: number[] = []
      for (let times = 0; times < 4; times++) {
        const startMs = performance.now()
        assert.equal((await upload(service, wav())).status, 200)
        waits.push(performance.now() - startMs)
      }
      // One may have met a pause of the disk.
      assert.ok(waits.filter((ms) => ms >= 1_000).length <= 1, `${waits.map(Math.round)} ms`)
      assert.equal((await upload(service, wav())).status, 429, 'what was used up before counts')
      const { status, checks } = await ready(service)
      assert.deepEqual([status, checks.counters], ['degraded', 'unreachable'])
      await sleep(2_500)
      assert.equal(toldOf(service).length - before, 1)
    } finally {
      process.kill(server.pid(), 'SIGCONT')
    }
    await eventually(async () => assert.equal((await ready(service)).status, 'ready'))
    await eventually(() => assert.match(String(toldOf(service).at(-1)), /is back/))
    assert.equal(toldOf(service).length - before, 2)
  })

  it('case 75: Redis is killed and started again in the middle of uploads: each of them is 200', async (context) => {
    const both = [await start(context, '10000/min'), await start(context, '10000/min')]
    let isOver = false
    const statuses: number[] = []
    const load = both.map(async (service) => {
      while (!isOver) statuses.push((await upload(service, wav())).status)
    })
    for (let times = 0; times < 3; times++) {
      await sleep(400)
      await server.kill()
      await sleep(400)
      await server.start()
      for (const service of both)
        await eventually(async () => assert.equal((await ready(service)).checks.counters, 'ok'))
      await server.command('FLUSHALL')
    }
    isOver = true
    await Promise.all(load)
    assert.ok(statuses.length > 50, `${statuses.length} uploads`)
    assert.deepEqual(new Set(statuses), new Set([200]))
    for (const service of both) await eventually(() => assert.ok(toldOf(service).length >= 6))
  })

  it('a Redis that cannot be worked with: exit 1 and one line, without its password', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'assetd-refused-'))
    try {
      await assert.rejects(
        startService({
          dataDir: folder,
          env: { ASSETD_REDIS_URL: `redis://:canary@127.0.0.1:${server.port}` },
        }),
        new RegExp(
          `ended with 1: assetd: Redis at 127\\.0\\.0\\.1:${server.port} has no password set, and ASSETD_REDIS_URL gives one\\n$`,
        ),
      )
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
