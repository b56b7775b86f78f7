-- The buckets that nobody has swept for a while.
-- Guard: none. A time further off than anybody sets was set by a clock that has gone back since.
WITH clock AS MATERIALIZED (
    SELECT coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now_us
)
SELECT s.bucket, s.sweep_at_us
FROM sweeps AS s
CROSS JOIN clock AS c
WHERE s.sweep_at_us <= c.now_us OR s.sweep_at_us > c.now_us + 2 * $2::bigint
ORDER BY s.bucket
