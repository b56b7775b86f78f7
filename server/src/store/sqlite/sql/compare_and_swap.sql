-- Replaces a record with what the rules made of it.
-- Guard: fence and revision are still those of the record that the rules looked at.
-- When the purge looks at the record next is not touched.
UPDATE records
SET
    attempt_id = ?6,
    fence = ?7,
    policy_id = ?8,
    created_at_us = ?9,
    claimed_at_us = ?10,
    lease_until_us = ?11,
    not_before_us = ?12,
    settled_at_us = ?13,
    expires_at_us = ?14,
    revision = ?15,
    attempt = ?16,
    state = ?17,
    fingerprint = ?18,
    owner = ?19,
    traceparent = ?20,
    last_error = ?21,
    result = ?22,
    checkpoint = ?23,
    delivery = ?24
WHERE id = ?1 AND namespace = ?2 AND key = ?3
    AND fence = ?4 AND revision = ?5
