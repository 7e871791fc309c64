/**
 * The published keys of an outside issuer, found by its metadata (RFC 8414, OpenID Connect Discovery) and kept.
 * A dead issuer costs nothing but new keys: those already known go on working, and a token with an unknown key
 * makes us ask again a few times a minute at most, whoever sends how many.
 */
import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose'
import { Fault } from '../errors.ts'
import { createMemoryCounters } from './memory-counters.ts'

export type RemoteIssuerOptions = {
  issuer: string
  /** How old the keys may get before they are asked for again, beside requests that go on. */
  maxAgeMs?: number
  /** How long keys that cannot be refreshed are still believed. */
  maxStaleMs?: number
  timeoutMs?: number
  onTrouble?: (error: unknown) => void
}

/** A new key is found at once, and a flood of made-up ones makes no flood of ours. */
const fetches = { limit: 3, windowSeconds: 60 }

const maxDocumentBytes = 256 * 1024

export type RemoteIssuerKeys = {
  keys: JWTVerifyGetKey
  /** False from a fetch that failed until the next one that does not. */
  reachable(): boolean
}

export function createRemoteIssuerKeys(options: RemoteIssuerOptions): RemoteIssuerKeys {
  const { maxAgeMs = 600_000, maxStaleMs = 86_400_000 } = options
  const counters = createMemoryCounters()
  let keys: ReturnType<typeof createLocalJWKSet> | null = null
  let fetchedAt = Number.NEGATIVE_INFINITY
  let reachable = true
  let running: Promise<void> | null = null

  /** Never throws: what cannot be had, or may not be asked for yet, shows as keys that are missing. */
  const refresh = async (): Promise<void> => {
    if (running === null && !(await counters.take('fetch', fetches)).allowed) return
    running ??= fetchKeys(options)
      .then(
        (set) => {
          keys = createLocalJWKSet(set)
          fetchedAt = performance.now()
          reachable = true
        },
        (error) => {
          reachable = false
          options.onTrouble?.(error)
        },
      )
      .finally(() => {
        running = null
      })
    await running
  }

  const find: JWTVerifyGetKey = async (header, token) => {
    const age = performance.now() - fetchedAt
    if (age > maxStaleMs) keys = null
    if (keys === null) await refresh()
    else if (age > maxAgeMs) void refresh()
    if (keys === null) throw noKeys()
    try {
      return await keys(header, token)
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error
      await refresh()
      return keys(header, token)
    }
  }
  return { keys: find, reachable: () => reachable }
}

/** @throws {Error} with what is wrong with the issuer, its metadata or its keys */
export async function fetchKeys(options: RemoteIssuerOptions): Promise<JSONWebKeySet> {
  const metadata = await fetchMetadata(options)
  if (metadata.issuer !== options.issuer) {
    // RFC 8414 section 3.3: metadata of another issuer must not be used.
    throw new Error(`the metadata names the issuer ${String(metadata.issuer)}`)
  }
  return (await fetchJson(secureUrl(String(metadata.jwks_uri)), options)) as JSONWebKeySet
}

async function fetchMetadata(options: RemoteIssuerOptions): Promise<Record<string, unknown>> {
  const base = options.issuer.replace(/\/$/, '')
  const { origin, pathname } = new URL(base)
  const places = [
    `${base}/.well-known/openid-configuration`,
    `${origin}/.well-known/oauth-authorization-server${pathname === '/' ? '' : pathname}`,
  ]
  let trouble: unknown
  for (const place of places) {
    try {
      return (await fetchJson(secureUrl(place), options)) as Record<string, unknown>
    } catch (error) {
      trouble = error
    }
  }
  throw trouble
}

/** Keys fetched in the clear could be anybody's. Loopback excepted, for tests and sidecars. */
function secureUrl(text: string): URL {
  const url = new URL(text)
  const isLocal = ['127.0.0.1', '[::1]', 'localhost'].includes(url.hostname)
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLocal)) {
    throw new Error(`${url.href} is not https`)
  }
  return url
}

async function fetchJson(url: URL, { timeoutMs = 5_000 }: RemoteIssuerOptions): Promise<unknown> {
  const response = await fetch(url, {
    redirect: 'error',
    headers: { accept: 'application/json' },
    signal: AbortSignal.timeout(timeoutMs),
  })
  if (!response.ok || response.body === null) {
    await response.body?.cancel()
    throw new Error(`${url.href} answered ${response.status}`)
  }
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response.body) {
    bytes += chunk.length
    if (bytes > maxDocumentBytes) throw new Error(`${url.href} is larger than ${maxDocumentBytes} bytes`)
    chunks.push(chunk)
  }
  return JSON.parse(Buffer.concat(chunks).toString('utf8'))
}

function noKeys(): Fault {
  return new Fault(
    'service_unavailable',
    'The token issuer cannot be reached, so access tokens cannot be checked at the moment. Retry shortly, or send an API key.',
    { retryAfterSeconds: 30 },
  )
}
