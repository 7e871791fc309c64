/** The embedded issuer: names and a signing key that are made once and kept with the records. */
import { generateKeyPairSync, hkdfSync, randomUUID } from 'node:crypto'
import type { JWK, JWTVerifyGetKey } from 'jose'
import type { Clock } from '../clock.ts'
import type { Principal } from '../principal.ts'
import type { Database } from '../records/database.ts'
import { findTokenIssuer, insertTokenIssuer, type TokenIssuerRow } from '../records/token-issuer.ts'
import type { Issuer } from './bearer.ts'

const algorithm = 'ES256'
const workspaceClaim = 'workspace'

export interface TokenIssuer {
  /** How its tokens are checked. */
  trust: Issuer
  /** The public half, as `/.well-known/jwks.json` shows it. */
  jwks: { keys: JWK[] }
  /** 32 bytes that are kept nowhere else and are the same wherever the same issuer is, another for each purpose. */
  secretFor(purpose: string): Buffer
  /** A signed access token (RFC 9068) for this principal. */
  mint(principal: Principal, expiresInSeconds: number): Promise<string>
}

/** Reads the issuer, making it first where there is none yet. */
export async function openTokenIssuer(database: Database, clock: Clock): Promise<TokenIssuer> {
  let row = await findTokenIssuer(database)
  if (row === null) {
    await database.write([insertTokenIssuer(database, newIssuer(clock))])
    row = await findTokenIssuer(database)
  }
  if (row === null) throw new Error('the token issuer was written and is not there')
  return fromRow(row, clock)
}

function newIssuer(clock: Clock): TokenIssuerRow {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return {
    issuer: `urn:assetd:${randomUUID()}`,
    audience: 'assetd',
    key_id: randomUUID(),
    private_jwk: JSON.stringify(privateKey.export({ format: 'jwk' })),
    created_at_ms: clock.wallMs(),
  }
}

function fromRow(row: TokenIssuerRow, clock: Clock): TokenIssuer {
  const privateJwk = JSON.parse(row.private_jwk) as JWK
  const { d: _secret, ...publicJwk } = privateJwk
  const jwks = { keys: [{ ...publicJwk, kid: row.key_id, alg: algorithm, use: 'sig' }] }
  return {
    trust: { issuer: row.issuer, audience: row.audience, workspaceClaim, keys: keysOf(jwks) },
    jwks,
    secretFor(purpose) {
      return Buffer.from(hkdfSync('sha256', String(privateJwk.d), row.issuer, purpose, 32))
    },
    async mint(principal, expiresInSeconds) {
      const { importJWK, SignJWT } = await import('jose')
      const signingKey = await importJWK(privateJwk, algorithm)
      const nowSeconds = Math.floor(clock.wallMs() / 1000)
      return new SignJWT({
        [workspaceClaim]: principal.workspace,
        scope: [...principal.scopes].join(' '),
        client_id: 'assetd-cli',
      })
        .setProtectedHeader({ alg: algorithm, typ: 'at+jwt', kid: row.key_id })
        .setIssuer(row.issuer)
        .setAudience(row.audience)
        .setSubject(principal.owner)
        .setJti(randomUUID())
        .setIssuedAt(nowSeconds)
        .setExpirationTime(nowSeconds + expiresInSeconds)
        .sign(signingKey)
    },
  }
}

/** Loaded with the first token, like the rest of what reads tokens (jwt.ts). */
function keysOf(jwks: { keys: JWK[] }): JWTVerifyGetKey {
  let find: JWTVerifyGetKey | null = null
  return async (header, token) => {
    find ??= (await import('jose')).createLocalJWKSet(jwks)
    return find(header, token)
  }
}
