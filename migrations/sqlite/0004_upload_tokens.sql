-- Upload tokens. The file of the same name in migrations/postgres makes the same changes.

-- The keys that sign them, one ring for all nodes. Two nodes that make the next key at once meet in its number.
CREATE TABLE token_keys (
    number     BIGINT NOT NULL PRIMARY KEY,
    secret     TEXT   NOT NULL,
    signs_from BIGINT NOT NULL
);

-- A token carries its user's epoch; raising it ends every token made before.
ALTER TABLE users ADD COLUMN token_epoch BIGINT NOT NULL DEFAULT 0;

-- The limit that the identity server set for the user when the upload began: who continues it by a token brings none.
ALTER TABLE uploads ADD COLUMN max_bytes BIGINT;
