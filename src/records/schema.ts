/** The tables as Kysely sees them. Times are unix milliseconds (`…_at_ms`), sizes bytes. */
import type { Generated } from 'kysely'
import type { AssetState, AssetType } from '../asset.ts'

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
  media_type: AssetType | null
  size_bytes: number | null
  sha256: string | null
  width: number | null
  height: number | null
  completed_at_ms: number | null
  /** Set while the bytes are known not to be those that were acknowledged: they are not served. */
  damaged_at_ms: number | null
  /** Set by the database when the asset is completed: the row of its text in the index that searches go down. */
  completed_order: Generated<number | null>
}

export type DirectUploadState = 'pending_upload' | 'processing' | 'completed' | 'failed'

/** An asset that was announced; its bytes come by a signed URL and are looked at when it is completed. */
export type DirectUploadsTable = {
  asset_id: string
  workspace: string
  owner: string
  state: DirectUploadState
  /** As it was declared: the name, the Content-Type, the exact size and, if the client gave it, the hash in hex. */
  name: string
  content_type: string
  size_bytes: number
  sha256: string | null
  created_at_ms: number
  /** When the signed URL ends, by the wall clock. */
  expires_at_ms: number
  /** The bytes that came, whole and durable; null before they are there and once they are gone. */
  blob_key: string | null
  /** What the holder of the token writes, or is to remove. */
  scratch_blob_key: string | null
  /** Who works on it: one that takes the bytes in, or one that verifies them. */
  token: string | null
  service_id: string | null
  lease_expires_at_ms: number | null
  /** When it was completed or failed. */
  settled_at_ms: number | null
  /** Of a failed one: code, message, param and details, as JSON. */
  error: string | null
  batch_id: string | null
  item_index: number | null
}

export type BatchesTable = {
  batch_id: string
  workspace: string
  owner: string
  title: string | null
  total_items: number
  created_at_ms: number
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

/** One row, made once: by which records, their blobs, and copies of them know each other. */
export type BlobStoreTable = {
  id: number
  records_id: string
  /** Of the store that the blobs are in, once there is one. */
  store_id: string | null
  /** The `records_id` of what was copied into these. */
  copied_from: string | null
  copy_state: CopyState | null
}

/** `served`: since it was whole a service has been started on it, and goes its own way. */
export type CopyState = 'unfinished' | 'whole' | 'served'

/** Work that one copy of the service does for all; who holds the token does it until it is due again. */
export type ChoresTable = { name: string; token: string; due_at_ms: number }

export type Tables = {
  blob_store: BlobStoreTable
  chores: ChoresTable
  assets: AssetsTable
  direct_uploads: DirectUploadsTable
  batches: BatchesTable
  idempotency_keys: IdempotencyKeysTable
  api_keys: ApiKeysTable
  token_issuer: TokenIssuerTable
}
