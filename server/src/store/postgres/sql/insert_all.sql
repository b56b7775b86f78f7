-- Inserts first claims if nothing stands under any of their keys.
-- Guard: the primary key; where something stands under one of them, nothing is inserted and the
-- fence is null. Of a batch that was inserted, a claim is left out that may not be inserted any more
-- by the store's clock, which is given back. See the function in the first migration.
SELECT now_us, fence, inserted
FROM insert_batch(
    $1::bigint, $2::smallint[], $3::uuid[], $4::text[], $5::text[], $6::uuid[], $7::bigint[],
    $8::bytea[], $9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::bigint[],
    $14::bytea[]
)
