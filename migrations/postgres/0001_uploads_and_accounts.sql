-- Only five kinds of columns: TEXT, BIGINT, BOOLEAN, BYTEA, and nullable ones. Times are microseconds since the Unix
-- epoch. The file of the same name in migrations/sqlite makes the same tables. COLLATE "C" on ids and proofs: compared
-- byte by byte, as SQLite does.

CREATE TABLE uploads (
    id               TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    -- '' for an upload of nobody: one comparison then serves both, with an index. No foreign key: the bytes of a user
    -- who is gone must still be found and collected.
    owner            TEXT COLLATE "C" NOT NULL,
    filename         TEXT   NOT NULL,
    content_type     TEXT,
    state            TEXT   NOT NULL,
    offset_bytes     BIGINT NOT NULL,
    size_bytes       BIGINT,
    digest_algorithm TEXT,
    digest_state     BYTEA,
    sum_algorithm    TEXT,
    sum_hex          TEXT,
    placement        TEXT,
    created          BIGINT NOT NULL,
    updated          BIGINT NOT NULL,
    expires          BIGINT NOT NULL,
    ended            BIGINT,
    CHECK (offset_bytes >= 0 AND (size_bytes IS NULL OR offset_bytes <= size_bytes))
);
CREATE INDEX uploads_listed ON uploads (owner, created DESC, id DESC);
-- One small index for each question of the reaper.
CREATE INDEX uploads_expiring ON uploads (expires) WHERE state = 'receiving';
CREATE INDEX uploads_complete ON uploads (ended) WHERE state = 'complete';
CREATE INDEX uploads_to_collect ON uploads (ended) WHERE state IN ('cancelled', 'expired') AND placement IS NOT NULL;
CREATE INDEX uploads_to_forget ON uploads (ended) WHERE state IN ('cancelled', 'expired') AND placement IS NULL;

CREATE TABLE users (
    id                TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    realm             TEXT    NOT NULL,
    subject           TEXT    NOT NULL,
    username          TEXT    NOT NULL,
    email             TEXT,
    display_name      TEXT,
    groups_json       TEXT,
    disabled_by_idp   BOOLEAN NOT NULL DEFAULT FALSE,
    disabled_by_admin BOOLEAN NOT NULL DEFAULT FALSE,
    created           BIGINT  NOT NULL,
    updated           BIGINT  NOT NULL,
    UNIQUE (realm, subject),
    UNIQUE (realm, username)
);

-- Which uploads a proof created. The slot is the upload's id where the proof may create several, and the word 'only'
-- where it may create one: the second then meets the primary key.
CREATE TABLE bindings (
    proof     TEXT COLLATE "C" NOT NULL,
    slot      TEXT COLLATE "C" NOT NULL,
    upload_id TEXT COLLATE "C" NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    user_id   TEXT COLLATE "C",
    PRIMARY KEY (proof, slot)
);
CREATE INDEX bindings_of_upload ON bindings (upload_id);

CREATE TABLE spent_proofs (
    proof TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    until BIGINT           NOT NULL
);
CREATE INDEX spent_proofs_until ON spent_proofs (until);

-- One row that the health check counts up.
CREATE TABLE probe (
    id    BIGINT NOT NULL PRIMARY KEY,
    beats BIGINT NOT NULL
);
