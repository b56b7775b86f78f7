-- Stores a policy under its id.
-- Guard: the id is new; a policy never changes.
INSERT INTO policies (policy_id, policy) VALUES (?, ?) ON CONFLICT DO NOTHING
