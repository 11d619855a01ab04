-- Uploads that are joined from parts. The file of the same name in migrations/sqlite makes the same changes.

-- Whether it is a part: bytes for another upload, and no file of its own.
ALTER TABLE uploads ADD COLUMN is_part BOOLEAN NOT NULL DEFAULT FALSE;
-- Of which upload, and at which place in it. Once set, for ever.
ALTER TABLE uploads ADD COLUMN part_of TEXT;
ALTER TABLE uploads ADD COLUMN part_number BIGINT;
-- Of one that is joined: the list of its parts as it was sent, how many there are, and what says which and in what order.
ALTER TABLE uploads ADD COLUMN parts_listed TEXT;
ALTER TABLE uploads ADD COLUMN part_count BIGINT;
ALTER TABLE uploads ADD COLUMN parts_key TEXT;

-- Of any number of requests for the same upload one makes it.
CREATE UNIQUE INDEX uploads_joined_once ON uploads (owner, parts_key) WHERE parts_key IS NOT NULL;
CREATE INDEX uploads_parts ON uploads (part_of, part_number) WHERE part_of IS NOT NULL;
CREATE INDEX uploads_to_join ON uploads (created) WHERE part_count IS NOT NULL AND state = 'receiving';
CREATE INDEX uploads_parts_left ON uploads (part_of) WHERE part_of IS NOT NULL AND state = 'receiving';
