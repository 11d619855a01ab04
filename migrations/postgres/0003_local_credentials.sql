-- Users who are known here and prove it here: passwords and API keys. Neither is kept as it is given.

CREATE TABLE passwords (
    user_id TEXT   COLLATE "C" NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    -- The whole text of a PHC string: algorithm, cost, salt and hash.
    phc     TEXT   NOT NULL,
    updated BIGINT NOT NULL
);

CREATE TABLE api_keys (
    -- The part of the key that stands in its text in the clear.
    id            TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    user_id       TEXT   COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- HMAC of the whole text under the service's pepper.
    hash          TEXT   NOT NULL,
    label         TEXT   NOT NULL,
    scopes_json   TEXT   NOT NULL,
    created       BIGINT NOT NULL,
    expires       BIGINT,
    last_used     BIGINT,
    revoked       BIGINT,
    -- A key that was rotated: which one follows it, and until when it is still good beside that.
    replaced_by   TEXT,
    overlap_until BIGINT
);
CREATE INDEX api_keys_of_user ON api_keys (user_id, created);
