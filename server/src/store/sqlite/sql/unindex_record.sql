-- Takes an entry out of the index.
-- Guard: the record is gone; looked at in the same transaction.
DELETE FROM key_index WHERE digest = ?1 AND record_id = ?2
