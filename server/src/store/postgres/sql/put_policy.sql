-- Stores a policy under its id.
-- Guard: the id is new; a policy never changes.
INSERT INTO policies (policy_id, policy) VALUES ($1, $2) ON CONFLICT DO NOTHING
