/** What is so in memory alone; the rest is in test/contract/counters.ts. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createMemoryCounters } from './memory-counters.ts'

test('the table is bounded: the bucket unused for longest is forgotten, and is full again', async () => {
  const counters = createMemoryCounters(() => 1_000_000)
  const one = { limit: 1, windowSeconds: 3_600 }
  await counters.take('first', one)
  await counters.take('second', one)
  for (let index = 0; index < 100_000 - 2; index++) await counters.take(`k${index}`, one)
  assert.equal((await counters.take('first', one)).allowed, false, 'still known')
  await counters.take('one more', one)
  assert.equal((await counters.take('second', one)).allowed, true, 'forgotten')
  assert.equal((await counters.take('first', one)).allowed, false, 'used since')
})
