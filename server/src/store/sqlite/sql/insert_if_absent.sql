-- Inserts a first claim.
-- Guard: nothing stands under the key. In the same transaction the caller has looked that the claim
-- may still be inserted at ?7, the time, and has made the fence, ?5: the time, or more than any that
-- was purged.
INSERT INTO records (
    digest, namespace, key, attempt_id, fence, policy_id,
    created_at_us, claimed_at_us, sweep_at_us, lease_until_us,
    revision, attempt, state, fingerprint, owner, traceparent, last_error, delivery
)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8, ?9, 1, 1, 1, ?10, ?11, ?12, '', ?13)
ON CONFLICT DO NOTHING
