/** What several families of routes have in common: schemas, headers, answers, parameters. */

export const ref = (name: string) => ({ $ref: `#/components/schemas/${name}` })

export const json = (schema: object) => ({ 'application/json': { schema } })

/** An object of which every key is there. */
export const whole = <Properties extends object>(properties: Properties, more: object = {}) => ({
  type: 'object',
  required: Object.keys(properties),
  properties,
  ...more,
})

export const text = (description: string, more: object = {}) => ({ type: 'string', description, ...more })
export const textOrNull = (description: string) => ({ type: ['string', 'null'], description })
export const integer = (description: string, minimum = 0) => ({ type: 'integer', minimum, description })

// Headers

export const headers = {
  RequestId: {
    description: 'Names this request in our log',
    required: true,
    schema: { type: 'string', pattern: '^req_[0-9a-z]{26}$' },
  },
  NoStore: {
    description: 'No cache may keep this answer',
    required: true,
    schema: { type: 'string', const: 'no-store' },
  },
  RetryAfter: {
    description: 'Seconds to wait before retrying',
    required: true,
    schema: { type: 'integer', minimum: 1 },
  },
  RateLimit: {
    description: 'How many requests are left, and when there are all again; not where there is no limit',
    schema: { type: 'string', pattern: '^"default";r=\\d+;t=\\d+$' },
  },
  RateLimitPolicy: {
    description: 'The limit itself',
    schema: { type: 'string', pattern: '^"default";q=\\d+;w=\\d+$' },
  },
  IdempotentReplayed: {
    description: '`true` where this is the kept answer of an earlier request with the same Idempotency-Key',
    schema: { type: 'string', const: 'true' },
  },
  Challenge: {
    description: 'How to authenticate (RFC 6750)',
    schema: { type: 'string', pattern: '^Bearer realm="assetd"' },
  },
  CacheControl: { description: 'How long a cache may keep this answer', schema: { type: 'string' } },
} as const

export const header = (name: keyof typeof headers) => ({ $ref: `#/components/headers/${name}` })

const requestId = { 'X-Request-Id': header('RequestId') }
export const noStore = { ...requestId, 'Cache-Control': header('NoStore') }
export const limits = { RateLimit: header('RateLimit'), 'RateLimit-Policy': header('RateLimitPolicy') }
export const retryAfter = { 'Retry-After': header('RetryAfter') }
const replayed = { 'Idempotent-Replayed': header('IdempotentReplayed') }

// Answers

/** A 2xx of the API. @param schema of the whole body */
export const answer = (description: string, schema: object, { isReplayed = false } = {}) => ({
  description,
  headers: { ...noStore, ...limits, ...(isReplayed ? replayed : {}) },
  content: json(schema),
})

/** One object. */
export const data = (schema: object) => whole({ data: schema })

/** A page of a list. */
export const page = (items: object) =>
  whole({
    data: { type: 'array', items },
    has_more: { type: 'boolean', description: 'Whether more pages are available' },
    next_token: textOrNull('Opaque cursor for the next page'),
  })

/** What is no part of the API proper, and needs no credentials. */
export const publicAnswer = (description: string, content: object, more: object = {}) => ({
  description,
  headers: { ...requestId, 'Cache-Control': header('CacheControl'), ...more },
  ...(Object.keys(content).length === 0 ? {} : { content }),
})

// Parameters

export const idempotencyKey = { $ref: '#/components/parameters/IdempotencyKey' }

export const inPath = (name: string, description: string) => ({
  name,
  in: 'path',
  required: true,
  description,
  schema: { type: 'string' },
})

export const inQuery = (name: string, description: string, more: object = {}, required = false) => ({
  name,
  in: 'query',
  required,
  description,
  schema: { type: 'string', ...more },
})

export const limit = (maximum: number, otherwise: number) => ({
  name: 'limit',
  in: 'query',
  required: false,
  description: `How many a page has at most; ${otherwise} where it is not said`,
  schema: { type: 'integer', minimum: 1, maximum, default: otherwise },
})

export const token = inQuery('token', 'The `next_token` of the page before')
