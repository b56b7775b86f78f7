-- Remembers the greatest fence that is about to be purged.
-- Guard: the floor only rises. It is raised in the transaction that deletes the rows.
UPDATE fence_floor SET fence = ?1 WHERE id = 1 AND fence < ?1
