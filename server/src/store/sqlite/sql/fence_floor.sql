-- The greatest fence that was ever purged.
-- Guard: none; read in the transaction that inserts.
SELECT fence FROM fence_floor WHERE id = 1
