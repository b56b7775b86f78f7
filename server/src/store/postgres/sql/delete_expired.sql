-- Deletes records past their retention.
-- Guard: still settled and past its retention, and still with the fence that the floor was raised
-- to: another server may have granted the key again meanwhile.
WITH clock AS MATERIALIZED (
    SELECT coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)
        - $7::bigint AS now_us
)
DELETE FROM records AS r
USING unnest($3::uuid[], $4::text[], $5::text[], $6::bigint[])
    AS b (digest, namespace, key, fence)
CROSS JOIN clock AS c
WHERE r.bucket = $2 AND r.digest = b.digest AND r.namespace = b.namespace AND r.key = b.key
    AND r.fence = b.fence AND r.state NOT IN (1, 6) AND r.expires_at_us <= c.now_us
