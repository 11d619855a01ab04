-- What tus clients say when they begin an upload. The file of the same name in migrations/sqlite makes the same changes.

-- The client's own words about it, given back as they came.
ALTER TABLE uploads ADD COLUMN metadata TEXT;
-- Whether it is complete as soon as its length is reached, or when its client says so.
ALTER TABLE uploads ADD COLUMN completes BOOLEAN NOT NULL DEFAULT FALSE;
