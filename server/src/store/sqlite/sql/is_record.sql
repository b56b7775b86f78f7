-- Whether a record stands where the index says.
-- Guard: none; read in the transaction that acts on it.
SELECT 1 FROM records WHERE id = ?1 AND digest = ?2
