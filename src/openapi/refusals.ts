/** Every way a request is refused, and which of them a kind of route may answer. */
import { codes, reasons } from '../error-catalog.ts'
import { header, headers, limits, noStore, ref, retryAfter, textOrNull, whole } from './shared.ts'

type Code = keyof typeof codes

export const refusal = (
  description: string,
  code: Code,
  message: string,
  { param = null, headers: more = {} }: { param?: string | null; headers?: object } = {},
) => ({
  description,
  headers: { ...noStore, ...limits, ...more },
  content: {
    'application/json': {
      schema: whole({ error: ref('StandardAPIError') }),
      example: { error: { code, message, param, doc_url: `/docs/errors#${code}` } },
    },
  },
})

const challenge = { 'WWW-Authenticate': header('Challenge') }

export const authenticationFailed = refusal(
  'Authentication failed',
  'authentication_failed',
  'Invalid or expired API key. Verify your x-api-key header.',
  { headers: { 'WWW-Authenticate': { ...headers.Challenge, required: true } } },
)

export const rateLimitExceeded = refusal(
  'Rate limit exceeded',
  'rate_limit_exceeded',
  'Too many requests. Retry after the duration specified in the Retry-After header.',
  { headers: retryAfter },
)

export const responses = {
  IdempotencyInProgress: refusal(
    'A prior request with this Idempotency-Key is still in progress. Wait for it to complete, then retry.',
    'request_in_progress',
    'A request with this Idempotency-Key is already in progress. Retry shortly.',
    { headers: retryAfter },
  ),
  InvalidParameter: refusal(
    'Something in the request is not as it has to be; `param` names it, `details.reason` says how',
    'invalid_parameter',
    'The field size_bytes cannot be used. It is missing. Send it.',
    { param: 'size_bytes' },
  ),
  MalformedRequest: refusal(
    'The request is not well-formed HTTP/1.1',
    'invalid_parameter',
    'The request has no Host header. HTTP/1.1 requires exactly one.',
  ),
  AuthenticationFailed: authenticationFailed,
  ScopeMissing: refusal(
    'The credentials are good, and do not carry the scope that is needed',
    'forbidden',
    'These credentials do not have the scope assets:write. Use ones that do.',
    { headers: challenge },
  ),
  SignatureRefused: refusal(
    'The signature of the URL is not valid, or the URL has expired',
    'forbidden',
    'The signature of this URL is not valid. Use the upload_url exactly as it was answered.',
  ),
  AssetNotFound: refusal(
    'The asset is unknown, deleted, or of another workspace',
    'asset_not_found',
    'There is no such asset here: it is unknown, or was deleted.',
  ),
  BatchNotFound: refusal(
    'The batch is unknown, or of another workspace',
    'batch_not_found',
    'There is no such batch here.',
  ),
  ResourceNotFound: refusal(
    'There is no such page',
    'resource_not_found',
    'There is no such page. See /docs.',
  ),
  RequestTimeout: refusal(
    'The body stalls, or comes more slowly than the minimum rate',
    'request_timeout',
    'The request body is too slow: no byte came for 30 seconds. Send it again on a faster connection.',
  ),
  Conflict: refusal(
    'The upload is not in a state in which this can be done; or (with an Idempotency-Key) its first request still runs',
    'conflict',
    'The bytes of this upload are not there yet. Put them to its upload_url, then complete it.',
    { headers: { 'Retry-After': { ...headers.RetryAfter, required: false } } },
  ),
  ConditionNotMet: refusal(
    'A condition of the request is not met',
    'invalid_request',
    'The file does not meet the conditions of the request.',
  ),
  ContentTooLarge: refusal(
    'The JSON body is larger than 1 MiB, or the extensions of its chunks are too large',
    'invalid_request',
    'The request body is larger than 1048576 bytes. Send less in one request.',
  ),
  UriTooLong: refusal(
    'A part of the path is too long',
    'invalid_request',
    'The request cannot be understood.',
  ),
  ContentEncoded: refusal(
    'The body has a Content-Encoding',
    'invalid_request',
    'The request body must be sent as it is, without a Content-Encoding.',
  ),
  RangeOutside: refusal(
    'The range lies outside of the file',
    'invalid_request',
    'The file has 100 bytes, and the range lies outside of them.',
    {
      headers: {
        'Content-Range': {
          description: 'The size of the file, as `bytes */100`',
          required: true,
          schema: { type: 'string' },
        },
      },
    },
  ),
  ExpectationFailed: refusal(
    'The expectation cannot be met',
    'invalid_request',
    'The only expectation that can be met is 100-continue.',
  ),
  RateLimitExceeded: rateLimitExceeded,
  HeadersTooLarge: refusal(
    'The headers or trailers are too many or too large',
    'invalid_request',
    'The request has more than 500 header fields. Send fewer.',
  ),
  InternalError: refusal('A fault of ours', 'internal_error', 'Something went wrong on our side.'),
  CodingUnknown: refusal(
    'The transfer coding is not understood',
    'invalid_request',
    'The only transfer coding that is understood is chunked.',
  ),
  ServiceUnavailable: refusal(
    'Not now: storage or database away, disk full, too many uploads at once, or shutting down. Nothing was stored',
    'service_unavailable',
    'The storage cannot be used at the moment. Nothing was stored.',
    { headers: retryAfter },
  ),
  VersionUnknown: refusal(
    'Another version of HTTP',
    'invalid_request',
    'The version of HTTP must be 1.1 or 1.0.',
  ),
} as const

export const refused = (name: keyof typeof responses) => ({ $ref: `#/components/responses/${name}` })

/** Faults of HTTP and of ours that any route may answer. */
export const anyRoute = {
  '400': refused('MalformedRequest'),
  '415': refused('ContentEncoded'),
  '417': refused('ExpectationFailed'),
  '431': refused('HeadersTooLarge'),
  '500': refused('InternalError'),
  '501': refused('CodingUnknown'),
  '505': refused('VersionUnknown'),
}

/** Where a part of the path is a parameter. */
export const withPathParameter = { ...anyRoute, '414': refused('UriTooLong') }

/** Where credentials are needed. */
export const withCredentials = {
  ...anyRoute,
  '400': refused('InvalidParameter'),
  '401': refused('AuthenticationFailed'),
  '403': refused('ScopeMissing'),
  '429': refused('RateLimitExceeded'),
  '503': refused('ServiceUnavailable'),
}

/** Where a body is read, under an Idempotency-Key. */
export const withBody = {
  ...withCredentials,
  '408': refused('RequestTimeout'),
  '409': refused('IdempotencyInProgress'),
  '413': refused('ContentTooLarge'),
}

const errorFields = {
  code: { type: 'string', description: 'Machine-readable error code', enum: Object.keys(codes) },
  message: { type: 'string', description: 'Human-readable error message' },
  param: textOrNull('Which request field caused the error'),
  doc_url: textOrNull('Link to error documentation'),
}

export const errorSchema = {
  ...whole(errorFields),
  properties: {
    ...errorFields,
    details: {
      type: 'object',
      description: 'Machine-readable facts beside the message',
      properties: { reason: { type: 'string', enum: Object.keys(reasons) } },
      additionalProperties: true,
    },
  },
}
