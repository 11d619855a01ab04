-- Limits that the identity server sets for a user. The file of the same name in migrations/postgres makes the same changes.

-- Those that hold until an upload ends, as they were when it began: who continues it by a token brings none.
ALTER TABLE uploads ADD COLUMN max_total_bytes BIGINT;
ALTER TABLE uploads ADD COLUMN max_chunk_bytes BIGINT;
ALTER TABLE uploads ADD COLUMN requests_per_minute BIGINT;
ALTER TABLE uploads ADD COLUMN ttl_seconds BIGINT;
-- What was left of an account elsewhere, and when that was told.
ALTER TABLE uploads ADD COLUMN remaining_bytes BIGINT;
ALTER TABLE uploads ADD COLUMN remaining_as_of BIGINT;

-- What a user's uploads take is counted whenever one of a limited user begins.
CREATE INDEX uploads_counted ON uploads (owner, state);
