/** The tables as Kysely sees them. Times are unix milliseconds (`…_at_ms`), sizes bytes. */
import type { AssetState, MediaType } from '../asset.ts'

export type AssetsTable = {
  asset_id: string
  workspace: string
  owner: string
  state: AssetState
  /** The fencing token of the upload that owns a pending row: only its holder may commit or release it. */
  token: string
  /** The run of the service that holds a pending row. */
  service_id: string
  lease_expires_at_ms: number | null
  blob_key: string
  created_at_ms: number
  /** All below are null until the asset is completed. */
  name: string | null
  media_type: MediaType | null
  size_bytes: number | null
  sha256: string | null
  width: number | null
  height: number | null
  completed_at_ms: number | null
}

/** One Idempotency-Key in its scope. In flight while `body` is null; afterwards the answer to replay. */
export type IdempotencyKeysTable = {
  workspace: string
  route: string
  key: string
  token: string
  service_id: string
  lease_expires_at_ms: number
  status: number | null
  body: string | null
  file_sha256: string | null
  expires_at_ms: number | null
}

export type ApiKeysTable = {
  key_id: string
  /** SHA-256 of the secret half, hex. */
  secret_hash: string
  workspace: string
  owner: string
  scopes: string
  created_at_ms: number
  expires_at_ms: number | null
  last_used_at_ms: number | null
  revoked_at_ms: number | null
}

/** The embedded token issuer: one row, made once. */
export type TokenIssuerTable = {
  id: number
  issuer: string
  audience: string
  key_id: string
  private_jwk: string
  created_at_ms: number
}

export type Tables = {
  assets: AssetsTable
  idempotency_keys: IdempotencyKeysTable
  api_keys: ApiKeysTable
  token_issuer: TokenIssuerTable
}
