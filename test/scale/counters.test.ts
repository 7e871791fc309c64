/** The contract of the counters, held by a real Redis, on a clock that the tests move. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { openRedisCounters } from '../../src/adapters/redis-counters.ts'
import type { Counters } from '../../src/gate/counters.ts'
import { type CountersPlace, countersContract } from '../contract/counters.ts'
import { type ClockedRedis, noRedisClock, startClockedRedis } from './redis.ts'

describe('Redis', { skip: noRedisClock }, () => {
  let server: ClockedRedis
  before(async () => {
    server = await startClockedRedis()
  })
  after(() => server.remove())

  const copy = async (context: { after(work: () => void): void }): Promise<Counters> => {
    const told: string[] = []
    const tell = (message: string) => told.push(message)
    const redis = await openRedisCounters({
      url: server.url,
      onGone: tell,
      onBack: tell,
      answerMs: 5_000, // on a machine that is busy with other tests, what counts is still what Redis says
    })
    context.after(() => {
      // What its own memory counted while Redis was away would prove nothing.
      assert.deepEqual(told, [])
      redis.close()
    })
    return redis.counters()
  }

  countersContract({
    name: 'Redis',
    isShared: true,
    runs: 25,
    async place(context): Promise<CountersPlace> {
      await server.command('FLUSHALL')
      return { open: () => copy(context), pass: server.pass }
    },
  })

  const slow = { limit: 2, windowSeconds: 10 }

  it('a key vanishes when its bucket is full again, and a peek makes none', async (context) => {
    await server.command('FLUSHALL')
    const counters = await copy(context)
    const left = async () => (await server.command('PTTL', 'assetd:a')) as number
    await counters.peek('a', slow)
    assert.equal(await left(), -2)
    await counters.take('a', slow)
    assert.ok(Math.abs((await left()) - 5_000) <= 2, String(await left()))
    await counters.take('a', slow)
    assert.ok(Math.abs((await left()) - 10_000) <= 2)
    server.pass(10.01)
    assert.equal(await left(), -2)
    assert.equal(await server.command('EXISTS', 'assetd:a'), 0)
  })

  it('case 76: Redis’ clock is set back by an hour: who waits as told is let in all the same', async (context) => {
    await server.command('FLUSHALL')
    const counters = await copy(context)
    for (let times = 0; times < 2; times++) await counters.take('a', slow)
    server.pass(-3_600)
    const refused = await counters.take('a', slow)
    assert.deepEqual(refused, { allowed: false, remaining: 0, retryAfterSeconds: 5, resetSeconds: 10 })
    server.pass(5)
    assert.equal((await counters.take('a', slow)).allowed, true)
    assert.equal((await counters.take('a', slow)).allowed, false)
    server.pass(7_200)
    assert.equal((await counters.take('a', slow)).remaining, 1)
  })

  it('what somebody else wrote under a key of ours is a full bucket, not a fault', async (context) => {
    await server.command('FLUSHALL')
    const counters = await copy(context)
    const writes = [
      ['RPUSH', 'assetd:a', 'x'],
      ['SET', 'assetd:a', ''],
      ['SET', 'assetd:a', 'nan 5'],
      ['SET', 'assetd:a', '-- 1'],
      ['SET', 'assetd:a', '1e999 1'],
    ]
    for (const write of writes) {
      await server.command('DEL', 'assetd:a')
      await server.command(...write)
      assert.equal((await counters.peek('a', slow)).remaining, 2, write.join(' '))
      assert.equal((await counters.take('a', slow)).remaining, 1, write.join(' '))
      assert.equal((await counters.take('a', slow)).remaining, 0, write.join(' '))
    }
  })

  it('FLUSHALL and SCRIPT FLUSH do no harm: buckets are full again', async (context) => {
    const counters = await copy(context)
    for (let times = 0; times < 2; times++) await counters.take('a', slow)
    await server.command('FLUSHALL')
    await server.command('SCRIPT', 'FLUSH')
    const counts = await Promise.all(Array.from({ length: 9 }, () => counters.take('a', slow)))
    assert.equal(counts.filter(({ allowed }) => allowed).length, 2)
  })
})
