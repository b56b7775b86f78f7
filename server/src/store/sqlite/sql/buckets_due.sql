-- The turns that have come, the longest waiting first.
-- Guard: none. A time further off than anybody sets was set by a clock that has gone back since.
SELECT bucket, sweep_at_us
FROM sweeps
WHERE sweep_at_us <= ?1 OR sweep_at_us > ?1 + 2 * ?2
ORDER BY sweep_at_us, bucket
