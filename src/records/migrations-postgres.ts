/**
 * The schema in PostgreSQL's words. A version means the same tables and columns as the version of that number in
 * `migrations.ts`; the first step here leads to the version at which PostgreSQL came in. A step is never edited once it
 * has been released: a change is a new step in both files.
 */
export type PostgresMigration = {
  version: number
  sql: string
  /** The oldest version whose programs work on this schema too; not given: the same as before this step. */
  worksSince?: number
}

/** Under the collation "C" text is compared by its bytes, as everywhere else in assetd. */
const text = 'text COLLATE "C"'

/** Letters and digits, folded the same way wherever the database was made: ICU is in every build that we know of. */
const letters = 'COLLATE "und-x-icu"'

export const postgresMigrations: readonly PostgresMigration[] = [
  {
    version: 4,
    worksSince: 4,
    sql: `
    CREATE TABLE assets (
      asset_id ${text} PRIMARY KEY,
      workspace ${text} NOT NULL,
      owner ${text} NOT NULL,
      state ${text} NOT NULL CHECK (state IN ('pending', 'completed')),
      token ${text} NOT NULL,
      service_id ${text} NOT NULL,
      lease_expires_at_ms bigint,
      blob_key ${text} NOT NULL UNIQUE,
      created_at_ms bigint NOT NULL,
      name ${text},
      media_type ${text},
      size_bytes bigint,
      sha256 ${text},
      width bigint,
      height bigint,
      completed_at_ms bigint,
      damaged_at_ms bigint,
      completed_order bigint,
      words tsvector
    );
    CREATE INDEX assets_pending ON assets (created_at_ms) WHERE state = 'pending';
    CREATE INDEX assets_of_workspace ON assets (workspace, state, completed_at_ms DESC, asset_id DESC);
    CREATE INDEX assets_of_owner ON assets (workspace, owner, state, completed_at_ms DESC, asset_id DESC);
    CREATE UNIQUE INDEX assets_by_completion ON assets (completed_order) WHERE completed_order IS NOT NULL;
    CREATE INDEX assets_by_words ON assets USING gin (words);
    CREATE SEQUENCE assets_completion;

    CREATE FUNCTION assetd_fold(whole text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
      SELECT normalize(regexp_replace(normalize(lower(whole ${letters}), NFD), '[\\u0300-\\u036f]', '', 'g'), NFC)
    $$;
    -- A word longer than this is found by its beginning: an index entry has an end.
    CREATE FUNCTION assetd_lexeme(word text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
      SELECT left(assetd_fold(word), 400)
    $$;
    CREATE FUNCTION assetd_scope(workspace text, kind text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
      SELECT '/' || encode(sha256(convert_to(workspace, 'UTF8')), 'hex') || kind
    $$;
    CREATE FUNCTION assetd_words(scope text, whole text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
      SELECT array_to_tsvector(array_agg(DISTINCT lexeme COLLATE "C")) FROM (
        SELECT scope AS lexeme
        UNION ALL
        SELECT assetd_lexeme(word) FROM regexp_split_to_table(whole ${letters}, '[^[:alnum:]]+') AS word
      ) AS lexemes WHERE length(lexeme) > 0
    $$;
    CREATE FUNCTION assetd_state_changes() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NEW.state = 'completed' AND OLD.state <> 'completed' THEN
        NEW.completed_order := nextval('assets_completion');
        NEW.words := assetd_words(
          assetd_scope(NEW.workspace, CASE WHEN NEW.media_type IN ('png', 'jpeg') THEN 'image' ELSE 'other' END),
          concat_ws(' ', NEW.name, NEW.media_type, NEW.owner));
      ELSIF NEW.state <> 'completed' AND OLD.state = 'completed' THEN
        NEW.completed_order := NULL;
        NEW.words := NULL;
      END IF;
      RETURN NEW;
    END $$;
    CREATE TRIGGER assets_state_changes BEFORE UPDATE OF state ON assets
      FOR EACH ROW EXECUTE FUNCTION assetd_state_changes();

    -- Ends the transaction where a statement that had to change a row changed none.
    CREATE FUNCTION assetd_must_change(changed bigint) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
      IF changed = 0 THEN
        RAISE EXCEPTION 'nothing to change, as may happen: the batch is undone' USING ERRCODE = 'AD000';
      END IF;
      RETURN true;
    END $$;

    CREATE TABLE idempotency_keys (
      workspace ${text} NOT NULL,
      route ${text} NOT NULL,
      key ${text} NOT NULL,
      token ${text} NOT NULL,
      service_id ${text} NOT NULL,
      lease_expires_at_ms bigint NOT NULL,
      status bigint,
      body ${text},
      file_sha256 ${text},
      expires_at_ms bigint,
      PRIMARY KEY (workspace, route, key)
    );
    CREATE INDEX idempotency_keys_expired ON idempotency_keys (expires_at_ms) WHERE expires_at_ms IS NOT NULL;
    CREATE INDEX idempotency_keys_in_flight ON idempotency_keys (service_id) WHERE body IS NULL;

    CREATE TABLE api_keys (
      key_id ${text} PRIMARY KEY,
      secret_hash ${text} NOT NULL,
      workspace ${text} NOT NULL,
      owner ${text} NOT NULL,
      scopes ${text} NOT NULL,
      created_at_ms bigint NOT NULL,
      expires_at_ms bigint,
      last_used_at_ms bigint,
      revoked_at_ms bigint
    );

    CREATE TABLE token_issuer (
      id bigint PRIMARY KEY CHECK (id = 1),
      issuer ${text} NOT NULL,
      audience ${text} NOT NULL,
      key_id ${text} NOT NULL,
      private_jwk ${text} NOT NULL,
      created_at_ms bigint NOT NULL
    );

    CREATE TABLE direct_uploads (
      asset_id ${text} PRIMARY KEY,
      workspace ${text} NOT NULL,
      owner ${text} NOT NULL,
      state ${text} NOT NULL CHECK (state IN ('pending_upload', 'processing', 'completed', 'failed')),
      name ${text} NOT NULL,
      content_type ${text} NOT NULL,
      size_bytes bigint NOT NULL,
      sha256 ${text},
      created_at_ms bigint NOT NULL,
      expires_at_ms bigint NOT NULL,
      blob_key ${text} UNIQUE,
      scratch_blob_key ${text} UNIQUE,
      token ${text},
      service_id ${text},
      lease_expires_at_ms bigint,
      settled_at_ms bigint,
      error ${text},
      batch_id ${text},
      item_index bigint
    );
    CREATE INDEX direct_uploads_open ON direct_uploads (expires_at_ms) WHERE state = 'pending_upload';
    CREATE INDEX direct_uploads_queued ON direct_uploads (created_at_ms) WHERE state = 'processing';
    CREATE INDEX direct_uploads_held ON direct_uploads (token) WHERE token IS NOT NULL;
    CREATE INDEX direct_uploads_settled ON direct_uploads (settled_at_ms) WHERE settled_at_ms IS NOT NULL;
    CREATE UNIQUE INDEX direct_uploads_of_batch ON direct_uploads (batch_id, item_index) WHERE batch_id IS NOT NULL;

    CREATE TABLE batches (
      batch_id ${text} PRIMARY KEY,
      workspace ${text} NOT NULL,
      owner ${text} NOT NULL,
      title ${text},
      total_items bigint NOT NULL,
      created_at_ms bigint NOT NULL
    );
    CREATE INDEX batches_by_age ON batches (created_at_ms);
    `,
  },
  {
    version: 5,
    sql: `
    ALTER TABLE assetd_schema ADD COLUMN IF NOT EXISTS works_since bigint;

    CREATE TABLE blob_store (
      id bigint PRIMARY KEY CHECK (id = 1),
      records_id ${text} NOT NULL,
      store_id ${text},
      copied_from ${text},
      copy_state ${text}
    );

    CREATE TABLE chores (
      name ${text} PRIMARY KEY,
      token ${text} NOT NULL,
      due_at_ms bigint NOT NULL
    );
    `,
  },
  // The same tables as before: this step is about SQLite's index over texts.
  { version: 6, sql: 'SELECT 1' },
  // An accent that stands for itself, as names from macOS have them, is no end of a word.
  {
    version: 7,
    sql: `
    CREATE OR REPLACE FUNCTION assetd_words(scope text, whole text)
      RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
      SELECT array_to_tsvector(array_agg(DISTINCT lexeme COLLATE "C")) FROM (
        SELECT scope AS lexeme
        UNION ALL
        SELECT assetd_lexeme(word)
        FROM regexp_split_to_table(normalize(whole, NFC) ${letters}, '[^[:alnum:]]+') AS word
      ) AS lexemes WHERE length(lexeme) > 0
    $$;
    UPDATE assets SET words = assetd_words(
      assetd_scope(workspace, CASE WHEN media_type IN ('png', 'jpeg') THEN 'image' ELSE 'other' END),
      concat_ws(' ', name, media_type, owner))
    WHERE completed_order IS NOT NULL AND name IS NOT NFC NORMALIZED;
    `,
  },
]
