/** Token buckets in memory, on the monotonic clock, for a bounded number of keys. */
import type { Counters, Policy } from '../gate/counters.ts'
import { countOf, hasOne, refilled } from '../gate/token-bucket.ts'

type Bucket = { tokens: number; atMs: number }

/** The bucket that went unused for longest is forgotten first; a forgotten bucket is a full one. */
const maxBuckets = 100_000

/** @param now milliseconds of a clock that never goes back */
export function createMemoryCounters(now: () => number = () => performance.now()): Counters {
  /** In the order of their last use, which a Map keeps; it takes no memory before it holds something. */
  const buckets = new Map<string, Bucket>()

  const keep = (key: string, bucket: Bucket): void => {
    buckets.delete(key)
    buckets.set(key, bucket)
    if (buckets.size > maxBuckets) buckets.delete(buckets.keys().next().value ?? '')
  }

  const filled = (key: string, policy: Policy): Bucket => {
    const atMs = now()
    const bucket = buckets.get(key)
    if (bucket === undefined) return { tokens: policy.limit, atMs }
    keep(key, bucket)
    return { tokens: refilled(bucket.tokens, (atMs - bucket.atMs) / 1000, policy), atMs }
  }

  return {
    async take(key, policy) {
      const bucket = filled(key, policy)
      const allowed = hasOne(bucket.tokens)
      if (!allowed) return countOf(bucket.tokens, policy, false)
      bucket.tokens = Math.max(0, bucket.tokens - 1)
      keep(key, bucket)
      return countOf(bucket.tokens, policy, true)
    },
    async peek(key, policy) {
      const { tokens } = filled(key, policy)
      return countOf(tokens, policy, hasOne(tokens))
    },
  }
}
