-- Completes a claim blindly.
-- Guard: fence, attempt id and policy are still the token's, and nothing was settled. The policy is
-- in the guard because the retention comes from the token's.
-- When the lease lapsed stays in the row, so that it can be told whether the completion was late; one
-- that was uncertain has none.
UPDATE records
SET
    state = 2,
    revision = revision + 1,
    result = ?7,
    settled_at_us = ?8,
    expires_at_us = ?9,
    not_before_us = NULL,
    delivery = NULL
WHERE id = ?1 AND namespace = ?2 AND key = ?3
    AND fence = ?4 AND attempt_id = ?5 AND policy_id = ?6
    AND state IN (1, 6)
RETURNING lease_until_us, attempt
