-- What the purge has to look at in one bucket, and which of it is past its retention.
-- Guard: none; the statements that follow repeat the condition.
SELECT namespace, key, fence, coalesce(expires_at_us <= ?, 0) AS expired
FROM records
WHERE bucket = ? AND sweep_at_us <= ?
ORDER BY sweep_at_us
LIMIT ?
