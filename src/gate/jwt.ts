/** Reads and checks JWTs. Loaded with the first token that comes: most services are asked with API keys alone. */
import { decodeJwt, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose'
import { Fault } from '../errors.ts'

export type Issuer = {
  issuer: string
  audience: string
  /** Null: every token of this issuer is of the workspace `default`. */
  workspaceClaim: string | null
  /** Finds the key that signed a token; may throw a Fault `service_unavailable` where none can be had. */
  keys: JWTVerifyGetKey
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

/** Read before anything is proven, to choose whose keys prove it; null for what is no JWT. */
export function claimedIssuer(token: string): { issuer: string | undefined } | null {
  try {
    return { issuer: decodeJwt(token).iss }
  } catch {
    return null
  }
}

/**
 * @returns what the token says, or in words why it is not to be believed
 * @throws {Fault} `service_unavailable` where the issuer's keys cannot be had
 */
export async function verified(
  issuer: Issuer,
  token: string,
  currentDate: Date,
): Promise<{ payload: JWTPayload } | { reason: string }> {
  try {
    return await jwtVerify(token, issuer.keys, {
      algorithms,
      typ: 'at+jwt', // RFC 9068 section 4: keeps an ID token of the same issuer out
      issuer: issuer.issuer,
      audience: issuer.audience,
      requiredClaims: ['exp', 'sub'],
      clockTolerance: 5,
      currentDate,
    })
  } catch (error) {
    if (error instanceof Fault) throw error
    return { reason: reasonOf(error) }
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof errors.JWTExpired) return 'it has expired'
  if (error instanceof errors.JWTClaimValidationFailed) return `its ${error.claim} is not as required`
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'its signature does not match'
  if (error instanceof errors.JWKSNoMatchingKey) return 'its issuer publishes no key that signed it'
  return 'it is not a valid signed access token'
}
