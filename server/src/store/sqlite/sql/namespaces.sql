-- Every namespace that has a policy of its own.
-- Guard: none.
SELECT namespace, policy_id, shorter_until_us, shorter_retention_us FROM namespaces ORDER BY namespace
