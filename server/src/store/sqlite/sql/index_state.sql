-- How far the index goes, and the first id that no record has had.
-- Guard: none; asked before anything else is done on a connection.
SELECT
    s.indexed_below,
    max(s.indexed_below, coalesce((SELECT max(r.id) FROM records AS r), 0) + 1) AS next_id
FROM key_index_state AS s
WHERE s.id = 1
