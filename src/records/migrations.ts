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
  `
  ALTER TABLE assets ADD COLUMN damaged_at_ms INTEGER;
  `,
  // Lists go down one of two indexes and never sort. Searches go down the text index; a search is within one workspace,
  // so the workspace, and whether it is an image, make one word of each text. Its row ids are the order in which assets were completed, in a column of
  // their own: SQLite may number the rows of a table anew when it copies a file. Triggers keep all that, so whatever
  // completes or deletes an asset, now or later, cannot forget it.
  `
  CREATE INDEX assets_of_workspace ON assets (workspace, state, completed_at_ms DESC, asset_id DESC);
  CREATE INDEX assets_of_owner ON assets (workspace, owner, state, completed_at_ms DESC, asset_id DESC);

  CREATE VIRTUAL TABLE asset_texts USING fts5 (
    name, type, owner, scope,
    content = '', contentless_delete = 1, detail = column, prefix = '2 3 4 5 6'
  );
  ALTER TABLE assets ADD COLUMN completed_order INTEGER;
  CREATE UNIQUE INDEX assets_by_completion ON assets (completed_order) WHERE completed_order IS NOT NULL;
  CREATE TRIGGER assets_completed AFTER UPDATE OF state ON assets
    WHEN new.state = 'completed' AND old.state != 'completed'
  BEGIN
    UPDATE assets SET completed_order =
        (SELECT coalesce(max(completed_order), 0) + 1 FROM assets WHERE completed_order IS NOT NULL)
      WHERE asset_id = new.asset_id;
    INSERT INTO asset_texts (rowid, name, type, owner, scope)
      SELECT completed_order, name, media_type, owner, 'w' || hex(workspace) || CASE WHEN media_type IN ('png', 'jpeg') THEN 'image' ELSE 'other' END
        FROM assets WHERE asset_id = new.asset_id;
  END;
  CREATE TRIGGER assets_withdrawn AFTER UPDATE OF state ON assets
    WHEN new.state != 'completed' AND old.state = 'completed'
  BEGIN
    DELETE FROM asset_texts WHERE rowid = old.completed_order;
    UPDATE assets SET completed_order = NULL WHERE asset_id = new.asset_id;
  END;
  UPDATE assets SET completed_order = numbered.at
    FROM (SELECT asset_id, row_number() OVER (ORDER BY completed_at_ms, asset_id) AS at
          FROM assets WHERE state = 'completed') AS numbered
    WHERE assets.asset_id = numbered.asset_id;
  INSERT INTO asset_texts (rowid, name, type, owner, scope)
    SELECT completed_order, name, media_type, owner, 'w' || hex(workspace) || CASE WHEN media_type IN ('png', 'jpeg') THEN 'image' ELSE 'other' END
        FROM assets WHERE state = 'completed';
  `,
  // Direct uploads: an asset that was announced, whose bytes come by a signed URL. Every blob that is there is named by
  // one of two columns: the one that counts, and one that whoever holds the token writes or removes.
  `
  CREATE TABLE direct_uploads (
    asset_id TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    owner TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending_upload', 'processing', 'completed', 'failed')),
    name TEXT NOT NULL,
    content_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    sha256 TEXT,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    blob_key TEXT UNIQUE,
    scratch_blob_key TEXT UNIQUE,
    token TEXT,
    service_id TEXT,
    lease_expires_at_ms INTEGER,
    settled_at_ms INTEGER,
    error TEXT,
    batch_id TEXT,
    item_index INTEGER
  ) STRICT;
  CREATE INDEX direct_uploads_open ON direct_uploads (expires_at_ms) WHERE state = 'pending_upload';
  CREATE INDEX direct_uploads_queued ON direct_uploads (created_at_ms) WHERE state = 'processing';
  CREATE INDEX direct_uploads_held ON direct_uploads (token) WHERE token IS NOT NULL;
  CREATE INDEX direct_uploads_settled ON direct_uploads (settled_at_ms) WHERE settled_at_ms IS NOT NULL;
  CREATE UNIQUE INDEX direct_uploads_of_batch ON direct_uploads (batch_id, item_index) WHERE batch_id IS NOT NULL;

  CREATE TABLE batches (
    batch_id TEXT PRIMARY KEY,
    workspace TEXT NOT NULL,
    owner TEXT NOT NULL,
    title TEXT,
    total_items INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX batches_by_age ON batches (created_at_ms);
  `,
  `
  CREATE TABLE blob_store (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    records_id TEXT NOT NULL,
    store_id TEXT,
    copied_from TEXT,
    copy_state TEXT
  ) STRICT;

  CREATE TABLE chores (
    name TEXT PRIMARY KEY,
    token TEXT NOT NULL,
    due_at_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
  // Searches at a million assets cost what they cost at a thousand (docs/performance.md): a word's list is read from its
  // end, and a page of it has to be read whole; and each piece of the index has lists of its own.
  `
  INSERT INTO asset_texts (asset_texts, rank) VALUES ('pgsz', 512);
  INSERT INTO asset_texts (asset_texts, rank) VALUES ('automerge', 2);
  INSERT INTO asset_texts (asset_texts) VALUES ('optimize');
  `,
  // The same tables as before: this step is about PostgreSQL's index over texts.
  'SELECT 1',
]
