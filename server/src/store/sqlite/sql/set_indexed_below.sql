-- Notes how far the index goes.
-- Guard: every record with a lower id is in the index, by this transaction or one before.
UPDATE key_index_state SET indexed_below = ?1 WHERE id = 1
