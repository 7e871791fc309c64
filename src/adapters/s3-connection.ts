/**
 * The line to the bucket: every call has a time limit of its own, is tried again a bounded number of times, and fails in
 * one way that the rest of the service knows. The SDK would wait for ever.
 */
import { S3Client } from '@aws-sdk/client-s3'
import { Fault } from '../errors.ts'
import { storageFault } from './disk-sync.ts'
import { codeOf, isPassing, isSkewed, reasonOf, statusOf } from './s3-errors.ts'

export type S3Options = {
  bucket: string
  /** Null: Amazon's own. */
  endpoint: string | null
  /** Null: as the SDK finds it, or `us-east-1` where there is an endpoint. */
  region: string | null
  forcePathStyle: boolean
  /** Before the name of every object; may be empty. */
  prefix: string
  connectMs?: number
  /** One try of a call that takes bytes to the store. */
  attemptMs?: number
  /** All tries of such a call. */
  callMs?: number
  /** A read that brings nothing for this long is broken. */
  idleMs?: number
}

export type Limits = { attemptMs: number; callMs: number }

export type CallOptions = Partial<Limits> & {
  /** Ends the call, without another try. */
  signal?: AbortSignal
  /** Before each further try: the one before may still have done its work, or do it later. */
  onRetry?: () => void
}

type Attempt<T> = (client: S3Client, options: { abortSignal: AbortSignal }) => Promise<T>

export type S3 = {
  client: S3Client
  bucket: string
  idleMs: number
  /** Of calls that take bytes to the store; all others have less. */
  withBytes: Limits
  /** The name of the object that a key is for. */
  nameOf(key: string): string
  /** @throws {Fault} `service_unavailable`, whose cause says what the store said */
  run<T>(attempt: Attempt<T>, options?: CallOptions): Promise<T>
  /** Likewise; null where the store says that there is no such object or upload. */
  find<T>(attempt: Attempt<T>, options?: CallOptions): Promise<T | null>
  close(): void
}

const defaults = { connectMs: 3_000, attemptMs: 10_000, callMs: 30_000, idleMs: 15_000 }

/** Enough for a store that restarts, or asks to slow down. */
const triesAtMost = 6
const firstPauseMs = 100

export function connectS3(options: S3Options): S3 {
  const { connectMs, attemptMs, callMs, idleMs } = { ...defaults, ...options }
  const withBytes = { attemptMs, callMs }
  const others = { attemptMs: Math.min(attemptMs, 5_000), callMs: Math.min(callMs, 10_000) }
  const client = createClient(options, connectMs)

  const run = async <T>(attempt: Attempt<T>, given: CallOptions = {}): Promise<T> => {
    const limits = { ...others, ...given }
    const endMs = performance.now() + limits.callMs
    for (let tried = 1; ; tried++) {
      try {
        const leftMs = endMs - performance.now()
        return await limited(client, attempt, Math.min(leftMs, limits.attemptMs), given.signal)
      } catch (error) {
        if (given.signal?.aborted) throw storageFault(new Error('given up'))
        const pauseMs = firstPauseMs * 2 ** (tried - 1) * (0.5 + Math.random())
        const isOver = tried >= triesAtMost || performance.now() + pauseMs >= endMs
        if (isOver || !(isPassing(error) || isSkewed(error))) throw new S3Fault(error)
        await pause(pauseMs, given.signal)
        given.onRetry?.()
      }
    }
  }

  return {
    client,
    bucket: options.bucket,
    idleMs,
    withBytes,
    nameOf: (key) => `${options.prefix}${key}`,
    run,
    async find(attempt, given) {
      try {
        return await run(attempt, given)
      } catch (error) {
        if (isNotFound(error)) return null
        throw error
      }
    },
    close: () => client.destroy(),
  }
}

function createClient({ endpoint, region, forcePathStyle }: S3Options, connectionTimeout: number): S3Client {
  // Of connections there are as many as clients of ours: a slow reader must not keep an upload waiting for one.
  const agent = { keepAlive: true, maxSockets: Number.POSITIVE_INFINITY, maxFreeSockets: 64 }
  const found = region ?? (endpoint === null ? null : 'us-east-1')
  return new S3Client({
    ...(endpoint === null ? {} : { endpoint }),
    ...(found === null ? {} : { region: found }),
    forcePathStyle,
    maxAttempts: 1, // we try again ourselves, with a body that is whole
    // What we send has its Content-MD5; other stores than Amazon's refuse the SDK's own checksums, or their framing.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    expectContinueHeader: false,
    requestHandler: { connectionTimeout, httpAgent: agent, httpsAgent: agent },
  })
}

/** What the store answered is in `cause`, in words for the log: never a header, since there are signatures in them. */
export class S3Fault extends Fault {
  /** Of HTTP; null where there was no answer. */
  readonly status: number | null
  /** The store's own word, such as `NoSuchBucket`, or the system's. */
  readonly said: string
  constructor(error: unknown) {
    const { message, options } = wording(new Error(reasonOf(error)))
    super('service_unavailable', message, options)
    this.status = statusOf(error)
    this.said = codeOf(error)
  }
}

/** The same words, whatever kind of store it is. */
function wording(cause: Error) {
  const { message, retryAfterSeconds = 10 } = storageFault(cause)
  return { message, options: { retryAfterSeconds, cause } }
}

/** By name, since a 404 may also be of the bucket, or of whoever asks. `NotFound`: HEAD has no words of its own. */
export function isNotFound(error: unknown): boolean {
  return error instanceof S3Fault && ['NoSuchKey', 'NoSuchUpload', 'NotFound'].includes(error.said)
}

/** The whole call, with what the SDK does before it sends anything, such as asking for credentials. */
async function limited<T>(
  client: S3Client,
  attempt: Attempt<T>,
  limitMs: number,
  signal: AbortSignal | undefined,
): Promise<T> {
  const ending = new AbortController()
  let end: (reason: Error) => void = () => {}
  const ended = new Promise<never>((_, reject) => {
    end = (reason) => {
      ending.abort(reason)
      reject(reason)
    }
  })
  ended.catch(() => {})
  const onSignal = (): void => end(new Error('given up'))
  signal?.addEventListener('abort', onSignal, { once: true })
  if (signal?.aborted) onSignal()
  const timer = setTimeout(() => end(new Unanswered(limitMs)), Math.max(limitMs, 1))
  try {
    return await Promise.race([attempt(client, { abortSignal: ending.signal }), ended])
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', onSignal)
  }
}

class Unanswered extends Error {
  override readonly name = 'TimeoutError'
  constructor(limitMs: number) {
    super(`no answer within ${Math.round(limitMs)} ms`)
  }
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms)
    signal?.addEventListener(
      'abort',
      () => {
        clearTimeout(timer)
        resolve()
      },
      { once: true },
    )
  })
}
