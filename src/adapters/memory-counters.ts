/** Token buckets in memory, on the monotonic clock, for a bounded number of keys. */
import { LRUCache } from 'lru-cache'
import type { Count, Counters, Policy } from '../gate/counters.ts'

type Bucket = { tokens: number; atMs: number }

/** The bucket that went unused for longest is forgotten first; a forgotten bucket is a full one. */
const maxBuckets = 100_000

/** @param now milliseconds of a clock that never goes back */
export function createMemoryCounters(now: () => number = () => performance.now()): Counters {
  const buckets = new LRUCache<string, Bucket>({ max: maxBuckets })

  const filled = (key: string, policy: Policy): Bucket => {
    const atMs = now()
    const bucket = buckets.get(key)
    if (bucket === undefined) return { tokens: policy.limit, atMs }
    const gained = ((atMs - bucket.atMs) / 1000) * (policy.limit / policy.windowSeconds)
    return { tokens: Math.min(policy.limit, bucket.tokens + gained), atMs }
  }

  return {
    async take(key, policy) {
      const bucket = filled(key, policy)
      const allowed = bucket.tokens >= 1
      if (allowed) bucket.tokens -= 1
      buckets.set(key, bucket)
      return count(bucket, policy, allowed)
    },
    async peek(key, policy) {
      const bucket = filled(key, policy)
      return count(bucket, policy, bucket.tokens >= 1)
    },
  }
}

function count({ tokens }: Bucket, policy: Policy, allowed: boolean): Count {
  const perSecond = policy.limit / policy.windowSeconds
  return {
    allowed,
    remaining: Math.floor(tokens),
    retryAfterSeconds: tokens >= 1 ? 0 : Math.max(1, Math.ceil((1 - tokens) / perSecond)),
    resetSeconds: Math.ceil((policy.limit - tokens) / perSecond),
  }
}
