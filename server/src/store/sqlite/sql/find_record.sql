-- Which record the index has for a digest.
-- Guard: none; read in the transaction that acts on it.
SELECT record_id FROM key_index WHERE digest = ?1
