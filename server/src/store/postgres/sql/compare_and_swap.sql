-- Replaces records with what the rules made of them.
-- Guard: fence and revision are still those of the record that the rules looked at.
-- A delivery or checkpoint that stays the same is put back as it is stored, so that an Extend does
-- not write a megabyte again. When the purge looks at the record next is not touched.
-- `= ANY (ARRAY[…])` instead of `=` takes the order of the primary key from the planner, and with it
-- the idea of reading the whole table by it and looking for each row in the batch: on a small table
-- that seems cheap, and the plan is kept while the table grows.
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
FROM unnest(
    $1::smallint[], $2::text[], $3::text[], $4::bigint[], $5::integer[],
    $6::uuid[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[],
    $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[],
    $15::integer[], $16::integer[], $17::smallint[], $18::bytea[], $19::text[], $20::text[],
    $21::text[], $22::bytea[], $23::bytea[], $24::bytea[]
) WITH ORDINALITY AS b (
    bucket, namespace, key, expected_fence, expected_revision,
    attempt_id, fence, policy_id, created_at_us, claimed_at_us,
    lease_until_us, not_before_us, settled_at_us, expires_at_us,
    revision, attempt, state, fingerprint, owner, traceparent,
    last_error, result, checkpoint, delivery, n
)
WHERE r.bucket = ANY (ARRAY[b.bucket]) AND r.namespace = b.namespace AND r.key = b.key
    AND r.fence = b.expected_fence AND r.revision = b.expected_revision
RETURNING b.n
