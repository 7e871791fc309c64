/**
 * OAuth2 access tokens as `Authorization: Bearer` (RFC 6750): JWTs of the profile RFC 9068, checked against the
 * published keys of the issuer that the token names. There are at most two issuers: the embedded one, and one that
 * the configuration names.
 */
import type { JWTPayload } from 'jose'
import { Fault } from '../errors.ts'
import { type Principal, parseScopes } from '../principal.ts'
import type { Issuer } from './jwt.ts'

export type { Issuer }

export type KnownToken = { principal: Principal; credential: string }

export interface BearerTokens {
  /** @throws {Fault} `authentication_failed`, `service_unavailable` */
  verify(token: string): Promise<KnownToken>
}

/** @param now unix milliseconds */
export function createBearerTokens(issuers: readonly Issuer[], now: () => number): BearerTokens {
  return {
    async verify(token) {
      const { claimedIssuer, verified } = await import('./jwt.ts')
      const claimed = claimedIssuer(token)
      if (claimed === null) throw refused('it is not a JWT (opaque tokens are not taken)')
      const issuer = issuers.find((one) => one.issuer === claimed.issuer)
      if (issuer === undefined) throw refused('it is of an issuer that this service does not know')
      const result = await verified(issuer, token, new Date(now()))
      if ('reason' in result) throw refused(result.reason)
      const { payload } = result
      return { principal: principalOf(payload, issuer), credential: credentialOf(payload, issuer) }
    },
  }
}

function principalOf(payload: JWTPayload, { workspaceClaim }: Issuer): Principal {
  const workspace = workspaceClaim === null ? 'default' : payload[workspaceClaim]
  if (typeof workspace !== 'string' || !isName(workspace)) {
    throw refused(`its claim ${workspaceClaim}, which names the workspace, is missing or not a string`)
  }
  const owner = payload.sub
  if (typeof owner !== 'string' || !isName(owner)) throw refused('its sub is not as required')
  return { workspace, owner, scopes: parseScopes(scopeText(payload.scope ?? payload.scp)) }
}

/** PostgreSQL keeps no text with U+0000: two names must not become one. */
function isName(text: string): boolean {
  return text !== '' && !text.includes('\0')
}

/** `scope` is one string (RFC 9068 section 2.2.3); some issuers send a list, or call it `scp`. */
function scopeText(scope: unknown): string {
  if (typeof scope === 'string') return scope
  return Array.isArray(scope) ? scope.filter((one) => typeof one === 'string').join(' ') : ''
}

/** Whose rate limit a token counts against: a new token of the same subject and client does not start afresh. */
function credentialOf(payload: JWTPayload, issuer: Issuer): string {
  const client = payload.client_id ?? payload.azp ?? ''
  return `token:${JSON.stringify([issuer.issuer, payload.sub, client])}`
}

function refused(why: string): Fault {
  return new Fault(
    'authentication_failed',
    `Invalid or expired access token: ${why}. Send a current OAuth2 access token (JWT) as Authorization: Bearer <token>.`,
    { challenge: ', error="invalid_token"' },
  )
}
