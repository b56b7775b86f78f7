-- Whether this server may count, for all servers on the table, how many blocks there are, and whether
-- the server can read some of them: only from 14 on a range of addresses is no scan of all.
-- Guard: a lock that its connection has until it ends. Taken again by the same one, it is still its own.
SELECT
    pg_try_advisory_lock(hashtext('semel census'), hashtext('records'::regclass::oid::text)),
    pg_relation_size('records') / current_setting('block_size')::bigint,
    current_setting('server_version_num')::integer >= 140000
