-- Completes claims blindly.
-- Guard: fence, attempt id and policy are still the token's, and nothing was settled. The policy is
-- in the guard because the retention comes from the token's.
-- When the lease lapsed stays in the row, so that it can be told whether the completion was late; one
-- that was uncertain has none.
-- `= ANY (ARRAY[…])` instead of `=` takes the order of the primary key from the planner, and with it
-- the idea of reading the whole table by it and looking for each row in the batch: on a small table
-- that seems cheap, and the plan is kept while the table grows.
-- The batch's arrays are unnested side by side in a select list, row by row: unnest(a, b, …) as a
-- table function would first put each of them away as a table of its own.
WITH clock AS MATERIALIZED (
    SELECT coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now_us
),
completed AS (
    UPDATE records AS r
    SET
        state = 2,
        revision = r.revision + 1,
        result = b.result,
        settled_at_us = c.now_us,
        expires_at_us = c.now_us + least(b.retention_us, 9223372036854775807 - c.now_us),
        not_before_us = NULL,
        delivery = NULL
    FROM (
        SELECT
            generate_subscripts($2::smallint[], 1) AS n,
            unnest($2::smallint[]) AS bucket,
            unnest($3::uuid[]) AS digest,
            unnest($4::text[]) AS namespace,
            unnest($5::text[]) AS key,
            unnest($6::bigint[]) AS fence,
            unnest($7::uuid[]) AS attempt_id,
            unnest($8::bigint[]) AS policy_id,
            unnest($9::bigint[]) AS retention_us,
            unnest($10::bytea[]) AS result
    ) AS b
    CROSS JOIN clock AS c
    WHERE r.bucket = ANY (ARRAY[b.bucket]) AND r.digest = b.digest
        AND r.namespace = b.namespace AND r.key = b.key
        AND r.fence = b.fence AND r.attempt_id = b.attempt_id AND r.policy_id = b.policy_id
        AND r.state IN (1, 6)
    RETURNING b.n, r.lease_until_us, r.attempt
)
SELECT c.now_us, i.numbers, i.leases_until_us, i.attempts
FROM clock AS c
CROSS JOIN (
    SELECT
        array_agg(n) AS numbers,
        array_agg(lease_until_us) AS leases_until_us,
        array_agg(attempt) AS attempts
    FROM completed
) AS i
