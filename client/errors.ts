/** What a call may throw, besides the reason of an AbortSignal. */
import type { StandardAPIError } from './api-types.ts'

export type ErrorCode =
  | StandardAPIError['code']
  /** No answer came: the service is away, or the network is. */
  | 'not_reachable'
  /** An answer came that is none of the service's, such as a proxy's own page. */
  | 'unexpected_answer'
  /** The bucket that a direct upload goes to did not take its bytes; `details.reason` is its own code. */
  | 'bucket_refused'
  /** The file to upload can no longer be read, or was changed meanwhile. */
  | 'file_unreadable'

export type ErrorFacts = {
  code: ErrorCode
  param: string | null
  details: Record<string, unknown>
  /** Of the answer; null where none came. */
  status: number | null
  /** Names the request in the service's log, or in the bucket's. */
  requestId: string | null
  /** What the service asked to wait, where it did. */
  retryAfterSeconds: number | null
}

export class AssetdError extends Error implements ErrorFacts {
  override readonly name = 'AssetdError'
  readonly code: ErrorCode
  readonly param: string | null
  readonly details: Record<string, unknown>
  readonly status: number | null
  readonly requestId: string | null
  readonly retryAfterSeconds: number | null

  constructor(message: string, facts: ErrorFacts, options?: ErrorOptions) {
    super(message, options)
    this.code = facts.code
    this.param = facts.param
    this.details = facts.details
    this.status = facts.status
    this.requestId = facts.requestId
    this.retryAfterSeconds = facts.retryAfterSeconds
  }
}

const ofNoAnswer = { param: null, details: {}, status: null, requestId: null, retryAfterSeconds: null }

export function fileUnreadable(cause: unknown): AssetdError {
  const message = 'The file cannot be read any more: it was changed, moved or removed meanwhile.'
  return new AssetdError(message, { ...ofNoAnswer, code: 'file_unreadable' }, { cause })
}

export function notReachable(url: string, cause: unknown): AssetdError {
  return new AssetdError(
    `There is no answer from ${new URL(url, 'http://localhost').host}: is the service running, and is the address right?`,
    { ...ofNoAnswer, code: 'not_reachable' },
    { cause },
  )
}
