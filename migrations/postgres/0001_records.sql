-- Times are microseconds since the Unix epoch by this server's clock_timestamp(), in columns whose
-- names end in _us. Spans are microseconds too.

CREATE TABLE records (
    -- The highest six bits of the key's hash. First in the primary key, so that a distributed
    -- engine can spread by it, and so that replicas can share the purge by it.
    bucket          smallint NOT NULL,
    -- What a key is found by: 4 bytes of its namespace's hash and 12 of a SHA-256 of namespace and
    -- key. Short and of one length, so the index is half as large as one on the names, and a probe
    -- compares bytes once instead of texts. The type is the only one of 16 bytes.
    digest          uuid NOT NULL,
    -- An isolated set of keys. "C" compares bytes: fast, and the same after an upgrade of the
    -- operating system, which may reorder every other collation under a standing index.
    namespace       text COLLATE "C" NOT NULL,
    -- The caller's name for one logical operation. May be personal data.
    key             text COLLATE "C" NOT NULL,
    -- The client's id of the attempt that made the last claim.
    attempt_id      uuid NOT NULL,
    -- The fence of the last claim; never decreases for a key, not even over a purge.
    fence           bigint NOT NULL,
    -- The policy of the last claim; see policies. No foreign key: policies are never deleted, and
    -- the check would lock a row of theirs for each insert.
    policy_id       bigint NOT NULL,
    -- When the key was first claimed in this life.
    created_at_us   bigint NOT NULL,
    -- When the last attempt began.
    claimed_at_us   bigint NOT NULL,
    -- When the purge looks at the record next. Written by the insert and the purge alone: it is
    -- indexed, so a settlement that moved it would cost an entry in every index.
    sweep_at_us     bigint NOT NULL,
    -- In progress: when the lease lapses. A blind completion leaves what it was.
    lease_until_us  bigint,
    -- Retryable: when the next attempt may start.
    not_before_us   bigint,
    -- When the outcome was recorded. Uncertain: since when.
    settled_at_us   bigint,
    -- From here on the key is absent, purged or not. Null while in progress or uncertain, which
    -- are never purged.
    expires_at_us   bigint,
    -- Counts the changes under one fence.
    revision        integer NOT NULL,
    -- Which attempt the last claim was, from 1.
    attempt         integer NOT NULL,
    -- 1 in progress, 2 completed, 3 failed for good, 4 retryable, 5 dead, 6 uncertain.
    state           smallint NOT NULL,
    -- Digest of the request that the key stands for; may be empty.
    fingerprint     bytea NOT NULL,
    -- Who made the last claim, for people.
    owner           text NOT NULL,
    -- W3C traceparent of the last claim; may be empty.
    traceparent     text NOT NULL,
    -- What the last attempt that failed said.
    last_error      text NOT NULL,
    -- Completed or failed: what is replayed, byte for byte.
    result          bytea,
    -- The last checkpoint.
    checkpoint      bytea,
    -- The raw delivery, kept for dead letters until the key completes.
    delivery        bytea,

    PRIMARY KEY (bucket, digest),
    -- Each says what a bug of ours would break first. In ranges and not in lists: Postgres reads the
    -- text of every constraint again for every insert, and that of a list is long.
    CONSTRAINT records_bucket CHECK (bucket BETWEEN 0 AND 63),
    CONSTRAINT records_sweep_at CHECK (sweep_at_us >= 0),
    CONSTRAINT records_state CHECK (state BETWEEN 1 AND 6),
    -- What the purge may take is what has an end: settled, and neither held nor uncertain.
    CONSTRAINT records_end CHECK ((expires_at_us IS NULL) = (state NOT BETWEEN 2 AND 5)),
    CONSTRAINT records_lease CHECK (lease_until_us IS NOT NULL OR state <> 1),
    CONSTRAINT records_result CHECK ((result IS NULL) = (state NOT BETWEEN 2 AND 3))
) WITH (
    -- Room on each page for its rows to be completed there: a HOT update, without new entries in
    -- the indexes. The rows of a page are inserted in one batch and are often completed in one,
    -- when none of their old versions can be pruned yet, so the room must be for all of them with
    -- their results: up to 256 bytes each here. Measured so, 512 rows a batch: with 70, a quarter
    -- of the completions is HOT, they take twice as long, and the table ends up no smaller.
    fillfactor = 30,
    -- By default a vacuum waits for a fifth of the table to be dead: millions of purged rows that
    -- the sweep's index would still point at. HOT updates clean up after themselves.
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.1,
    -- A purge that keeps up with the claims needs a vacuum that keeps up with the purge.
    autovacuum_vacuum_cost_limit = 2000,
    toast.autovacuum_vacuum_scale_factor = 0.02
);

-- The only second index: what the purge has to look at, bucket by bucket. Its condition always
-- holds, and hides it from every statement that does not name the condition: on a small table the
-- planner would take it for as good a way to a key as the primary key, and keep that plan while
-- the table grows.
CREATE INDEX records_sweep ON records (bucket, sweep_at_us) WHERE sweep_at_us >= 0;

