/**
 * What every implementation of the port to the counters must prove. Each test gets a place of its own; what is opened
 * there twice are two copies of the service, where the implementation is one that copies share.
 */
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import fc from 'fast-check'
import type { Counters } from '../../src/gate/counters.ts'

export type CountersPlace = {
  open(): Promise<Counters> | Counters
  /** Moves the clock that the counters go by. */
  pass(seconds: number): void
}

export type CountersEngine = {
  name: string
  /** True where two that are opened at one place share their buckets. */
  isShared: boolean
  /** How often a property is tried: a round trip each time is slower than none. */
  runs: number
  place(context: TestContext): Promise<CountersPlace> | CountersPlace
}

const perMinute = { limit: 60, windowSeconds: 60 }

export function countersContract(engine: CountersEngine): void {
  let names = 0
  /** A key of its own for each run of a property: a table is large, and one serves them all. */
  const freshKey = (): string => `key-${names++}`

  const it = (what: string, body: (counters: Counters, place: CountersPlace) => Promise<void>) =>
    test(`${engine.name}: ${what}`, async (context) => {
      const place = await engine.place(context)
      await body(await place.open(), place)
    })

  it('case 76: a full bucket gives its limit at once and not one more', async (counters) => {
    for (let left = 59; left >= 0; left--) {
      const count = await counters.take('a', perMinute)
      assert.equal(count.allowed, true)
      assert.equal(count.remaining, left)
      assert.equal(count.retryAfterSeconds, left > 0 ? 0 : 1)
      assert.equal(count.resetSeconds, 60 - left)
    }
    assert.deepEqual(await counters.take('a', perMinute), {
      allowed: false,
      remaining: 0,
      retryAfterSeconds: 1,
      resetSeconds: 60,
    })
  })

  it('case 76: of many at the same moment, exactly the limit pass', async (counters, place) => {
    const burst = async (): Promise<number> => {
      const counts = await Promise.all(Array.from({ length: 200 }, () => counters.take('a', perMinute)))
      return counts.filter(({ allowed }) => allowed).length
    }
    assert.equal(await burst(), 60)
    assert.equal(await burst(), 0)
    place.pass(30)
    assert.equal(await burst(), 30)
    place.pass(3_600)
    assert.equal(await burst(), 60)
  })

  it('keys do not share a bucket', async (counters) => {
    const one = { limit: 1, windowSeconds: 60 }
    assert.equal((await counters.take('a', one)).allowed, true)
    assert.equal((await counters.take('b', one)).allowed, true)
    assert.equal((await counters.take('a', one)).allowed, false)
  })

  it('keys are any text: spaces, line ends, wildcards, and letters beyond the first plane', async (counters) => {
    const one = { limit: 1, windowSeconds: 60 }
    for (const key of ['', ' ', 'a b', 'a\r\nb', 'a\0b', '*', '{a}', '🎞', 'é', 'x'.repeat(5_000)]) {
      assert.equal((await counters.take(key, one)).allowed, true, JSON.stringify(key.slice(0, 20)))
      assert.equal((await counters.take(key, one)).allowed, false, JSON.stringify(key.slice(0, 20)))
    }
  })

  it('a peek takes nothing and makes nothing', async (counters) => {
    for (let times = 0; times < 200; times++)
      assert.equal((await counters.peek('a', perMinute)).remaining, 60)
    await counters.take('a', perMinute)
    assert.deepEqual(await counters.peek('a', perMinute), {
      allowed: true,
      remaining: 59,
      retryAfterSeconds: 0,
      resetSeconds: 1,
    })
  })

  it('a peek tells of an empty bucket what a take would', async (counters, place) => {
    const slow = { limit: 2, windowSeconds: 10 }
    for (let times = 0; times < 2; times++) await counters.take('a', slow)
    place.pass(1.5)
    const peeked = await counters.peek('a', slow)
    assert.deepEqual(peeked, { allowed: false, remaining: 0, retryAfterSeconds: 4, resetSeconds: 9 })
    assert.deepEqual(await counters.take('a', slow), peeked)
  })

  it('a refused request costs nothing: the wait does not grow', async (counters, { pass }) => {
    const slow = { limit: 1, windowSeconds: 10 }
    await counters.take('a', slow)
    for (let second = 0; second < 9; second++) {
      assert.equal((await counters.take('a', slow)).retryAfterSeconds, 10 - second)
      pass(1)
    }
    pass(1)
    assert.equal((await counters.take('a', slow)).allowed, true)
  })

  it('a bucket never holds more than its limit', async (counters, { pass }) => {
    await counters.take('a', perMinute)
    pass(1_000_000)
    assert.equal((await counters.take('a', perMinute)).remaining, 59)
  })

  it('a limit that was changed holds at once: of a bucket no more is left than it can hold', async (counters) => {
    await counters.take('a', { limit: 1_000, windowSeconds: 60 })
    assert.equal((await counters.take('a', perMinute)).remaining, 59)
    assert.equal((await counters.take('a', { limit: 1_000, windowSeconds: 60 })).remaining, 58)
  })

  it('the largest limit is counted exactly', async (counters) => {
    const most = { limit: 999_999_999, windowSeconds: 86_400 }
    for (let times = 1; times <= 3; times++)
      assert.equal((await counters.take('a', most)).remaining, most.limit - times)
  })

  const policies = fc.record({
    limit: fc.integer({ min: 1, max: 200 }),
    windowSeconds: fc.constantFrom(1, 60, 3_600),
  })

  it('case 76: who waits as long as Retry-After says is let in', async (counters, { pass }) => {
    await fc.assert(
      fc.asyncProperty(policies, fc.array(fc.nat(5_000), { maxLength: 12 }), async (policy, pauses) => {
        const key = freshKey()
        for (const ms of [...pauses, 0]) {
          pass(ms / 1000)
          let count = await counters.take(key, policy)
          while (count.allowed) count = await counters.take(key, policy)
          assert.ok(Number.isInteger(count.retryAfterSeconds) && count.retryAfterSeconds >= 1)
          pass(count.retryAfterSeconds)
          assert.equal((await counters.take(key, policy)).allowed, true, JSON.stringify({ policy, count }))
        }
      }),
      { numRuns: engine.runs },
    )
  })

  it('case 76: in any stretch of time no more pass than the limit and what was refilled', async (counters, place) => {
    const small = fc.record({ limit: fc.integer({ min: 1, max: 30 }), windowSeconds: fc.constantFrom(1, 60) })
    const others = engine.isShared ? [counters, await place.open()] : [counters]
    await fc.assert(
      fc.asyncProperty(small, fc.array(fc.nat(3_000), { maxLength: 60 }), async (policy, pauses) => {
        const key = freshKey()
        let passed = 0
        let seconds = 0
        for (const ms of pauses) {
          place.pass(ms / 1000)
          seconds += ms / 1000
          for (let times = 0; times < 3; times++)
            for (const copy of others) if ((await copy.take(key, policy)).allowed) passed++
          assert.ok(passed <= policy.limit + (seconds * policy.limit) / policy.windowSeconds + 1e-6)
        }
      }),
      { numRuns: engine.runs },
    )
  })

  if (!engine.isShared) return

  it('case 76: two copies that are asked at the same moment let the limit through between them', async (first, place) => {
    const second = await place.open()
    for (let round = 0; round < 5; round++) {
      const counts = await Promise.all(
        Array.from({ length: 300 }, (_, index) =>
          (index % 2 === 0 ? first : second).take(`burst ${round}`, perMinute),
        ),
      )
      assert.equal(counts.filter(({ allowed }) => allowed).length, 60)
      assert.deepEqual(
        await first.peek(`burst ${round}`, perMinute),
        await second.peek(`burst ${round}`, perMinute),
      )
    }
  })
}
