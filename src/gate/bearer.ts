/**
 * OAuth2 access tokens as `Authorization: Bearer` (RFC 6750): JWTs of the profile RFC 9068, checked against the
 * published keys of the issuer that the token names. There are at most two issuers: the embedded one, and one that
 * the configuration names.
 */
import { decodeJwt, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose'
import { Fault } from '../errors.ts'
import { type Principal, parseScopes } from '../principal.ts'

export type Issuer = {
  issuer: string
  audience: string
  /** Null: every token of this issuer is of the workspace `default`. */
  workspaceClaim: string | null
  /** Finds the key that signed a token; may throw a Fault `service_unavailable` where none can be had. */
  keys: JWTVerifyGetKey
}

export type KnownToken = { principal: Principal; credential: string }

export interface BearerTokens {
  /** @throws {Fault} `authentication_failed`, `service_unavailable` */
  verify(token: string): Promise<KnownToken>
}

/** Asymmetric ones alone: with a shared secret, whoever checks tokens could make them (RFC 8725 section 3.1). */
const algorithms = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
]

/** @param now unix milliseconds */
export function createBearerTokens(issuers: readonly Issuer[], now: () => number): BearerTokens {
  return {
    async verify(token) {
      const issuer = issuers.find((one) => one.issuer === claimedIssuer(token))
      if (issuer === undefined) throw refused('it is of an issuer that this service does not know')
      const payload = await verifyWith(issuer, token, new Date(now()))
      return { principal: principalOf(payload, issuer), credential: credentialOf(payload, issuer) }
    },
  }
}

/** Read before anything is proven, to choose whose keys prove it. */
function claimedIssuer(token: string): unknown {
  try {
    return decodeJwt(token).iss
  } catch {
    throw refused('it is not a JWT (opaque tokens are not taken)')
  }
}

async function verifyWith(issuer: Issuer, token: string, currentDate: Date): Promise<JWTPayload> {
  try {
    const { payload } = await jwtVerify(token, issuer.keys, {
      algorithms,
      typ: 'at+jwt', // RFC 9068 section 4: keeps an ID token of the same issuer out
      issuer: issuer.issuer,
      audience: issuer.audience,
      requiredClaims: ['exp', 'sub'],
      clockTolerance: 5,
      currentDate,
    })
    return payload
  } catch (error) {
    if (error instanceof Fault) throw error
    throw refused(reasonOf(error))
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'it has expired'
  if (error instanceof errors.JWTClaimValidationFailed) return `its ${error.claim} is not as required`
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'its signature does not match'
  if (error instanceof errors.JWKSNoMatchingKey) return 'its issuer publishes no key that signed it'
  return 'it is not a valid signed access token'
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
