-- Gives a namespace a policy.
-- Guard: a shorter retention that claims may still stand under is not forgotten, and its time never
-- moves back.
WITH clock AS MATERIALIZED (
    SELECT coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now_us
)
INSERT INTO namespaces AS n (
    namespace, policy_id, shorter_until_us, shorter_retention_us, updated_at_us
)
SELECT
    $2::text, $3::bigint,
    CASE WHEN $4::bigint IS NULL THEN (-9223372036854775808)::bigint ELSE c.now_us END,
    coalesce($4::bigint, 0),
    c.now_us
FROM clock AS c
ON CONFLICT (namespace) DO UPDATE SET
    policy_id = excluded.policy_id,
    shorter_until_us = greatest(n.shorter_until_us, excluded.shorter_until_us),
    shorter_retention_us = CASE
        WHEN $4::bigint IS NULL THEN n.shorter_retention_us
        -- Claims from before the standing time may still be here: they were kept for the
        -- retention of until now at most.
        WHEN excluded.updated_at_us - $4::bigint < n.shorter_until_us
            THEN least(n.shorter_retention_us, excluded.shorter_retention_us)
        ELSE excluded.shorter_retention_us
    END,
    updated_at_us = excluded.updated_at_us
