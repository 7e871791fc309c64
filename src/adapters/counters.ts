/** Opens the counters that the settings name: in memory, or in Redis, which is not even loaded where it is not set. */
import type { Counters } from '../gate/counters.ts'
import { createMemoryCounters } from './memory-counters.ts'

export type OpenCounters = {
  /** Two tables: a flood of addresses that guess must not push the buckets of good credentials out. */
  ofRequests: Counters
  ofFailures: Counters
  /** Null where there is nothing to be reached. */
  isReachable: (() => boolean) | null
  close(): void
}

type Told = { onGone: (message: string) => void; onBack: (message: string) => void }

/** @param told see `openRedisCounters`; @throws {RedisRefused} */
export async function openCounters(redisUrl: string | null, told: Told): Promise<OpenCounters> {
  if (redisUrl === null)
    return {
      ofRequests: createMemoryCounters(),
      ofFailures: createMemoryCounters(),
      isReachable: null,
      close() {},
    }
  const { openRedisCounters } = await import('./redis-counters.ts')
  const redis = await openRedisCounters({ url: redisUrl, ...told })
  return {
    ofRequests: redis.counters(),
    ofFailures: redis.counters(),
    isReachable: redis.isReachable,
    close: redis.close,
  }
}
