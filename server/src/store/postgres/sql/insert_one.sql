-- Inserts one first claim: a batch of one, without the work of taking arrays apart.
-- Guard: nothing stands under the key, and the claim may still be inserted by the store's clock; see
-- insert_if_absent.sql.
INSERT INTO records (
    bucket, digest, namespace, key, attempt_id, fence, policy_id,
    created_at_us, claimed_at_us, sweep_at_us, lease_until_us,
    revision, attempt, state, fingerprint, owner, traceparent, last_error, delivery
)
SELECT
    $2::smallint, $3::uuid, $4::text, $5::text, $6::uuid,
    greatest(c.now_us, f.fence + 1), $7::bigint, c.now_us, c.now_us,
    c.now_us + least($12::bigint, 9223372036854775807 - c.now_us),
    c.now_us + least($11::bigint, 9223372036854775807 - c.now_us),
    1, 1, 1, $8::bytea, $9::text, $10::text, '', $14::bytea
FROM (
    SELECT coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now_us
    -- So that the clock is asked once.
    OFFSET 0
) AS c
CROSS JOIN fence_floor AS f
WHERE f.id = 1 AND $13::bigint >= c.now_us
ON CONFLICT DO NOTHING
RETURNING claimed_at_us, fence
