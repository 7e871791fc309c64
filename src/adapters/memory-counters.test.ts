import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { createMemoryCounters } from './memory-counters.ts'

function withClock() {
  let nowMs = 1_000_000
  let names = 0
  return {
    counters: createMemoryCounters(() => nowMs),
    /** A key of its own for each run of a property: a table is large, and one serves them all. */
    freshKey: () => `key-${names++}`,
    pass(seconds: number) {
      nowMs += seconds * 1000
    },
  }
}

const perMinute = { limit: 60, windowSeconds: 60 }

test('K76: a full bucket gives its limit at once and not one more', async () => {
  const { counters } = withClock()
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

test('keys do not share a bucket', async () => {
  const { counters } = withClock()
  const one = { limit: 1, windowSeconds: 60 }
  assert.equal((await counters.take('a', one)).allowed, true)
  assert.equal((await counters.take('b', one)).allowed, true)
  assert.equal((await counters.take('a', one)).allowed, false)
})

test('a peek takes nothing and makes nothing', async () => {
  const { counters } = withClock()
  for (let times = 0; times < 200; times++) assert.equal((await counters.peek('a', perMinute)).remaining, 60)
  await counters.take('a', perMinute)
  assert.deepEqual(await counters.peek('a', perMinute), {
    allowed: true,
    remaining: 59,
    retryAfterSeconds: 0,
    resetSeconds: 1,
  })
})

test('a refused request costs nothing: the wait does not grow', async () => {
  const { counters, pass } = withClock()
  const slow = { limit: 1, windowSeconds: 10 }
  await counters.take('a', slow)
  for (let second = 0; second < 9; second++) {
    assert.equal((await counters.take('a', slow)).retryAfterSeconds, 10 - second)
    pass(1)
  }
  pass(1)
  assert.equal((await counters.take('a', slow)).allowed, true)
})

test('a bucket never holds more than its limit', async () => {
  const { counters, pass } = withClock()
  await counters.take('a', perMinute)
  pass(1_000_000)
  assert.equal((await counters.take('a', perMinute)).remaining, 59)
})

const policies = fc.record({
  limit: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 999_999_999 })),
  windowSeconds: fc.constantFrom(1, 60, 3_600),
})

test('K76: who waits as long as Retry-After says is let in', async () => {
  const { counters, pass, freshKey } = withClock()
  await fc.assert(
    fc.asyncProperty(policies, fc.array(fc.nat(5_000), { maxLength: 12 }), async (policy, pauses) => {
      const key = freshKey()
      const some = { ...policy, limit: Math.min(policy.limit, 500) }
      for (const ms of [...pauses, 0]) {
        pass(ms / 1000)
        let count = await counters.take(key, some)
        while (count.allowed) count = await counters.take(key, some)
        assert.ok(Number.isInteger(count.retryAfterSeconds) && count.retryAfterSeconds >= 1)
        pass(count.retryAfterSeconds)
        assert.equal((await counters.take(key, some)).allowed, true, JSON.stringify({ some, count }))
      }
    }),
    { numRuns: 300 },
  )
})

test('K76: in any stretch of time no more pass than the limit and what was refilled', async () => {
  const small = fc.record({ limit: fc.integer({ min: 1, max: 30 }), windowSeconds: fc.constantFrom(1, 60) })
  const { counters, pass, freshKey } = withClock()
  await fc.assert(
    fc.asyncProperty(small, fc.array(fc.nat(3_000), { maxLength: 60 }), async (policy, pauses) => {
      const key = freshKey()
      let passed = 0
      let seconds = 0
      for (const ms of pauses) {
        pass(ms / 1000)
        seconds += ms / 1000
        for (let times = 0; times < 3; times++) if ((await counters.take(key, policy)).allowed) passed++
        assert.ok(passed <= policy.limit + (seconds * policy.limit) / policy.windowSeconds + 1e-6)
      }
    }),
    { numRuns: 200 },
  )
})

test('the table is bounded: the bucket unused for longest is forgotten, and is full again', async () => {
  const { counters } = withClock()
  const one = { limit: 1, windowSeconds: 3_600 }
  await counters.take('first', one)
  await counters.take('second', one)
  for (let index = 0; index < 100_000 - 2; index++) await counters.take(`k${index}`, one)
  assert.equal((await counters.take('first', one)).allowed, false, 'still known')
  await counters.take('one more', one)
  assert.equal((await counters.take('second', one)).allowed, true, 'forgotten')
  assert.equal((await counters.take('first', one)).allowed, false, 'used since')
})
