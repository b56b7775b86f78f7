-- Remembers the greatest fence that is about to be purged.
-- Guard: the floor only rises. It is raised in the transaction that deletes the rows.
WITH floor (fence) AS (VALUES (?))
UPDATE fence_floor AS f SET fence = floor.fence FROM floor WHERE f.id = 1 AND f.fence < floor.fence
