-- What the purge has to look at in one bucket, the longest waiting first: the addresses of the records
-- to delete, the greatest fence of these, and the addresses of the others. Both in the order of the
-- primary key, in which lanes take their locks.
-- Guard: none; the statements that follow have conditions of their own. The time comes from
-- sub-selects, so that the index is read in its order and no further than the limit.
WITH clock AS MATERIALIZED (
    SELECT coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
        - $4::bigint AS now_us
),
due AS (
    SELECT
        r.ctid::text AS address, r.digest, r.fence,
        coalesce(
            r.expires_at_us <= (SELECT now_us FROM clock) AND r.fence <= (SELECT now_us FROM clock),
            false
        ) AS is_over
    FROM records AS r
    WHERE r.bucket = $2 AND r.sweep_at_us >= 0 AND r.sweep_at_us <= (SELECT now_us FROM clock)
    ORDER BY r.sweep_at_us
    LIMIT $3
)
SELECT
    coalesce(array_agg(d.address ORDER BY d.digest) FILTER (WHERE d.is_over), '{}') AS over,
    max(d.fence) FILTER (WHERE d.is_over) AS greatest_fence,
    coalesce(array_agg(d.address ORDER BY d.digest) FILTER (WHERE NOT d.is_over), '{}') AS others
FROM due AS d
