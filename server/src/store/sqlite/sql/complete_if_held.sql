-- Completes claims blindly.
-- Guard: fence, attempt id and policy are still the token's, and nothing was settled. The policy is
-- in the guard because the retention comes from the token's.
WITH
clock (now_us) AS (VALUES (?)),
batch (bucket, namespace, key, fence, attempt_id, policy_id, retention_us, result)
AS (VALUES /*each*/ (?, ?, ?, ?, ?, ?, ?, ?) /*each*/)
UPDATE records AS r
SET
    state = 2,
    revision = r.revision + 1,
    result = b.result,
    settled_at_us = c.now_us,
    expires_at_us = c.now_us + min(b.retention_us, 9223372036854775807 - c.now_us),
    lease_until_us = NULL,
    not_before_us = NULL,
    delivery = NULL
FROM batch AS b
CROSS JOIN clock AS c
WHERE r.bucket = b.bucket AND r.namespace = b.namespace AND r.key = b.key
    AND r.fence = b.fence AND r.attempt_id = b.attempt_id AND r.policy_id = b.policy_id
    AND r.state IN (1, 6)
RETURNING bucket, namespace, key, settled_at_us
