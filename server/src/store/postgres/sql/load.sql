-- Reads what stands under each key, forgotten or not, and the time.
-- Guard: none; a read of the primary key.
-- `= ANY (ARRAY[…])` instead of `=` takes the order of the primary key from the planner, and with it
-- the idea of reading the whole table by it and looking for each row in the batch: on a small table
-- that seems cheap, and the plan is kept while the table grows.
-- The batch's arrays are unnested side by side in a select list, row by row: unnest(a, b, …) as a
-- table function would first put each of them away as a table of its own.
WITH clock AS MATERIALIZED (
    SELECT coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now_us
)
SELECT
    b.n, c.now_us,
    r.attempt_id, r.fence, r.policy_id, r.created_at_us, r.claimed_at_us,
    r.lease_until_us, r.not_before_us, r.settled_at_us, r.expires_at_us,
    r.revision, r.attempt, r.state, r.fingerprint, r.owner, r.traceparent, r.last_error,
    r.result, r.checkpoint, r.delivery
FROM (
    SELECT
        generate_subscripts($2::smallint[], 1) AS n,
        unnest($2::smallint[]) AS bucket,
        unnest($3::uuid[]) AS digest,
        unnest($4::text[]) AS namespace,
        unnest($5::text[]) AS key
) AS b
JOIN records AS r
    ON r.bucket = ANY (ARRAY[b.bucket]) AND r.digest = b.digest
    AND r.namespace = b.namespace AND r.key = b.key
CROSS JOIN clock AS c
