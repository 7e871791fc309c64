/** The arithmetic of a token bucket, the same wherever its tokens are kept. */
import type { Count, Policy } from './counters.ts'

/** Fractions of a request are not exact: what is this little short of one is one. */
export const rounding = 1e-6

/** @returns what is in a bucket that held so many tokens so long ago */
export function refilled(tokens: number, elapsedSeconds: number, { limit, windowSeconds }: Policy): number {
  return Math.min(limit, tokens + elapsedSeconds * (limit / windowSeconds))
}

export function hasOne(tokens: number): boolean {
  return tokens >= 1 - rounding
}

/** @param tokens what is left, after a request that was allowed took its own */
export function countOf(tokens: number, { limit, windowSeconds }: Policy, allowed: boolean): Count {
  const perSecond = limit / windowSeconds
  return {
    allowed,
    remaining: Math.floor(tokens + rounding),
    retryAfterSeconds: hasOne(tokens) ? 0 : Math.max(1, Math.ceil((1 - rounding - tokens) / perSecond)),
    resetSeconds: Math.max(0, Math.ceil((limit - rounding - tokens) / perSecond)),
  }
}
