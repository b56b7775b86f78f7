-- Replaces records with what the rules made of them.
-- Guard: fence and revision are still those of the record that the rules looked at.
-- When the purge looks at the record next is not touched.
WITH batch (
    bucket, namespace, key, expected_fence, expected_revision,
    attempt_id, fence, policy_id, created_at_us, claimed_at_us,
    lease_until_us, not_before_us, settled_at_us, expires_at_us,
    revision, attempt, state, fingerprint, owner, traceparent,
    last_error, result, checkpoint, delivery
) AS (
    VALUES /*each*/ (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) /*each*/
)
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
    checkpoint = b.checkpoint,
    delivery = b.delivery
FROM batch AS b
WHERE r.bucket = b.bucket AND r.namespace = b.namespace AND r.key = b.key
    AND r.fence = b.expected_fence AND r.revision = b.expected_revision
RETURNING bucket, namespace, key
