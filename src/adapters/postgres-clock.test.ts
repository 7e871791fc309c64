import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openSharedClock } from './postgres-clock.ts'

test('it is the database that tells the time, and half of the way there counts', async () => {
  let steadyMs = 1_000
  const clock = await openSharedClock(
    async () => {
      steadyMs += 10
      return 5_000_000
    },
    () => steadyMs,
  )
  assert.equal(clock.wallMs(), 5_000_005)
  steadyMs += 1_000
  assert.equal(clock.steadyMs(), 5_001_005)
  clock.close()
})

test('an answer that took long counts only where there has been none for a minute', async () => {
  let steadyMs = 0
  let tookMs = 0
  let answer = 1_000_000
  const clock = await openSharedClock(
    async () => {
      steadyMs += tookMs
      return answer
    },
    () => steadyMs,
  )
  answer = 2_000_000
  tookMs = 5_000
  await clock.sync()
  assert.equal(clock.wallMs(), 1_005_000)
  steadyMs += 60_000
  await clock.sync()
  assert.equal(clock.wallMs(), 2_002_500)
  tookMs = 0
  answer = 7_000_000
  await clock.sync()
  assert.equal(clock.wallMs(), 7_000_000)
  clock.close()
})

test('without an answer at the start there is no clock; later on the last one goes on', async () => {
  await assert.rejects(
    openSharedClock(() => Promise.reject(new Error('gone'))),
    /gone/,
  )
  let steadyMs = 0
  let isGone = false
  const clock = await openSharedClock(
    async () => {
      if (isGone) throw new Error('gone')
      return 100
    },
    () => steadyMs,
  )
  isGone = true
  steadyMs = 20_000
  await assert.rejects(clock.sync(), /gone/)
  assert.equal(clock.steadyMs(), 20_100)
  clock.close()
})

test('what is put right by a moment never goes back; a clock that was set does', async () => {
  let answer = 1_000_000
  const clock = await openSharedClock(
    async () => answer,
    () => 0,
  )
  assert.equal(clock.wallMs(), 1_000_000)
  answer = 999_950
  await clock.sync()
  assert.equal(clock.wallMs(), 1_000_000)
  answer = 1_000_010
  await clock.sync()
  assert.equal(clock.wallMs(), 1_000_010)
  answer = 900_000
  await clock.sync()
  assert.equal(clock.wallMs(), 900_000)
  clock.close()
})

test('the first answer, which waited for a connection, is not the one that counts', async () => {
  let steadyMs = 0
  let asked = 0
  const clock = await openSharedClock(
    async () => {
      steadyMs += asked++ === 0 ? 150 : 2
      return 1_000_000 + steadyMs
    },
    () => steadyMs,
  )
  assert.equal(clock.wallMs() - 1_000_000 - steadyMs, 1, 'off by half of what an answer takes')
  clock.close()
})
