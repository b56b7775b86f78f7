-- Counts the records in some blocks of the table, by how they stand.
-- Guard: none; it only looks. By address, so that the blocks are read one after the other and none of
-- them twice: a tid range scan, which Postgres has from 14 on.
-- 0 is expired and -1 in progress with a lapsed lease; the others are the states' numbers.
WITH clock AS MATERIALIZED (
    SELECT coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now_us
),
standing AS (
    SELECT
        r.namespace,
        r.policy_id,
        CASE
            WHEN r.expires_at_us <= (SELECT now_us FROM clock) THEN 0
            WHEN r.state = 1 AND r.lease_until_us <= (SELECT now_us FROM clock) THEN -1
            ELSE r.state::bigint
        END AS stands,
        r.claimed_at_us,
        r.lease_until_us,
        r.settled_at_us,
        r.expires_at_us
    FROM records AS r
    WHERE r.ctid >= $2::text::tid AND r.ctid < $3::text::tid
)
SELECT
    namespace,
    policy_id,
    stands::bigint,
    count(*),
    min(CASE stands
        WHEN 0 THEN expires_at_us
        WHEN -1 THEN lease_until_us
        WHEN 1 THEN claimed_at_us
        ELSE settled_at_us
    END),
    (SELECT now_us FROM clock)
FROM standing
GROUP BY namespace, policy_id, stands
