-- Moves on when the purge looks at records that are not to be deleted: to their end, or, while in
-- progress or uncertain, by an eighth of the claim's age. What was not settled for long will not be
-- soon, so a claim that nobody ever settles costs ever less. One past its retention may have a fence
-- ahead of the time, since a clock has gone back; then to that.
-- Guard: still due, and still not to be deleted.
WITH clock AS MATERIALIZED (
    SELECT coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
        - $3::bigint AS now_us
)
UPDATE records AS r
SET sweep_at_us = CASE
    WHEN r.expires_at_us IS NULL
        THEN c.now_us + greatest($4::bigint, (c.now_us - r.claimed_at_us) / 8)
    ELSE greatest(r.expires_at_us, r.fence)
END
FROM (SELECT unnest($2::text[]::tid[]) AS address) AS d
CROSS JOIN clock AS c
WHERE r.ctid = d.address AND r.sweep_at_us <= c.now_us
    AND (r.expires_at_us IS NULL OR r.expires_at_us > c.now_us OR r.fence > c.now_us)
