-- Creations that happen once, however often they are sent. The file of the same name in migrations/postgres makes the same
-- changes.

-- What its client calls the creation, and a hash of what it said of the upload.
ALTER TABLE uploads ADD COLUMN creation_key TEXT;
ALTER TABLE uploads ADD COLUMN creation_said TEXT;

-- Of any number of requests with one key one makes the upload. What is over leaves its key to the next one.
CREATE UNIQUE INDEX uploads_created_once ON uploads (owner, creation_key)
    WHERE creation_key IS NOT NULL AND state IN ('receiving', 'complete');
