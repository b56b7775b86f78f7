-- Records that may not be in the index, with the id that it has for their digest.
-- Guard: none; asked before anything else is done on a connection.
SELECT r.digest, r.id, k.record_id
FROM records AS r
LEFT JOIN key_index AS k ON k.digest = r.digest
WHERE r.id >= ?1
