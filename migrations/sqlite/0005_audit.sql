-- Who operates the service, and what operators did.

-- Whether the user's password admits as operator. A key does if it has the scope.
ALTER TABLE users ADD COLUMN admin BOOLEAN NOT NULL DEFAULT FALSE;

-- The trail: only ever added to. Names are those of the time; what they named may be gone.
CREATE TABLE audit (
    id          TEXT   NOT NULL PRIMARY KEY,
    at          BIGINT NOT NULL,
    -- 'cli', without an id, for commands that act on the database.
    operator    TEXT   NOT NULL,
    operator_id TEXT,
    deed        TEXT   NOT NULL,
    object_kind TEXT   NOT NULL,
    object_id   TEXT   NOT NULL,
    object_name TEXT   NOT NULL,
    outcome     TEXT   NOT NULL,
    detail      TEXT   NOT NULL
);
CREATE INDEX audit_newest ON audit (at DESC, id DESC);

-- Operators list what is newest, whoever it belongs to.
CREATE INDEX uploads_newest ON uploads (created DESC, id DESC);
CREATE INDEX users_newest ON users (created DESC, id DESC);
