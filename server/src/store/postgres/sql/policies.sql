-- Every policy that was ever stored.
-- Guard: none.
SELECT policy_id, policy FROM policies ORDER BY policy_id
