-- The policy that stands under an id.
-- Guard: none.
SELECT policy FROM policies WHERE policy_id = $1
