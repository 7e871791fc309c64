/**
 * Token buckets in Redis, which all copies of the service share. Whatever becomes of Redis, no request waits longer
 * than a moment: this copy then counts in its own memory, and asks every second whether it may go back.
 */
import type { Count, Counters, Policy } from '../gate/counters.ts'
import { createMemoryCounters } from './memory-counters.ts'
import { dialRedis, type RedisLine, redisAt, redisReason, tryRedis } from './redis-connection.ts'

export type RedisCountersOptions = {
  url: string
  /** Once for each time that it is lost, with a line that says why, and once when it is back. */
  onGone: (message: string) => void
  onBack: (message: string) => void
  /** How long a request waits for an answer; not given: what suits a Redis in the same data centre. */
  answerMs?: number
}

export interface RedisCounters {
  /** Each with a memory of its own to fall back on: a flood in one must not push the buckets of another out. */
  counters(): Counters
  /** Known within a second or so, requests or not. */
  isReachable(): boolean
  close(): void
}

const checkMs = 1_000

/** A Redis that is slow by turns is not gone back to at its first quick answer. */
const probesToGoBack = 3

/** @throws {RedisRefused} where it cannot be worked with at the start */
export async function openRedisCounters(options: RedisCountersOptions): Promise<RedisCounters> {
  const { url, onGone, onBack, answerMs } = options
  let line: RedisLine | null = null
  let isClosed = false
  let isChecking = false

  const lose = (lost: RedisLine | null, error: unknown): void => {
    if (lost === null || line !== lost || isClosed) return
    line = null
    lost.close() // whoever still waits on it falls back now
    onGone(
      `${redisAt(url)} ${redisReason(error, url)}: rate limits are counted by each copy alone until it is back`,
    )
  }

  const goBack = async (): Promise<void> => {
    let fresh: RedisLine | null = null
    let isLost = false
    try {
      fresh = await dialRedis(
        url,
        (error) => {
          isLost = true
          lose(fresh, error)
        },
        answerMs,
      )
      for (let times = 0; times < probesToGoBack; times++) await fresh.probe()
    } catch {
      isLost = true
    }
    if (isLost || isClosed) return fresh?.close()
    line = fresh
    onBack(`${redisAt(url)} is back: rate limits hold across copies again`)
  }

  const check = async (): Promise<void> => {
    if (isChecking) return
    isChecking = true
    const here = line
    await (here === null ? goBack() : here.probe().catch((error) => lose(here, error)))
    isChecking = false
  }

  line = await tryRedis(url, (error) => lose(line, error), answerMs)
  const checks = setInterval(check, checkMs).unref()

  const counters = (): Counters => {
    const memory = createMemoryCounters()
    const alone = (key: string, policy: Policy, wanted: 0 | 1): Promise<Count> =>
      wanted === 1 ? memory.take(key, policy) : memory.peek(key, policy)
    const ask = async (key: string, policy: Policy, wanted: 0 | 1): Promise<Count> => {
      const here = line
      if (here === null) return alone(key, policy, wanted)
      try {
        const count = await here.bucket(key, policy, wanted)
        // So that who has used his up here gains nothing when Redis goes.
        if (wanted === 1 && count.allowed) await memory.take(key, policy)
        return count
      } catch (error) {
        lose(here, error)
        return alone(key, policy, wanted)
      }
    }
    return {
      take: (key, policy) => ask(key, policy, 1),
      peek: (key, policy) => ask(key, policy, 0),
    }
  }

  return {
    counters,
    isReachable: () => line !== null,
    close() {
      isClosed = true
      clearInterval(checks)
      line?.close()
      line = null
    },
  }
}
