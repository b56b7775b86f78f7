-- Deletes a record past its retention.
-- Guard: still settled and past its retention, and still with the fence that was looked at.
DELETE FROM records
WHERE id = ?1 AND namespace = ?2 AND key = ?3
    AND fence = ?4 AND state NOT IN (1, 6) AND expires_at_us <= ?5
