-- Inserts first claims.
-- Guard: nothing stands under the key, and the claim may still be inserted by the store's clock.
-- DO NOTHING, so that a duplicate takes no lock and writes nothing; ORDER BY, so that batches of
-- several servers wait for each other's keys in one order. The fence is the time, or more than any
-- that was purged.
WITH clock AS MATERIALIZED (
    SELECT coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now_us
)
INSERT INTO records (
    bucket, namespace, key, attempt_id, fence, policy_id,
    created_at_us, claimed_at_us, sweep_at_us, lease_until_us,
    revision, attempt, state, fingerprint, owner, traceparent, last_error, delivery
)
SELECT
    b.bucket, b.namespace, b.key, b.attempt_id, greatest(c.now_us, f.fence + 1), b.policy_id,
    c.now_us, c.now_us,
    c.now_us + least(b.sweep_after_us, 9223372036854775807 - c.now_us),
    c.now_us + least(b.lease_us, 9223372036854775807 - c.now_us),
    1, 1, 1, b.fingerprint, b.owner, b.traceparent, '', b.delivery
FROM unnest(
    $2::smallint[], $3::text[], $4::text[], $5::uuid[], $6::bigint[], $7::bytea[], $8::text[],
    $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bytea[]
) WITH ORDINALITY AS b (
    bucket, namespace, key, attempt_id, policy_id, fingerprint, owner,
    traceparent, lease_us, sweep_after_us, insert_until_us, delivery, n
)
CROSS JOIN clock AS c
CROSS JOIN fence_floor AS f
WHERE f.id = 1 AND b.insert_until_us >= c.now_us
ORDER BY b.n
ON CONFLICT DO NOTHING
RETURNING bucket, namespace, key, fence, created_at_us
