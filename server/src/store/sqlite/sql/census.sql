-- Counts the next records in the order of their ids, by how they stand.
-- Guard: none; it only looks.
-- 0 is expired and -1 in progress with a lapsed lease; the others are the states' numbers.
SELECT
    namespace,
    policy_id,
    stands,
    count(*),
    min(CASE stands
        WHEN 0 THEN expires_at_us
        WHEN -1 THEN lease_until_us
        WHEN 1 THEN claimed_at_us
        ELSE settled_at_us
    END),
    max(id)
FROM (
    SELECT
        id, namespace, policy_id, claimed_at_us, lease_until_us, settled_at_us, expires_at_us,
        CASE
            WHEN expires_at_us <= ?1 THEN 0
            WHEN state = 1 AND lease_until_us <= ?1 THEN -1
            ELSE state
        END AS stands
    FROM records
    WHERE id > ?2 AND id <= ?4
    ORDER BY id
    LIMIT ?3
)
GROUP BY namespace, policy_id, stands
