-- What the purge has to look at in one bucket, and which of it is past its retention.
-- Guard: none; the statements that follow repeat the condition. The time comes from sub-selects, so
-- that the index is read in its order and no further than the limit.
WITH clock AS MATERIALIZED (
    SELECT coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
        - $4::bigint AS now_us
)
SELECT
    r.digest, r.namespace, r.key, r.fence,
    coalesce(r.expires_at_us <= (SELECT now_us FROM clock), false) AS expired
FROM records AS r
WHERE r.bucket = $2 AND r.sweep_at_us >= 0 AND r.sweep_at_us <= (SELECT now_us FROM clock)
ORDER BY r.sweep_at_us
LIMIT $3
