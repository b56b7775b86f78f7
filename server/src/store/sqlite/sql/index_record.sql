-- Adds a record to the index.
-- Guard: the digest has no entry. Should it have one, two records stand under one key, and nothing may
-- be built on that: the statement fails.
INSERT INTO key_index (digest, record_id) VALUES (?1, ?2)
