-- Deletes records past their retention.
-- Guard: still settled and past its retention, and still with the fence that was looked at.
WITH
clock (now_us) AS (VALUES (?)),
batch (bucket, namespace, key, fence) AS (VALUES /*each*/ (?, ?, ?, ?) /*each*/)
DELETE FROM records
WHERE rowid IN (
    SELECT r.rowid
    FROM batch AS b
    CROSS JOIN clock AS c
    CROSS JOIN records AS r
    WHERE r.bucket = b.bucket AND r.namespace = b.namespace AND r.key = b.key
        AND r.fence = b.fence AND r.state NOT IN (1, 6) AND r.expires_at_us <= c.now_us
)
