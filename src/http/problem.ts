/** From a fault to what goes over the wire: its status, its headers and the one error envelope. */
import { type Code, Fault } from '../errors.ts'
import { HttpFault } from './framing.ts'

const statuses = {
  invalid_parameter: 400,
  authentication_failed: 401,
  forbidden: 403,
  asset_not_found: 404,
  batch_not_found: 404,
  resource_not_found: 404,
  method_not_allowed: 405,
  request_timeout: 408,
  request_in_progress: 409,
  conflict: 409,
  invalid_request: 400,
  rate_limit_exceeded: 429,
  internal_error: 500,
  service_unavailable: 503,
} as const satisfies Record<Code, number>

export type Problem = { status: number; headers: Record<string, string>; body: string }

/** @param docsUrl the address of the page that explains each code, without a fragment */
export function toProblem(fault: Fault, docsUrl: string): Problem {
  const status = fault instanceof HttpFault ? fault.status : statuses[fault.code]
  const headers: Record<string, string> = {
    'content-type': 'application/json; charset=utf-8',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  }
  if (fault.retryAfterSeconds !== undefined) headers['retry-after'] = String(fault.retryAfterSeconds)
  if (fault.challenge !== undefined) headers['www-authenticate'] = `Bearer realm="assetd"${fault.challenge}`
  if (Array.isArray(fault.details?.allowed_methods)) headers.allow = fault.details.allowed_methods.join(', ')
  return { status, headers, body: JSON.stringify({ error: errorBody(fault, docsUrl) }) }
}

/** What the envelope holds; an item that failed within a larger answer has it without the envelope. */
export function errorBody(
  { code, message, param, details }: Pick<Fault, 'code' | 'message' | 'param' | 'details'>,
  docsUrl: string,
) {
  const doc_url = `${docsUrl}#${code}`
  return { code, message, param, doc_url, ...(details === undefined ? {} : { details }) }
}

/** Whatever was thrown, as a fault that may be shown. What we did not foresee tells nothing of the inside. */
export function toFault(error: unknown): Fault {
  if (error instanceof Fault) return error
  const { code, statusCode } = Object(error) as { code?: unknown; statusCode?: unknown }
  if (typeof code === 'string' && code.startsWith('FST_') && statusCode !== 500) {
    return new HttpFault(
      typeof statusCode === 'number' ? statusCode : 400,
      'The request cannot be understood.',
    )
  }
  return new Fault(
    'internal_error',
    'Something went wrong on our side. Retry; if it goes on, give the X-Request-Id of this answer to whoever runs the service.',
    { cause: error },
  )
}
