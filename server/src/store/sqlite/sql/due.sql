-- What the purge has to look at, the longest waiting first, and which of it is past its retention.
-- Guard: none; the statements that follow repeat the condition.
SELECT id, digest, namespace, key, fence, coalesce(expires_at_us <= ?1, 0) AS expired
FROM records
WHERE sweep_at_us <= ?1
ORDER BY sweep_at_us
LIMIT ?2
