-- Moves a bucket's time: on, to take it, or back to now, when there is more to do in it.
-- Guard: the time is still the one that was looked at, so of several servers one gets it.
UPDATE sweeps
SET sweep_at_us
    = coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) + $4::bigint
WHERE bucket = $2 AND sweep_at_us = $3
RETURNING sweep_at_us
