-- Whether this server may count, for all servers on the database, and how many blocks there are.
-- Guard: a lock that its connection has until it ends. Taken again by the same one, it is still its own.
SELECT
    pg_try_advisory_lock(hashtext('semel census'), hashtext(current_schema())),
    pg_relation_size('records') / current_setting('block_size')::bigint
