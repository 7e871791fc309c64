/**
 * Every way a request can fail, without a word of HTTP: the edge (`http/problem.ts`) knows the statuses.
 * The codes are those of the API's contract; `reason` narrows `invalid_parameter` for programs.
 */

export type Code =
  | 'invalid_parameter'
  | 'authentication_failed'
  | 'forbidden'
  | 'asset_not_found'
  | 'batch_not_found'
  | 'resource_not_found'
  | 'method_not_allowed'
  | 'request_timeout'
  | 'request_in_progress'
  | 'conflict'
  | 'invalid_request'
  | 'rate_limit_exceeded'
  | 'internal_error'
  | 'service_unavailable'

export type Reason =
  | 'missing_file'
  | 'empty_file'
  | 'file_too_large'
  | 'unsupported_type'
  | 'corrupt_file'
  | 'malformed_multipart'
  | 'multiple_files'
  | 'too_many_parts'
  | 'fields_too_large'
  | 'missing_value'
  | 'invalid_value'
  | 'size_mismatch'
  | 'type_mismatch'
  | 'checksum_mismatch'
  | 'malformed_request'

/** Machine-readable facts beside the message. Only what the client sent or may know; nothing of the inside. */
export type Details = { reason?: Reason } & Record<string, unknown>

export type FaultOptions = {
  param?: string
  details?: Details
  /** Whole seconds after which the same request may pass; becomes `Retry-After`. */
  retryAfterSeconds?: number
  /** The end of a `WWW-Authenticate` challenge (RFC 6750 section 3), such as `, error="invalid_token"`; may be empty. */
  challenge?: string
  /** What really happened; logged, never sent. */
  cause?: unknown
}

/** A request failed in a way the client is told about in these words. */
export class Fault extends Error {
  override readonly name = 'Fault'
  readonly code: Code
  readonly param: string | null
  readonly details: Details | undefined
  readonly retryAfterSeconds: number | undefined
  readonly challenge: string | undefined

  constructor(code: Code, message: string, options: FaultOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : undefined)
    this.code = code
    this.param = options.param ?? null
    this.details = options.details
    this.retryAfterSeconds = options.retryAfterSeconds
    this.challenge = options.challenge
  }
}

/** What began before is still brought to its end; a new upload belongs to the next start, or to another copy. */
export function shuttingDown(): Fault {
  return new Fault('service_unavailable', 'The service is shutting down. Retry shortly.', {
    retryAfterSeconds: 5,
  })
}

/** A fault of the uploaded file itself: always `invalid_parameter`, by itself with `param: "file"`. */
export function fileFault(
  reason: Reason,
  message: string,
  details: Record<string, unknown> = {},
  param = 'file',
): Fault {
  return new Fault('invalid_parameter', message, { param, details: { reason, ...details } })
}

/** The client went away before its request was whole. Nobody is left to answer; the log says so. */
export class ClientLeft extends Error {
  override readonly name = 'ClientLeft'
  constructor() {
    super('The client closed the connection before the request was complete.')
  }
}
