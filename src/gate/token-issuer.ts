/** The embedded issuer: names and a signing key that are made once and kept with the records. */
import { randomUUID } from 'node:crypto'
import { createLocalJWKSet, exportJWK, generateKeyPair, importJWK, type JWK, SignJWT } from 'jose'
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
  /** A signed access token (RFC 9068) for this principal. */
  mint(principal: Principal, expiresInSeconds: number): Promise<string>
}

/** Reads the issuer, making it first where there is none yet. */
export async function openTokenIssuer(database: Database): Promise<TokenIssuer> {
  let row = await findTokenIssuer(database)
  if (row === null) {
    await database.write([insertTokenIssuer(database, await newIssuer())])
    row = await findTokenIssuer(database)
  }
  if (row === null) throw new Error('the token issuer was written and is not there')
  return fromRow(row)
}

async function newIssuer(): Promise<TokenIssuerRow> {
  const { privateKey } = await generateKeyPair(algorithm, { extractable: true })
  return {
    issuer: `urn:assetd:${randomUUID()}`,
    audience: 'assetd',
    key_id: randomUUID(),
    private_jwk: JSON.stringify(await exportJWK(privateKey)),
    created_at_ms: Date.now(),
  }
}

async function fromRow(row: TokenIssuerRow): Promise<TokenIssuer> {
  const privateJwk = JSON.parse(row.private_jwk) as JWK
  const signingKey = await importJWK(privateJwk, algorithm)
  const { d: _secret, ...publicJwk } = privateJwk
  const jwks = { keys: [{ ...publicJwk, kid: row.key_id, alg: algorithm, use: 'sig' }] }
  return {
    trust: { issuer: row.issuer, audience: row.audience, workspaceClaim, keys: createLocalJWKSet(jwks) },
    jwks,
    mint(principal, expiresInSeconds) {
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
        .setIssuedAt()
        .setExpirationTime(Math.floor(Date.now() / 1000) + expiresInSeconds)
        .sign(signingKey)
    },
  }
}
