-- Moves on when the purge looks at a record: to its end, or, while it is in progress or uncertain,
-- by an eighth of its claim's age, ?5 at least. What was not settled for long will not be soon, so a
-- claim that nobody ever settles costs ever less.
-- Guard: still due at ?4, and not past its retention.
UPDATE records
SET sweep_at_us = coalesce(expires_at_us, ?4 + max(?5, (?4 - claimed_at_us) / 8))
WHERE id = ?1 AND namespace = ?2 AND key = ?3
    AND sweep_at_us <= ?4 AND (expires_at_us IS NULL OR expires_at_us > ?4)
