-- The store's time, for a load that found nothing to read it with.
-- Guard: none.
SELECT coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS now_us
