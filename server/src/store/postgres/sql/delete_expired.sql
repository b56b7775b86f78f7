-- Deletes records past their retention by their addresses.
-- Guard: settled, past its retention, and with a fence that is neither above the floor nor ahead of the
-- time. Whatever has such a row's address by now may go: it need not be the record that was looked at.
WITH clock AS MATERIALIZED (
    SELECT coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
        - $3::bigint AS now_us
)
DELETE FROM records AS r
USING (SELECT unnest($2::text[]::tid[]) AS address) AS d
CROSS JOIN clock AS c
CROSS JOIN fence_floor AS f
WHERE r.ctid = d.address AND f.id = 1
    AND r.fence <= f.fence AND r.fence <= c.now_us
    AND r.state NOT IN (1, 6) AND r.expires_at_us <= c.now_us
