/**
 * One call of the API, tried until it is answered for good. Every POST has an Idempotency-Key and all other methods may
 * be repeated, so whatever may pass by itself is tried again.
 */
import { AssetdError, type ErrorCode, notReachable } from './errors.ts'
import { type Answer, type Outgoing, randomKey, type Transport } from './transport.ts'

export type Credentials =
  | { apiKey: string; bearerToken?: never }
  /** A function is asked before each request, so that a token can be replaced in time. */
  | { bearerToken: string | (() => string | Promise<string>); apiKey?: never }

export type RetryOptions = {
  /** How often a request is tried at most, the first time included. */
  maxTries?: number
  /** Where the service asks to wait for longer, the call fails at once. */
  maxWaitSeconds?: number
  /** Told of each failure after which there is another try. */
  onRetry?: (retry: { error: AssetdError; tries: number; waitMs: number }) => void
}

export type Call = {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Below the base URL; a whole URL is called as it is, without credentials. */
  target: string
  query?: Record<string, string | number | undefined>
  json?: unknown
  body?: Outgoing['body']
  headers?: Record<string, string>
  idempotencyKey?: string
  signal?: AbortSignal | undefined
  onSent?: ((bytes: number) => void) | undefined
  /** Each try ends after this; not given: after 30 seconds. Infinity: never. */
  timeoutMs?: number
  /** Decides on an error of a later try, whose first may have been carried out. */
  onLateError?: (error: AssetdError) => unknown
}

/** @returns the body of the answer */
export type Request = (call: Call) => Promise<unknown>

export type RequestOptions = Credentials & RetryOptions & { baseUrl: string; transport: Transport }

const defaultTimeoutMs = 30_000
const firstWaitMs = 1_000
const longestWaitMs = 30_000

export function createRequest(options: RequestOptions): Request {
  const { transport, maxTries = 6, maxWaitSeconds = 300 } = options
  const baseUrl = options.baseUrl.replace(/\/+$/, '')

  return async (call) => {
    const isOurs = call.target.startsWith('/')
    const url = (isOurs ? baseUrl : '') + call.target + queryOf(call.query)
    const key = call.method === 'POST' ? (call.idempotencyKey ?? randomKey()) : null
    for (let tries = 1; ; tries++) {
      call.signal?.throwIfAborted()
      const headers = {
        ...call.headers,
        ...(call.json === undefined ? {} : { 'content-type': 'application/json' }),
        ...(key === null ? {} : { 'idempotency-key': key }),
        ...(isOurs ? await credentialsOf(options) : {}),
      }
      const outcome = await attempt(transport, call, url, headers)
      if (!(outcome instanceof AssetdError)) return outcome
      if (tries > 1 && call.onLateError !== undefined) {
        const late = call.onLateError(outcome)
        if (late !== undefined) return late
      }
      const askedSeconds = outcome.retryAfterSeconds ?? 0
      if (tries >= maxTries || !mayPass(outcome) || askedSeconds > maxWaitSeconds) throw outcome
      const waitMs = Math.max(backOffMs(tries), askedSeconds * 1000)
      options.onRetry?.({ error: outcome, tries, waitMs })
      await wait(waitMs, call.signal)
    }
  }
}

async function attempt(
  transport: Transport,
  call: Call,
  url: string,
  headers: Record<string, string>,
): Promise<unknown> {
  const { signal, timeoutMs = defaultTimeoutMs } = call
  const ends = [
    ...(signal === undefined ? [] : [signal]),
    ...(timeoutMs === Number.POSITIVE_INFINITY ? [] : [AbortSignal.timeout(timeoutMs)]),
  ]
  let answer: Answer
  try {
    answer = await transport({
      method: call.method,
      url,
      headers,
      body: call.json === undefined ? (call.body ?? null) : JSON.stringify(call.json),
      signal: ends.length === 0 ? null : AbortSignal.any(ends),
      onSent: call.onSent ?? null,
    })
  } catch (error) {
    signal?.throwIfAborted()
    return error instanceof AssetdError ? error : notReachable(url, error)
  }
  // A bucket that takes bytes says nothing more than that it did.
  if (!call.target.startsWith('/'))
    return isOk(answer.status) ? {} : (bucketRefusal(answer) ?? errorOf(answer))
  return isOk(answer.status) ? (parsed(answer.text) ?? unexpected(answer)) : errorOf(answer)
}

