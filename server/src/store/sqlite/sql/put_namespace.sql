-- Gives a namespace a policy.
-- Guard: a shorter retention that claims may still stand under is not forgotten, and its time never
-- moves back.
INSERT INTO namespaces AS n (
    namespace, policy_id, shorter_until_us, shorter_retention_us, updated_at_us
)
SELECT
    ?2, ?3,
    CASE WHEN ?4 IS NULL THEN -9223372036854775808 ELSE ?1 END,
    coalesce(?4, 0),
    ?1
WHERE true -- or SQLite would take ON for a join's
ON CONFLICT (namespace) DO UPDATE SET
    policy_id = excluded.policy_id,
    shorter_until_us = max(n.shorter_until_us, excluded.shorter_until_us),
    shorter_retention_us = CASE
        WHEN ?4 IS NULL THEN n.shorter_retention_us
        -- Claims from before the standing time may still be here: they were kept for the
        -- retention of until now at most.
        WHEN ?1 - ?4 < n.shorter_until_us
            THEN min(n.shorter_retention_us, excluded.shorter_retention_us)
        ELSE excluded.shorter_retention_us
    END,
    updated_at_us = excluded.updated_at_us
