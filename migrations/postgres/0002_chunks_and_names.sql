-- The file of the same name in migrations/sqlite makes the same changes.

-- Where the last chunk began. Of older uploads it is not known; 0 is right, and costs a client that repeats its last
-- chunk more than it has to.
ALTER TABLE uploads ADD COLUMN tail_start BIGINT NOT NULL DEFAULT 0;

-- A client that kept no id finds its upload by the file's name.
CREATE INDEX uploads_named ON uploads (owner, filename, created DESC);
