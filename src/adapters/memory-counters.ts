/** Token buckets in memory, on the monotonic clock, for a bounded number of keys. */
import { LRUCache } from 'lru-cache'
import type { Count, Counters, Policy } from '../gate/counters.ts'

type Bucket = { tokens: number; atMs: number }

/** The bucket that went unused for longest is forgotten first; a forgotten bucket is a full one. */
const maxBuckets = 100_000

/** Fractions of a request are not exact: what is this little short of one is one. */
const rounding = 1e-6

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
      const allowed = bucket.tokens >= 1 - rounding
      if (!allowed) return count(bucket, policy, false)
      bucket.tokens = Math.max(0, bucket.tokens - 1)
      buckets.set(key, bucket)
      return count(bucket, policy, true)
    },
    async peek(key, policy) {
      const bucket = filled(key, policy)
      return count(bucket, policy, bucket.tokens >= 1 - rounding)
    },
  }
}

function count({ tokens }: Bucket, policy: Policy, allowed: boolean): Count {
  const perSecond = policy.limit / policy.windowSeconds
  return {
    allowed,
    remaining: Math.floor(tokens + rounding),
    retryAfterSeconds:
      tokens >= 1 - rounding ? 0 : Math.max(1, Math.ceil((1 - rounding - tokens) / perSecond)),
    resetSeconds: Math.max(0, Math.ceil((policy.limit - rounding - tokens) / perSecond)),
  }
}
