/** The port to rate-limit counters: token buckets, each under a key. */

export type Policy = {
  /** How many requests a full bucket holds. */
  limit: number
  /** How long an empty bucket takes to fill. */
  windowSeconds: number
}

export type Count = {
  allowed: boolean
  /** Whole requests left. */
  remaining: number
  /** Until one more request passes; 0 where one does now. */
  retryAfterSeconds: number
  /** Until the bucket is full again. */
  resetSeconds: number
}

export interface Counters {
  /** Takes one request out of the bucket if there is one. */
  take(key: string, policy: Policy): Promise<Count>
  /** The same figures without taking one. */
  peek(key: string, policy: Policy): Promise<Count>
}
