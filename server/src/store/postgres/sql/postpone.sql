-- Moves on when the purge looks at a record: to its end, or, while it is in progress or uncertain,
-- by an eighth of its claim's age. What was not settled for long will not be soon, so a claim that
-- nobody ever settles costs ever less.
-- Guard: still due, and not past its retention.
WITH clock AS MATERIALIZED (
    SELECT coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
        - $7::bigint AS now_us
)
UPDATE records AS r
SET sweep_at_us = coalesce(
    r.expires_at_us,
    c.now_us + greatest($6::bigint, (c.now_us - r.claimed_at_us) / 8)
)
FROM unnest($3::uuid[], $4::text[], $5::text[]) AS b (digest, namespace, key)
CROSS JOIN clock AS c
WHERE r.bucket = $2 AND r.digest = b.digest AND r.namespace = b.namespace AND r.key = b.key
    AND r.sweep_at_us <= c.now_us AND (r.expires_at_us IS NULL OR r.expires_at_us > c.now_us)
