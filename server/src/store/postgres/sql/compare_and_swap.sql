-- Replaces records with what the rules made of them.
-- Guard: fence and revision are still those of the record that the rules looked at.
-- A delivery or checkpoint that stays the same is put back as it is stored, so that an Extend does
-- not write a megabyte again. When the purge looks at the record next is not touched.
-- `= ANY (ARRAY[…])` instead of `=` takes the order of the primary key from the planner, and with it
-- the idea of reading the whole table by it and looking for each row in the batch: on a small table
-- that seems cheap, and the plan is kept while the table grows.
-- The batch's arrays are unnested side by side in a select list, row by row: unnest(a, b, …) as a
-- table function would first put each of them away as a table of its own.
UPDATE records AS r
SET
    attempt_id = b.attempt_id,
    fence = b.fence,
    policy_id = b.policy_id,
    created_at_us = b.created_at_us,
    claimed_at_us = b.claimed_at_us,
    lease_until_us = b.lease_until_us,
    not_before_us = b.not_before_us,
    settled_at_us = b.settled_at_us,
    expires_at_us = b.expires_at_us,
    revision = b.revision,
    attempt = b.attempt,
    state = b.state,
    fingerprint = b.fingerprint,
    owner = b.owner,
    traceparent = b.traceparent,
    last_error = b.last_error,
    result = b.result,
    checkpoint = CASE
        WHEN r.checkpoint IS NOT DISTINCT FROM b.checkpoint THEN r.checkpoint ELSE b.checkpoint
    END,
    delivery = CASE
        WHEN r.delivery IS NOT DISTINCT FROM b.delivery THEN r.delivery ELSE b.delivery
    END
FROM (
    SELECT
        generate_subscripts($1::smallint[], 1) AS n,
        unnest($1::smallint[]) AS bucket,
        unnest($2::uuid[]) AS digest,
        unnest($3::text[]) AS namespace,
        unnest($4::text[]) AS key,
        unnest($5::bigint[]) AS expected_fence,
        unnest($6::integer[]) AS expected_revision,
        unnest($7::uuid[]) AS attempt_id,
        unnest($8::bigint[]) AS fence,
        unnest($9::bigint[]) AS policy_id,
        unnest($10::bigint[]) AS created_at_us,
        unnest($11::bigint[]) AS claimed_at_us,
        unnest($12::bigint[]) AS lease_until_us,
        unnest($13::bigint[]) AS not_before_us,
        unnest($14::bigint[]) AS settled_at_us,
        unnest($15::bigint[]) AS expires_at_us,
        unnest($16::integer[]) AS revision,
        unnest($17::integer[]) AS attempt,
        unnest($18::smallint[]) AS state,
        unnest($19::bytea[]) AS fingerprint,
        unnest($20::text[]) AS owner,
        unnest($21::text[]) AS traceparent,
        unnest($22::text[]) AS last_error,
        unnest($23::bytea[]) AS result,
        unnest($24::bytea[]) AS checkpoint,
        unnest($25::bytea[]) AS delivery
) AS b
WHERE r.bucket = ANY (ARRAY[b.bucket]) AND r.digest = b.digest
    AND r.namespace = b.namespace AND r.key = b.key
    AND r.fence = b.expected_fence AND r.revision = b.expected_revision
RETURNING b.n
