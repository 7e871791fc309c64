/** Case 75: Redis is stopped, killed, emptied, slow, full, or may no longer be written, under counters that go on. */
import assert from 'node:assert/strict'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { after, before, beforeEach, describe, it, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { openRedisCounters, type RedisCounters } from '../../src/adapters/redis-counters.ts'
import type { Counters } from '../../src/gate/counters.ts'
import { eventually } from '../service.ts'
import { type Proxy as Line, startProxy } from './proxy.ts'
import { noRedis, type RedisServer, startRedis } from './redis.ts'

const policy = { limit: 100, windowSeconds: 3_600 }

/** What the issue allows, and what the timers of a busy test machine add. */
const boundMs = 50 + 15

type Watched = { redis: RedisCounters; counters: Counters; told: string[] }

async function openWatched(context: TestContext, url: string): Promise<Watched> {
  const told: string[] = []
  const redis = await openRedisCounters({
    url,
    onGone: (message) => told.push(`gone: ${message}`),
    onBack: (message) => told.push(`back: ${message}`),
  })
  context.after(() => redis.close())
  return { redis, counters: redis.counters(), told }
}

type Waits = { rounds: number[]; ownMs: number }

/**
 * Takes for so long, many at once; gives the longest wait of each round, and for how long at most this process was not
 * let run itself: on a machine that is busy with other tests that is in the waits too, and no fault of anybody.
 */
async function takeFor(counters: Counters, ms: number): Promise<Waits> {
  const rounds: number[] = []
  const delay = monitorEventLoopDelay({ resolution: 2 })
  delay.enable()
  for (const endMs = performance.now() + ms; performance.now() < endMs; await sleep(5)) {
    const startMs = performance.now()
    await Promise.all(Array.from({ length: 20 }, (_, index) => counters.take(`k${index}`, policy)))
    rounds.push(performance.now() - startMs)
  }
  delay.disable()
  return { rounds, ownMs: delay.max / 1e6 }
}

async function isBack({ redis, told }: Watched, withinMs = 20_000): Promise<void> {
  await eventually(() => {
    assert.equal(redis.isReachable(), true)
    assert.match(told.at(-1) ?? '', /^back: /)
  }, withinMs)
}

/** The first waits a moment; then none does, for as long as it lasts. */
function assertHardlyWaited({ rounds, ownMs }: Waits): void {
  assert.ok(rounds.length > 20, `${rounds.length} rounds`)
  const longest = Math.max(...rounds)
  assert.ok(
    longest <= boundMs + ownMs,
    `the longest wait: ${longest} ms, of them ${ownMs} ms of our own at most`,
  )
  const slow = rounds.filter((wait) => wait > 20 + ownMs)
  assert.ok(slow.length <= 2, `rounds that waited: ${slow.map(Math.round)} ms of ${rounds.length}`)
}

/** Where the machine is too busy for Redis to answer at all, that is tried again; a wrong blame comes each time. */
async function onceQuiet(work: () => Promise<void>): Promise<void> {
  for (let left = 4; ; left--) {
    try {
      return await work()
    } catch (error) {
      if (left === 0) throw error
      await sleep(1_000)
    }
  }
}

describe('case 75: faults of Redis', { skip: noRedis }, () => {
  let server: RedisServer
  let proxy: Line
  before(async () => {
    server = await startRedis()
    proxy = await startProxy(server.port)
  })
  after(async () => {
    await proxy.close()
    await server.remove()
  })
  beforeEach(() => server.command('FLUSHALL'))

  type Step = () => Promise<unknown> | unknown
  const fault = (what: string, word: RegExp, begin: Step, end: Step) =>
    it(what, (context) => onceQuiet(() => fromBeginToEnd(context, word, begin, end)))

  /** A fault, with the same things true of each. */
  async function fromBeginToEnd(context: TestContext, word: RegExp, begin: Step, end: Step): Promise<void> {
    await server.command('FLUSHALL')
    const watched = await openWatched(context, `redis://127.0.0.1:${proxy.port}`)
    const { redis, counters, told } = watched
    assert.equal((await counters.take('before', policy)).remaining, 99)
    try {
      await begin()
      assertHardlyWaited(await takeFor(counters, 2_500))
      assert.equal(redis.isReachable(), false)
      assert.equal(told.length, 1, told.join('\n'))
      assert.match(told[0] ?? '', word)
      assert.match(told[0] ?? '', /^gone: Redis at 127\.0\.0\.1:\d+ .*by each copy alone until it is back$/)
      assert.equal(
        (await counters.take('before', policy)).remaining,
        98,
        'what was taken before is not forgotten',
      )
    } finally {
      await end()
    }
    await isBack(watched)
    assert.equal(told.length, 2, told.join('\n'))
    const shared = await openWatched(context, server.url)
    await counters.take('after', policy)
    assert.equal((await shared.counters.peek('after', policy)).remaining, 99, 'it is in Redis')
  }

  fault(
    'stopped (SIGSTOP): nobody waits longer than 50 ms, and only the first do',
    /no answer within 40 ms/,
    () => process.kill(server.pid(), 'SIGSTOP'),
    () => process.kill(server.pid(), 'SIGCONT'),
  )
  fault(
    'killed and started again',
    /closed|ECONNRESET/,
    () => server.kill(),
    () => server.start(),
  )
  fault(
    'slow: each answer takes longer than a request may wait',
    /no answer within 40 ms/,
    () => {
      proxy.delayMs = 60
    },
    () => {
      proxy.delayMs = 0
    },
  )
  fault(
    'made a replica, which may not be written',
    /is a replica that only reads/,
    () => server.command('REPLICAOF', '127.0.0.1', '1'),
    () => server.command('REPLICAOF', 'NO', 'ONE'),
  )
  fault(
    'too few replicas for a write',
    /too few replicas/,
    () => server.command('CONFIG', 'SET', 'min-replicas-to-write', '1'),
    () => server.command('CONFIG', 'SET', 'min-replicas-to-write', '0'),
  )
  fault(
    'full: maxmemory, and nothing that it may throw away',
    /is full and may not write/,
    () => server.command('CONFIG', 'SET', 'maxmemory', '1'),
    () => server.command('CONFIG', 'SET', 'maxmemory', '0'),
  )
  fault(
    'a right taken away',
    /does not let this user count/,
    () => server.command('ACL', 'SETUSER', 'default', '-set'),
    () => server.command('ACL', 'SETUSER', 'default', '+set'),
  )

  it('FLUSHALL, again and again: nothing but full buckets', (context) =>
    onceQuiet(async () => {
      const { redis, counters, told } = await openWatched(context, server.url)
      for (let round = 0; round < 20; round++) {
        assert.equal((await counters.take('a', policy)).remaining, 99)
        await server.command('FLUSHALL')
      }
      assert.equal(redis.isReachable(), true)
      assert.deepEqual(told, [])
    }))

  it('it is known to be gone within about a second though nobody asks', (context) =>
    onceQuiet(async () => {
      const watched = await openWatched(context, server.url)
      const { redis, told } = watched
      process.kill(server.pid(), 'SIGSTOP')
      try {
        await eventually(() => assert.equal(redis.isReachable(), false), 2_000)
      } finally {
        process.kill(server.pid(), 'SIGCONT')
      }
      await isBack(watched, 3_000)
      assert.equal(told.length, 2)
    }))

  it('this process is busy for longer than Redis may take: Redis is not blamed', (context) =>
    onceQuiet(async () => {
      await server.command('FLUSHALL')
      const { counters, redis, told } = await openWatched(context, server.url)
      const beBusy = (ms: number): void => {
        for (const endMs = performance.now() + ms; performance.now() < endMs; );
      }
      for (const busyMs of [45, 60, 200, 500]) {
        const count = counters.take(`busy ${busyMs}`, policy)
        beBusy(busyMs) // before its words are sent
        await count
        const sent = counters.take(`busy ${busyMs}`, policy)
        await new Promise((resolve) => setImmediate(resolve))
        beBusy(busyMs) // and after
        assert.equal((await sent).remaining, 98)
      }
      assert.equal(redis.isReachable(), true)
      assert.deepEqual(told, [])
    }))

  it('gone by turns, a hundred thousand requests: no more memory is held than before', async (context) => {
    const watched = await openWatched(context, server.url)
    const flood = async (): Promise<void> => {
      for (let round = 0; round < 20; round++)
        await Promise.all(Array.from({ length: 1_000 }, () => watched.counters.take('one', policy)))
    }
    await flood()
    const before = process.memoryUsage().heapUsed
    process.kill(server.pid(), 'SIGSTOP')
    try {
      for (let times = 0; times < 5; times++) await flood()
    } finally {
      process.kill(server.pid(), 'SIGCONT')
    }
    await isBack(watched)
    const grown = process.memoryUsage().heapUsed - before
    assert.ok(grown < 64 * 1024 * 1024, `${grown} bytes`)
  })

  it('two requests of one moment, such as those of a key and of its token, are one round trip', (context) =>
    onceQuiet(async () => {
      const { counters } = await openWatched(context, `redis://127.0.0.1:${proxy.port}`)
      await counters.take('a', policy)
      const pieces: string[] = []
      proxy.onSent = (data) => {
        pieces.push(data.toString('latin1'))
        return false
      }
      try {
        await Promise.all([counters.take('key:a', policy), counters.take('token:b', policy)])
      } finally {
        proxy.onSent = undefined
      }
      const own = pieces.filter((piece) => piece.includes('key:a') || piece.includes('token:b'))
      assert.equal(own.length, 1)
      assert.ok(own[0]?.includes('token:b'))
    }))
})
