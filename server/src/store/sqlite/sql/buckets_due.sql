-- The buckets that nobody has swept for a while, the longest waiting first.
-- Guard: none. A time further off than anybody sets was set by a clock that has gone back since.
WITH clock (now_us, every_us) AS (VALUES (?, ?))
SELECT s.bucket, s.sweep_at_us
FROM sweeps AS s
CROSS JOIN clock AS c
WHERE s.sweep_at_us <= c.now_us OR s.sweep_at_us > c.now_us + 2 * c.every_us
ORDER BY s.sweep_at_us, s.bucket
