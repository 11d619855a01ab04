-- Which of its profiles a user was last changed by, where the identity server counts them. Times are microseconds since
-- the Unix epoch. The file of the same name in migrations/postgres makes the same changes.
ALTER TABLE users ADD COLUMN profile_version BIGINT;
