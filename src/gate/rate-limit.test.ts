import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createMemoryCounters } from '../adapters/memory-counters.ts'
import type { Caller } from '../principal.ts'
import { createRateLimiter } from './rate-limit.ts'

function caller(...credentials: string[]): Caller {
  return { principal: { workspace: 'w', owner: 'o', scopes: new Set() }, credentials, keyId: null }
}

const policy = { limit: 3, windowSeconds: 60 }

function limiter() {
  let nowMs = 0
  return {
    rateLimiter: createRateLimiter(
      createMemoryCounters(() => nowMs),
      policy,
    ),
    pass(seconds: number) {
      nowMs += seconds * 1000
    },
  }
}

test('case 76: the limit passes, the next is 429 with whole seconds to wait, and then one passes again', async () => {
  const { rateLimiter, pass } = limiter()
  for (let times = 0; times < 3; times++) assert.equal((await rateLimiter.take(caller('a'))).fault, null)
  const { fault, headers } = await rateLimiter.take(caller('a'))
  assert.equal(fault?.code, 'rate_limit_exceeded')
  assert.equal(fault?.param, null)
  assert.equal(fault?.retryAfterSeconds, 20)
  assert.deepEqual(headers, { 'ratelimit-policy': '"default";q=3;w=60', ratelimit: '"default";r=0;t=60' })
  pass(20)
  assert.equal((await rateLimiter.take(caller('a'))).fault, null)
  assert.notEqual((await rateLimiter.take(caller('a'))).fault, null)
})

test('the headers tell what is left, on answers that are counted and on those that are not', async () => {
  const { rateLimiter } = limiter()
  assert.deepEqual(await rateLimiter.peek(caller('a')), {
    'ratelimit-policy': '"default";q=3;w=60',
    ratelimit: '"default";r=3;t=0',
  })
  const { headers } = await rateLimiter.take(caller('a'))
  assert.deepEqual(headers, { 'ratelimit-policy': '"default";q=3;w=60', ratelimit: '"default";r=2;t=20' })
  assert.deepEqual(await rateLimiter.peek(caller('a')), headers)
})

test('each credential has a limit of its own', async () => {
  const { rateLimiter } = limiter()
  for (let times = 0; times < 4; times++) await rateLimiter.take(caller('a'))
  assert.equal((await rateLimiter.take(caller('b'))).fault, null)
})

test('of two credentials both limits must pass, and the tighter one is shown', async () => {
  const { rateLimiter, pass } = limiter()
  await rateLimiter.take(caller('a'))
  await rateLimiter.take(caller('a'))
  const third = await rateLimiter.take(caller('a', 'b'))
  assert.equal(third.fault, null)
  assert.equal('ratelimit' in third.headers && third.headers.ratelimit, '"default";r=0;t=60')
  assert.equal((await rateLimiter.take(caller('a', 'b'))).fault?.retryAfterSeconds, 20)
  assert.equal((await rateLimiter.take(caller('b', 'a'))).fault?.retryAfterSeconds, 20)
  pass(20)
  assert.equal((await rateLimiter.take(caller('b', 'a'))).fault, null)
})

test('of two refusals the longer wait is told', async () => {
  const { rateLimiter, pass } = limiter()
  for (let times = 0; times < 3; times++) await rateLimiter.take(caller('a'))
  pass(10)
  for (let times = 0; times < 3; times++) await rateLimiter.take(caller('b'))
  assert.equal((await rateLimiter.take(caller('a', 'b'))).fault?.retryAfterSeconds, 20)
})

test('no limit: nothing is refused, and no headers speak of one', async () => {
  const free = createRateLimiter(createMemoryCounters(), null)
  for (let times = 0; times < 1_000; times++)
    assert.deepEqual(await free.take(caller('a')), { headers: {}, fault: null })
  assert.deepEqual(await free.peek(caller('a')), {})
})
