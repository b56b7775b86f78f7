-- Inserts first claims.
-- Guard: nothing stands under the key, and the claim may still be inserted by the store's clock.
-- The fence is the time, or more than any that was purged.
WITH
clock (now_us) AS (VALUES (?)),
batch (
    bucket, namespace, key, attempt_id, policy_id, fingerprint, owner,
    traceparent, lease_us, sweep_after_us, insert_until_us, delivery
) AS (VALUES /*each*/ (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) /*each*/)
INSERT INTO records (
    bucket, namespace, key, attempt_id, fence, policy_id,
    created_at_us, claimed_at_us, sweep_at_us, lease_until_us,
    revision, attempt, state, fingerprint, owner, traceparent, last_error, delivery
)
SELECT
    b.bucket, b.namespace, b.key, b.attempt_id, max(c.now_us, f.fence + 1), b.policy_id,
    c.now_us, c.now_us,
    c.now_us + min(b.sweep_after_us, 9223372036854775807 - c.now_us),
    c.now_us + min(b.lease_us, 9223372036854775807 - c.now_us),
    1, 1, 1, b.fingerprint, b.owner, b.traceparent, '', b.delivery
FROM batch AS b
CROSS JOIN clock AS c
CROSS JOIN fence_floor AS f
WHERE f.id = 1 AND b.insert_until_us >= c.now_us
ON CONFLICT DO NOTHING
RETURNING bucket, namespace, key, fence, created_at_us
