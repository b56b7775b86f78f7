-- Reads what stands under a key, forgotten or not.
-- Guard: none; the id is what the index says.
SELECT
    attempt_id, fence, policy_id, created_at_us, claimed_at_us,
    lease_until_us, not_before_us, settled_at_us, expires_at_us,
    revision, attempt, state, fingerprint, owner, traceparent, last_error,
    result, checkpoint, delivery
FROM records
WHERE id = ? AND namespace = ? AND key = ?
