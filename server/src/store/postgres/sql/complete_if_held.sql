-- Completes claims blindly.
-- Guard: fence, attempt id and policy are still the token's, and nothing was settled. The policy is
-- in the guard because the retention comes from the token's.
-- `= ANY (ARRAY[…])` instead of `=` takes the order of the primary key from the planner, and with it
-- the idea of reading the whole table by it and looking for each row in the batch: on a small table
-- that seems cheap, and the plan is kept while the table grows.
WITH clock AS MATERIALIZED (
    SELECT coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now_us
)
UPDATE records AS r
SET
    state = 2,
    revision = r.revision + 1,
    result = b.result,
    settled_at_us = c.now_us,
    expires_at_us = c.now_us + least(b.retention_us, 9223372036854775807 - c.now_us),
    lease_until_us = NULL,
    not_before_us = NULL,
    delivery = NULL
FROM unnest(
    $2::smallint[], $3::text[], $4::text[], $5::bigint[], $6::uuid[], $7::bigint[], $8::bigint[],
    $9::bytea[]
) WITH ORDINALITY AS b (
    bucket, namespace, key, fence, attempt_id, policy_id, retention_us, result, n
)
CROSS JOIN clock AS c
WHERE r.bucket = ANY (ARRAY[b.bucket]) AND r.namespace = b.namespace AND r.key = b.key
    AND r.fence = b.fence AND r.attempt_id = b.attempt_id AND r.policy_id = b.policy_id
    AND r.state IN (1, 6)
RETURNING b.n, r.settled_at_us
