/** Who asks: an API key, an access token, or both where they agree. */
import type { IncomingMessage } from 'node:http'
import { isIPv6, SocketAddress } from 'node:net'
import { Fault } from '../errors.ts'
import { countFields } from '../http/framing.ts'
import type { Caller, Principal, Scope } from '../principal.ts'
import type { ApiKeys } from './api-key.ts'
import type { BearerTokens } from './bearer.ts'
import type { Counters } from './counters.ts'
import { tooMany } from './rate-limit.ts'

export type AuthenticateOptions = { apiKeys: ApiKeys; bearerTokens: BearerTokens; counters: Counters }

/** Guessing costs the guesser; good credentials from the same address still pass. */
const failurePolicy = { limit: 60, windowSeconds: 60 }

/** @returns a gate that gives the caller; @throws {Fault} `authentication_failed`, `rate_limit_exceeded` */
export function createAuthenticate({ apiKeys, bearerTokens, counters }: AuthenticateOptions) {
  return async function authenticate(request: IncomingMessage, address: string): Promise<Caller> {
    try {
      return await identify(request)
    } catch (error) {
      if (!(error instanceof Fault) || error.code !== 'authentication_failed') throw error
      const failures = await counters.take(`failures:${network(address)}`, failurePolicy)
      throw failures.allowed ? error : tooMany(failures.retryAfterSeconds)
    }
  }

  async function identify(request: IncomingMessage): Promise<Caller> {
    const counts = countFields(request.rawHeaders)
    for (const name of ['x-api-key', 'authorization']) {
      if ((counts[name] ?? 0) > 1)
        throw invalid(`The request has more than one ${name} header. Send exactly one.`)
    }
    const key = request.headers['x-api-key']
    const authorization = request.headers.authorization
    const byKey = key === undefined ? null : await identifyKey(String(key))
    const byToken = authorization === undefined ? null : await identifyToken(authorization)
    if (byKey !== null && byToken !== null) return agreed(byKey, byToken)
    if (byKey !== null) return byKey
    if (byToken !== null) return byToken
    throw new Fault(
      'authentication_failed',
      'Credentials are missing. Send an API key in the x-api-key header, or an access token as Authorization: Bearer <token>.',
      { challenge: '' },
    )
  }

  async function identifyKey(key: string): Promise<Caller> {
    const known = await apiKeys.find(key)
    if (known === null) throw invalid('Invalid or expired API key. Verify your x-api-key header.')
    return { principal: known.principal, credentials: [`key:${known.keyId}`], keyId: known.keyId }
  }

  async function identifyToken(authorization: string): Promise<Caller> {
    const [, token] = /^bearer +([A-Za-z0-9\-._~+/]+=*)$/i.exec(authorization) ?? []
    if (token === undefined) {
      throw invalid('The Authorization header is not of the form "Bearer <token>". No other scheme is taken.')
    }
    const known = await bearerTokens.verify(token)
    return { principal: known.principal, credentials: [known.credential], keyId: null }
  }
}

/** @throws {Fault} `forbidden` where the credentials carry none of the scopes, each of which is enough */
export function requireScope({ principal }: Caller, scopes: readonly Scope[]): void {
  if (scopes.some((scope) => principal.scopes.has(scope))) return
  throw new Fault(
    'forbidden',
    `These credentials do not have the scope ${scopes.join(' or ')}. Use ones that do.`,
    {
      details: { required_scope: scopes[0], scopes: [...principal.scopes] },
      challenge: `, error="insufficient_scope", scope="${scopes[0]}"`,
    },
  )
}

function agreed(byKey: Caller, byToken: Caller): Caller {
  const [a, b] = [byKey.principal, byToken.principal]
  if (a.workspace !== b.workspace || a.owner !== b.owner) {
    throw invalid(
      'The API key and the access token are of different owners. Send one of them, or two that agree.',
    )
  }
  const principal: Principal = { ...a, scopes: a.scopes.intersection(b.scopes) }
  return { principal, credentials: [...byKey.credentials, ...byToken.credentials], keyId: byKey.keyId }
}

function invalid(message: string): Fault {
  return new Fault('authentication_failed', message, { challenge: ', error="invalid_token"' })
}

/**
 * The address that failures count against, one for each of its spellings and ports; of IPv6 the /64, which is what
 * one household or server has.
 */
function network(text: string): string {
  const [bare = ''] = text.split('%') // the zone of an address of this link
  const address = SocketAddress.parse(isIPv6(bare) ? `[${bare}]` : bare)?.address ?? text
  if (!isIPv6(address)) return address
  if (address.startsWith('::ffff:') && address.includes('.')) return address.slice('::ffff:'.length)
  const [head = '', tail = ''] = address.split('::')
  const front = head.split(':').filter(Boolean)
  const back = tail.split(':').filter(Boolean)
  const zeros = address.includes('::') ? 8 - front.length - back.length : 0
  return `${[...front, ...Array(zeros).fill('0'), ...back].slice(0, 4).join(':')}::/64`
}
