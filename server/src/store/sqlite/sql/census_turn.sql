-- Where the records end.
-- Guard: none; it only looks. One process has this file, so it is always its turn.
SELECT coalesce(max(id), 0) FROM records
