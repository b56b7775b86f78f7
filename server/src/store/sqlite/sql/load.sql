-- Reads what stands under each key, forgotten or not.
-- Guard: none; a read of the primary key. CROSS JOIN keeps SQLite from turning the join round.
WITH batch (n, bucket, namespace, key) AS (VALUES /*each*/ (?, ?, ?, ?) /*each*/)
SELECT
    b.n,
    r.attempt_id, r.fence, r.policy_id, r.created_at_us, r.claimed_at_us,
    r.lease_until_us, r.not_before_us, r.settled_at_us, r.expires_at_us,
    r.revision, r.attempt, r.state, r.fingerprint, r.owner, r.traceparent, r.last_error,
    r.result, r.checkpoint, r.delivery
FROM batch AS b
CROSS JOIN records AS r
WHERE r.bucket = b.bucket AND r.namespace = b.namespace AND r.key = b.key