-- Bodies are opaque and often compressed or encrypted already: keep the large ones out of line,
-- and burn no processor time on pressing them, nor on unpressing them for each duplicate.
ALTER TABLE records ALTER COLUMN result SET STORAGE EXTERNAL;
ALTER TABLE records ALTER COLUMN checkpoint SET STORAGE EXTERNAL;
ALTER TABLE records ALTER COLUMN delivery SET STORAGE EXTERNAL;

-- Every policy that was ever in force. Rows are never changed or deleted: records name them.
CREATE TABLE policies (
    -- The first 64 bits of the SHA-256 of the text.
    policy_id       bigint PRIMARY KEY,
    -- The policy's canonical text.
    policy          text NOT NULL
);

-- The namespaces that have a policy of their own, and the policy of all the others.
CREATE TABLE namespaces (
    -- The namespace; * stands for every one that nobody configured.
    namespace         text COLLATE "C" PRIMARY KEY,
    -- Its policy for new claims; see policies.
    policy_id         bigint NOT NULL,
    -- What was claimed before this time may be kept for less than the policy's retention, which
    -- was shorter then. The least bigint when it never was.
    shorter_until_us     bigint NOT NULL,
    -- The shortest retention that such a claim may have been made under.
    shorter_retention_us bigint NOT NULL,
    -- When the row was last written, for people.
    updated_at_us        bigint NOT NULL
);

-- How the replicas share the purge: whoever moves a bucket's time on has the bucket until then.
CREATE TABLE sweeps (
    -- The bucket; all 64 are here from the start.
    bucket          smallint PRIMARY KEY CHECK (bucket BETWEEN 0 AND 63),
    -- When the bucket may be taken next.
    sweep_at_us     bigint NOT NULL
);
INSERT INTO sweeps (bucket, sweep_at_us) SELECT bucket, 0 FROM generate_series(0, 63) AS bucket;

-- What is left of purged keys: no fence may be granted that is not greater than this one.
CREATE TABLE fence_floor (
    -- There is one row.
    id              smallint PRIMARY KEY CHECK (id = 1),
    -- The greatest fence that was ever purged.
    fence           bigint NOT NULL
);
INSERT INTO fence_floor (id, fence) VALUES (1, 0);

-- Inserts a batch of first claims if nothing stands under any of their keys, and else nothing of it.
-- An insert that stops at the first key that stands need not look for each key beforehand, as one
-- that goes on behind it must: a sixth less work, for batches in which all keys are new. It is a
-- function, because only here a batch that stops can be taken back without an error in the log.
CREATE FUNCTION insert_batch(
    -- The time, or null for the clock's; given back, as is the fence of all that was inserted. The
    -- fence is null where nothing was.
    INOUT now_us bigint,
    OUT fence bigint,
    -- How many rows were inserted.
    OUT inserted bigint,
    buckets smallint[],
    digests uuid[],
    namespaces text[],
    keys text[],
    attempt_ids uuid[],
    policy_ids bigint[],
    fingerprints bytea[],
    owners text[],
    traceparents text[],
    leases_us bigint[],
    sweeps_after_us bigint[],
    inserts_until_us bigint[],
    deliveries bytea[]
)
LANGUAGE plpgsql AS $$
BEGIN
    now_us := coalesce(now_us, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
    SELECT greatest(insert_batch.now_us, f.fence + 1) INTO fence FROM fence_floor AS f WHERE f.id = 1;
    INSERT INTO records (
        bucket, digest, namespace, key, attempt_id, fence, policy_id,
        created_at_us, claimed_at_us, sweep_at_us, lease_until_us,
        revision, attempt, state, fingerprint, owner, traceparent, last_error, delivery
    )
    SELECT
        b.bucket, b.digest, b.namespace, b.key, b.attempt_id,
        insert_batch.fence, b.policy_id, insert_batch.now_us, insert_batch.now_us,
        insert_batch.now_us + least(b.sweep_after_us, 9223372036854775807 - insert_batch.now_us),
        insert_batch.now_us + least(b.lease_us, 9223372036854775807 - insert_batch.now_us),
        1, 1, 1, b.fingerprint, b.owner, b.traceparent, '', b.delivery
    FROM (
        SELECT
            unnest(insert_batch.buckets) AS bucket,
            unnest(insert_batch.digests) AS digest,
            unnest(insert_batch.namespaces) AS namespace,
            unnest(insert_batch.keys) AS key,
            unnest(insert_batch.attempt_ids) AS attempt_id,
            unnest(insert_batch.policy_ids) AS policy_id,
            unnest(insert_batch.fingerprints) AS fingerprint,
            unnest(insert_batch.owners) AS owner,
            unnest(insert_batch.traceparents) AS traceparent,
            unnest(insert_batch.leases_us) AS lease_us,
            unnest(insert_batch.sweeps_after_us) AS sweep_after_us,
            unnest(insert_batch.inserts_until_us) AS insert_until_us,
            unnest(insert_batch.deliveries) AS delivery
    ) AS b
    WHERE b.insert_until_us >= insert_batch.now_us;
    GET DIAGNOSTICS inserted = ROW_COUNT;
EXCEPTION WHEN unique_violation THEN
    fence := NULL;
END
$$;
