-- What a client says at the beginning that the whole content will hash to. The file of the same name in
-- migrations/sqlite makes the same change.

-- In hexadecimal; its algorithm is the one of the digest that is kept up.
ALTER TABLE uploads ADD COLUMN expected_hex TEXT;
