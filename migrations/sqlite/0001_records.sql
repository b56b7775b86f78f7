-- The twin of postgres/0001_records.sql. Times are microseconds since the Unix epoch by the host's
-- clock, in columns whose names end in _us.
--
-- Records stand in the order they came, whatever their keys, so a commit writes few pages of them.
-- Blobs are the last columns, so that a row's long tail of overflow pages need not be walked for the
-- others.

CREATE TABLE records (
    -- Which record it is, in the order of first claims. Given by the server, above all that stand and
    -- not below key_index_state.indexed_below.
    id              INTEGER NOT NULL PRIMARY KEY,
    -- What the key is found by, through key_index: 16 bytes, from the hash of the namespace and that
    -- of both names. No bucket leads it as in Postgres, which may be distributed: one process has this
    -- file.
    digest          BLOB NOT NULL CHECK (length(digest) = 16),
    -- An isolated set of keys. BINARY, the default collation, compares bytes.
    namespace       TEXT NOT NULL,
    -- The caller's name for one logical operation. May be personal data.
    key             TEXT NOT NULL,
    -- The client's id of the attempt that made the last claim: 16 bytes.
    attempt_id      BLOB NOT NULL,
    -- The fence of the last claim; never decreases for a key, not even over a purge.
    fence           INTEGER NOT NULL,
    -- The policy of the last claim; see policies.
    policy_id       INTEGER NOT NULL,
    -- When the key was first claimed in this life.
    created_at_us   INTEGER NOT NULL,
    -- When the last attempt began.
    claimed_at_us   INTEGER NOT NULL,
    -- When the purge looks at the record next. Written by the insert and the purge alone.
    sweep_at_us     INTEGER NOT NULL,
    -- In progress: when the lease lapses. A blind completion leaves what it was.
    lease_until_us  INTEGER,
    -- Retryable: when the next attempt may start.
    not_before_us   INTEGER,
    -- When the outcome was recorded. Uncertain: since when.
    settled_at_us   INTEGER,
    -- From here on the key is absent, purged or not. Null while in progress or uncertain, which
    -- are never purged.
    expires_at_us   INTEGER,
    -- Counts the changes under one fence.
    revision        INTEGER NOT NULL,
    -- Which attempt the last claim was, from 1.
    attempt         INTEGER NOT NULL,
    -- 1 in progress, 2 completed, 3 failed for good, 4 retryable, 5 dead, 6 uncertain.
    state           INTEGER NOT NULL CHECK (state BETWEEN 1 AND 6),
    -- Digest of the request that the key stands for; may be empty.
    fingerprint     BLOB NOT NULL,
    -- Who made the last claim, for people.
    owner           TEXT NOT NULL,
    -- W3C traceparent of the last claim; may be empty.
    traceparent     TEXT NOT NULL,
    -- What the last attempt that failed said.
    last_error      TEXT NOT NULL,
    -- Completed or failed: what is replayed, byte for byte.
    result          BLOB,
    -- The last checkpoint.
    checkpoint      BLOB,
    -- The raw delivery, kept for dead letters until the key completes.
    delivery        BLOB,

    -- Each says what a bug of ours would break first.
    CONSTRAINT records_end CHECK ((expires_at_us IS NULL) = (state NOT BETWEEN 2 AND 5)),
    CONSTRAINT records_lease CHECK (lease_until_us IS NOT NULL OR state <> 1),
    CONSTRAINT records_result CHECK ((result IS NULL) = (state NOT BETWEEN 2 AND 3))
) STRICT;

-- What the purge has to look at. By time alone, so that new rows go to its end, page after page.
CREATE INDEX records_sweep ON records (sweep_at_us);

-- Which record a key has. Not an index of the engine's, which would write a page at random for each
-- claim: the server knows the digests of the newest records by heart and adds them later, many
-- neighbours at a time. What is not in here yet is found again at the start; see key_index_state.
CREATE TABLE key_index (
    -- The record's digest.
    digest          BLOB NOT NULL PRIMARY KEY,
    -- The record.
    record_id       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Whoever deletes a record, no entry is left of it.
CREATE TRIGGER records_delete AFTER DELETE ON records BEGIN
    DELETE FROM key_index WHERE digest = old.digest AND record_id = old.id;
END;

-- How far the index goes.
CREATE TABLE key_index_state (
    -- There is one row.
    id              INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    -- Every record with a lower id is in key_index; of the others, some are.
    indexed_below   INTEGER NOT NULL
) STRICT;
INSERT INTO key_index_state (id, indexed_below) VALUES (1, 1);

-- Every policy that was ever in force. Rows are never changed or deleted: records name them.
CREATE TABLE policies (
    -- The first 64 bits of the SHA-256 of the text.
    policy_id       INTEGER NOT NULL PRIMARY KEY,
    -- The policy's canonical text.
    policy          TEXT NOT NULL
) STRICT;

-- The namespaces that have a policy of their own.
CREATE TABLE namespaces (
    -- The namespace.
    namespace         TEXT NOT NULL PRIMARY KEY,
    -- Its policy for new claims; see policies.
    policy_id         INTEGER NOT NULL,
    -- What was claimed before this time may be kept for less than the policy's retention, which
    -- was shorter then. The least integer when it never was.
    shorter_until_us     INTEGER NOT NULL,
    -- The shortest retention that such a claim may have been made under.
    shorter_retention_us INTEGER NOT NULL,
    -- When the row was last written, for people.
    updated_at_us        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The turns of the purge: so many in a round, as Postgres has buckets. Here they set the pace alone;
-- each takes what waits longest.
CREATE TABLE sweeps (
    -- The turn; all 64 are here from the start.
    bucket          INTEGER NOT NULL PRIMARY KEY CHECK (bucket BETWEEN 0 AND 63),
    -- When the turn comes next.
    sweep_at_us     INTEGER NOT NULL
) STRICT;
INSERT INTO sweeps (bucket, sweep_at_us)
WITH RECURSIVE buckets (bucket) AS (
    VALUES (0) UNION ALL SELECT bucket + 1 FROM buckets WHERE bucket < 63
)
SELECT bucket, 0 FROM buckets;

-- What is left of purged keys: no fence may be granted that is not greater than this one.
CREATE TABLE fence_floor (
    -- There is one row.
    id              INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    -- The greatest fence that was ever purged.
    fence           INTEGER NOT NULL
) STRICT;
INSERT INTO fence_floor (id, fence) VALUES (1, 0);
