/** How often a caller may ask: a token bucket for each credential, and the headers that tell of it. */
import { Fault } from '../errors.ts'
import type { Caller } from '../principal.ts'
import type { Count, Counters, Policy } from './counters.ts'

/** draft-ietf-httpapi-ratelimit-headers-10; one policy, named `default`. */
export type RateLimitHeaders = { 'ratelimit-policy': string; ratelimit: string } | Record<string, never>

export interface RateLimiter {
  /** Counts one request against every credential of the caller. */
  take(caller: Caller): Promise<{ headers: RateLimitHeaders; fault: Fault | null }>
  /** The headers alone, for an answer to a request that is not counted. */
  peek(caller: Caller): Promise<RateLimitHeaders>
}

/** @param policy null: no limit, and no headers */
export function createRateLimiter(counters: Counters, policy: Policy | null): RateLimiter {
  if (policy === null) {
    return { take: async () => ({ headers: {}, fault: null }), peek: async () => ({}) }
  }
  const tightest = (counts: Count[]): Count => counts.reduce((a, b) => (b.remaining < a.remaining ? b : a))
  return {
    async take(caller) {
      const counts = await Promise.all(caller.credentials.map((name) => counters.take(name, policy)))
      const refused = counts.filter((count) => !count.allowed)
      const wait = Math.max(...refused.map((count) => count.retryAfterSeconds))
      return {
        headers: headersOf(tightest(counts), policy),
        fault: refused.length > 0 ? tooMany(wait) : null,
      }
    },
    async peek(caller) {
      const counts = await Promise.all(caller.credentials.map((name) => counters.peek(name, policy)))
      return headersOf(tightest(counts), policy)
    },
  }
}

export function tooMany(retryAfterSeconds: number): Fault {
  return new Fault(
    'rate_limit_exceeded',
    'Too many requests. Retry after the duration specified in the Retry-After header.',
    { retryAfterSeconds },
  )
}

function headersOf(count: Count, policy: Policy): RateLimitHeaders {
  return {
    'ratelimit-policy': `"default";q=${policy.limit};w=${policy.windowSeconds}`,
    ratelimit: `"default";r=${count.remaining};t=${count.resetSeconds}`,
  }
}
