-- Inserts a first claim.
-- Guard: in the same transaction, the only one that writes, the caller has looked that nothing stands
-- under the digest and that the claim may still be inserted at ?8, the time; it has made the fence,
-- ?6: the time, or more than any that was purged.
INSERT INTO records (
    id, digest, namespace, key, attempt_id, fence, policy_id,
    created_at_us, claimed_at_us, sweep_at_us, lease_until_us,
    revision, attempt, state, fingerprint, owner, traceparent, last_error, delivery
)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, 1, 1, 1, ?11, ?12, ?13, '', ?14)
