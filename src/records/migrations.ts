/**
 * The schema, step by step. A step is never edited once it has been released: a change is a new step.
 * Each runs once, in the transaction that also raises the schema's version.
 */
export const migrations: readonly string[] = [
  `
  CREATE TABLE assets (
    asset_id TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    owner TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'completed')),
    token TEXT NOT NULL,
    service_id TEXT NOT NULL,
    lease_expires_at_ms INTEGER,
    blob_key TEXT NOT NULL UNIQUE,
    created_at_ms INTEGER NOT NULL,
    name TEXT,
    media_type TEXT,
    size_bytes INTEGER,
    sha256 TEXT,
    width INTEGER,
    height INTEGER,
    completed_at_ms INTEGER
  ) STRICT;
  CREATE INDEX assets_pending ON assets (created_at_ms) WHERE state = 'pending';

  CREATE TABLE idempotency_keys (
    workspace TEXT NOT NULL,
    route TEXT NOT NULL,
    key TEXT NOT NULL,
    token TEXT NOT NULL,
    service_id TEXT NOT NULL,
    lease_expires_at_ms INTEGER NOT NULL,
    status INTEGER,
    body TEXT,
    file_sha256 TEXT,
    expires_at_ms INTEGER,
    PRIMARY KEY (workspace, route, key)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX idempotency_keys_expired ON idempotency_keys (expires_at_ms) WHERE expires_at_ms IS NOT NULL;
  CREATE INDEX idempotency_keys_in_flight ON idempotency_keys (service_id) WHERE body IS NULL;

  CREATE TABLE api_keys (
    key_id TEXT PRIMARY KEY,
    secret_hash TEXT NOT NULL,
    workspace TEXT NOT NULL,
    owner TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER,
    last_used_at_ms INTEGER,
    revoked_at_ms INTEGER
  ) STRICT;

  CREATE TABLE token_issuer (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    issuer TEXT NOT NULL,
    audience TEXT NOT NULL,
    key_id TEXT NOT NULL,
    private_jwk TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL
  ) STRICT;
  `,
]
