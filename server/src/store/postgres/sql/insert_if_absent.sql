-- Inserts first claims.
-- Guard: nothing stands under the key, and the claim may still be inserted by the store's clock.
-- DO NOTHING, so that a duplicate takes no lock and writes nothing. The batch comes in the order of
-- the primary key and is joined to single rows only, so batches of several servers wait for each
-- other's keys in one order. The fence is the time, or more than any that was purged; it is the
-- same for all of the batch.
-- The batch's arrays are unnested side by side in a select list, row by row: unnest(a, b, …) as a
-- table function would first put each of them away as a table of its own.
WITH clock AS MATERIALIZED (
    SELECT coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now_us
),
inserted AS (
    INSERT INTO records (
        bucket, digest, namespace, key, attempt_id, fence, policy_id,
        created_at_us, claimed_at_us, sweep_at_us, lease_until_us,
        revision, attempt, state, fingerprint, owner, traceparent, last_error, delivery
    )
    SELECT
        b.bucket, b.digest, b.namespace, b.key, b.attempt_id,
        greatest(c.now_us, f.fence + 1), b.policy_id, c.now_us, c.now_us,
        c.now_us + least(b.sweep_after_us, 9223372036854775807 - c.now_us),
        c.now_us + least(b.lease_us, 9223372036854775807 - c.now_us),
        1, 1, 1, b.fingerprint, b.owner, b.traceparent, '', b.delivery
    FROM (
        SELECT
            unnest($2::smallint[]) AS bucket,
            unnest($3::uuid[]) AS digest,
            unnest($4::text[]) AS namespace,
            unnest($5::text[]) AS key,
            unnest($6::uuid[]) AS attempt_id,
            unnest($7::bigint[]) AS policy_id,
            unnest($8::bytea[]) AS fingerprint,
            unnest($9::text[]) AS owner,
            unnest($10::text[]) AS traceparent,
            unnest($11::bigint[]) AS lease_us,
            unnest($12::bigint[]) AS sweep_after_us,
            unnest($13::bigint[]) AS insert_until_us,
            unnest($14::bytea[]) AS delivery
    ) AS b
    CROSS JOIN clock AS c
    CROSS JOIN fence_floor AS f
    WHERE f.id = 1 AND b.insert_until_us >= c.now_us
    ON CONFLICT DO NOTHING
    RETURNING bucket, digest, fence
)
SELECT c.now_us, i.fence, i.buckets, i.digests
FROM clock AS c
CROSS JOIN (
    SELECT max(fence) AS fence, array_agg(bucket) AS buckets, array_agg(digest) AS digests
    FROM inserted
) AS i