const isOk = (status: number): boolean => status >= 200 && status < 300

function mayPass({ status, code, details, retryAfterSeconds }: AssetdError): boolean {
  if (code === 'not_reachable') return true
  // The one that S3 says with status 400, of a connection that stood still for a while.
  if (code === 'bucket_refused' && details.reason === 'RequestTimeout') return true
  // With Retry-After: an earlier try of ours may still run, and will be over then.
  if (status === 409) return code === 'request_in_progress' || retryAfterSeconds !== null
  return status === 408 || status === 429 || status === 502 || status === 503 || status === 504
}

/** Doubles with each try, within a quarter of it by chance. */
function backOffMs(tries: number): number {
  return Math.min(longestWaitMs, firstWaitMs * 2 ** (tries - 1)) * (0.75 + Math.random() / 2)
}

export function wait(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted()
    const stop = (): void => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop)
      resolve()
    }, ms)
    signal?.addEventListener('abort', stop, { once: true })
  })
}

async function credentialsOf({ apiKey, bearerToken }: Credentials): Promise<Record<string, string>> {
  if (apiKey !== undefined) return { 'x-api-key': apiKey }
  const token = typeof bearerToken === 'function' ? await bearerToken() : bearerToken
  return { authorization: `Bearer ${token}` }
}

function queryOf(values: Call['query'] = {}): string {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(values)) if (value !== undefined) query.set(name, String(value))
  return query.size === 0 ? '' : `?${query}`
}

/** Null where it is no JSON object. */
function parsed(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null
  } catch {
    return null
  }
}

function errorOf(answer: Answer): AssetdError {
  const { code, message, param, details } = (parsed(answer.text)?.error ?? {}) as Record<string, unknown>
  if (typeof code !== 'string' || typeof message !== 'string') return unexpected(answer)
  return new AssetdError(message, {
    ...factsOf(answer),
    code: code as ErrorCode,
    param: typeof param === 'string' ? param : null,
    details: (details ?? {}) as Record<string, unknown>,
  })
}

/** Null where the answer is none of an S3 bucket, which speaks XML; a service without one takes the bytes itself. */
function bucketRefusal(answer: Answer): AssetdError | null {
  const element = (name: string): string | null =>
    new RegExp(`<${name}>([^<]{1,1000})</${name}>`).exec(answer.text)?.[1] ?? null
  const reason = element('Code')
  if (reason === null) return null
  const words = element('Message') ?? 'it says no more'
  return new AssetdError(`The bucket refused the bytes with status ${answer.status}, ${reason}: ${words}`, {
    ...factsOf(answer),
    requestId: answer.header('x-amz-request-id'),
    code: 'bucket_refused',
    param: null,
    details: { reason },
  })
}

function unexpected(answer: Answer): AssetdError {
  const location = answer.header('location')
  const why = location === null ? 'and is not one of assetd' : `and leads to ${location}`
  return new AssetdError(`The answer has status ${answer.status} ${why}: is the address right?`, {
    ...factsOf(answer),
    code: 'unexpected_answer',
    param: null,
    details: {},
  })
}

function factsOf({ status, header }: Answer) {
  return { status, requestId: header('x-request-id'), retryAfterSeconds: retryAfter(header('retry-after')) }
}

/** Seconds, or a date (RFC 9110 section 10.2.3). */
function retryAfter(value: string | null): number | null {
  if (value === null) return null
  if (/^\d{1,9}$/.test(value.trim())) return Number(value)
  const atMs = Date.parse(value)
  return Number.isNaN(atMs) ? null : Math.max(0, Math.ceil((atMs - Date.now()) / 1000))
}
