//! SQLite, tried for real.

mod digests;
mod index;
mod speed;
mod threads;

use std::fs;

use rusqlite::Connection;

use super::*;
use crate::store::{
    ManualClock,
    testing::{self, START},
};

/// Every file.
const FILES: [&str; 25] = [
    include_str!("../sql/buckets_due.sql"),
    include_str!("../sql/census.sql"),
    include_str!("../sql/census_turn.sql"),
    include_str!("../sql/compare_and_swap.sql"),
    include_str!("../sql/complete_if_held.sql"),
    include_str!("../sql/delete_expired.sql"),
    include_str!("../sql/due.sql"),
    include_str!("../sql/fence_floor.sql"),
    include_str!("../sql/find_record.sql"),
    include_str!("../sql/index_record.sql"),
    include_str!("../sql/index_state.sql"),
    include_str!("../sql/insert_if_absent.sql"),
    include_str!("../sql/is_record.sql"),
    include_str!("../sql/load.sql"),
    include_str!("../sql/namespaces.sql"),
    include_str!("../sql/policies.sql"),
    include_str!("../sql/policy.sql"),
    include_str!("../sql/postpone.sql"),
    include_str!("../sql/put_namespace.sql"),
    include_str!("../sql/put_policy.sql"),
    include_str!("../sql/raise_fence_floor.sql"),
    include_str!("../sql/set_indexed_below.sql"),
    include_str!("../sql/take_bucket.sql"),
    include_str!("../sql/unindex_record.sql"),
    include_str!("../sql/unindexed.sql"),
];

async fn open(
    directory: &Path,
    clock: &ManualClock,
    newest_in_memory: usize,
) -> Result<SqliteStore, OpenError> {
    let options = SqliteOptions {
        clock: Clock::Manual(clock.clone()),
        newest_in_memory,
    };
    SqliteStore::open(directory, options).await
}

/// A store in a directory of its own.
struct Fresh {
    directory: tempfile::TempDir,
    clock: ManualClock,
    store: SqliteStore,
}

impl Fresh {
    async fn open() -> Self {
        Self::keeping(key_index::KEPT).await
    }

    /// One that keeps so many digests in memory.
    async fn keeping(kept: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(START);
        let store = open(directory.path(), &clock, kept).await.unwrap();
        Self {
            directory,
            clock,
            store,
        }
    }

    /// Closes the store and opens it again.
    async fn reopen(&mut self, kept: usize) {
        self.store.close().await;
        self.store = open(self.directory.path(), &self.clock, kept)
            .await
            .unwrap();
    }

    /// A second look at the file.
    fn connection(&self) -> Connection {
        Connection::open(self.directory.path().join("semel.db")).unwrap()
    }
}

#[tokio::test]
async fn a_key_lives() {
    let fresh = Fresh::open().await;
    testing::a_key_lives(&fresh.store, &fresh.clock).await;
}

#[tokio::test]
async fn purge_takes_what_is_past_its_retention() {
    let fresh = Fresh::open().await;
    testing::purge_takes_what_is_past_its_retention(&fresh.store, &fresh.clock).await;
}

#[tokio::test]
async fn a_turn_of_the_purge_takes_what_waits_longest_whatever_its_bucket() {
    let fresh = Fresh::open().await;
    let [first, second] = ["first", "second"].map(|prefix| testing::ids(prefix, 100));
    for ids in [&first, &second] {
        let tokens = testing::claim_all(&fresh.store, ids).await;
        testing::complete_all(&fresh.store, ids, &tokens, &bytes::Bytes::new()).await;
        fresh.clock.advance(Span::from_secs(1));
    }
    fresh.clock.advance(testing::RETENTION);
    fresh.clock.advance(Span::from_secs(30));
    let purged = fresh.store.purge(100).await.unwrap();
    let expected = Purged {
        deleted: 100,
        postponed: 0,
        more: true,
        swept: true,
    };
    assert_eq!(purged, expected);
    for (ids, are_there) in [(&first, false), (&second, true)] {
        for id in ids {
            assert_eq!(testing::load(&fresh.store, id).await.is_some(), are_there);
        }
    }
}

#[tokio::test]
async fn policies_are_kept() {
    let fresh = Fresh::open().await;
    testing::policies_are_kept(&fresh.store, &fresh.clock).await;
}

#[tokio::test]
async fn a_large_batch_keeps_its_order() {
    let fresh = Fresh::open().await;
    testing::a_large_batch_keeps_its_order(&fresh.store).await;
}

#[tokio::test]
async fn every_statement_prepares() {
    let fresh = Fresh::open().await;
    let connection = fresh.connection();
    for file in FILES {
        assert!(file.starts_with("-- "), "a header says the guard: {file}");
        if let Err(error) = connection.prepare(file) {
            panic!("{error}: {file}");
        }
    }
    let listed = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/sqlite/sql"));
    assert_eq!(listed.unwrap().count(), FILES.len());
}

/// How SQLite goes about a statement.
fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut explain = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .unwrap();
    // Parameters that are not bound are null, which is all the same to the plan.
    let lines = explain.raw_query().mapped(|row| row.get("detail"));
    lines.collect::<rusqlite::Result<_>>().unwrap()
}

#[tokio::test]
async fn a_statement_on_a_key_goes_straight_to_its_row() {
    let fresh = Fresh::open().await;
    let connection = fresh.connection();
    for file in [
        include_str!("../sql/load.sql"),
        include_str!("../sql/complete_if_held.sql"),
        include_str!("../sql/compare_and_swap.sql"),
        include_str!("../sql/delete_expired.sql"),
        include_str!("../sql/postpone.sql"),
    ] {
        assert_eq!(
            plan(&connection, file),
            ["SEARCH records USING INTEGER PRIMARY KEY (rowid=?)"]
        );
    }
    assert_eq!(
        plan(&connection, include_str!("../sql/find_record.sql")),
        ["SEARCH key_index USING PRIMARY KEY (digest=?)"]
    );
    assert_eq!(
        plan(&connection, include_str!("../sql/unindexed.sql")),
        [
            "SEARCH r USING INTEGER PRIMARY KEY (rowid>?)",
            "SEARCH k USING PRIMARY KEY (digest=?) LEFT-JOIN"
        ]
    );
}

#[tokio::test]
async fn the_census_goes_on_where_it_was() {
    let fresh = Fresh::open().await;
    let plan = plan(&fresh.connection(), include_str!("../sql/census.sql"));
    let reads: Vec<_> = plan.iter().filter(|it| it.contains(" records")).collect();
    assert_eq!(
        reads,
        ["SEARCH records USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"]
    );
}

#[tokio::test]
async fn the_purge_reads_its_index_in_order() {
    let fresh = Fresh::open().await;
    assert_eq!(
        plan(&fresh.connection(), include_str!("../sql/due.sql")),
        ["SEARCH records USING INDEX records_sweep (sweep_at_us<?)"]
    );
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_the_store_opens_again() {
    let Fresh {
        directory,
        clock,
        store,
    } = Fresh::open().await;
    testing::claim_all(&store, &testing::ids("n", 100)).await;
    store.close().await;
    assert!(matches!(
        store.ready().await,
        Err(StoreError::Unavailable(_))
    ));
    let store = open(directory.path(), &clock, key_index::KEPT)
        .await
        .unwrap();
    assert!(testing::load(&store, &testing::id("n-99")).await.is_some());
}

#[tokio::test]
async fn a_second_server_is_refused() {
    let fresh = Fresh::open().await;
    let again = SqliteStore::open(fresh.directory.path(), SqliteOptions::default()).await;
    assert!(matches!(again, Err(OpenError::Locked { .. })));
}

#[tokio::test]
async fn a_newer_or_changed_schema_is_refused() {
    for (change, expected) in [
        (
            "INSERT INTO semel_migrations (version, description, success, checksum, execution_time)
             VALUES (9, 'later', true, x'00', 0)",
            "the schema is at version 9 and this binary knows 1 only",
        ),
        (
            "UPDATE semel_migrations SET checksum = x'00'",
            "migration 1 of the schema is not the one",
        ),
    ] {
        let fresh = Fresh::open().await;
        fresh.connection().execute(change, []).unwrap();
        fresh.store.close().await;
        let error = SqliteStore::open(fresh.directory.path(), SqliteOptions::default())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(
        directory.path().join("semel.db"),
        "not a database, but long enough".repeat(99),
    )
    .unwrap();
    let error = SqliteStore::open(directory.path(), SqliteOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::DatabaseFile { .. }), "{error}");
}

#[test]
fn versions_compare_as_numbers() {
    for (version, will_do) in [
        ("3.51.3", true),
        ("3.52.0", true),
        ("4.0.0", true),
        ("3.51.10", true),
        ("3.51.2", false),
        ("3.9.9", false),
        ("odd", false),
    ] {
        assert_eq!(is_at_least(version, LEAST_VERSION.1), will_do, "{version}");
    }
}

#[tokio::test]
async fn one_bad_row_rolls_the_whole_batch_back_and_the_store_goes_on() {
    let fresh = Fresh::open().await;
    fresh
        .connection()
        .execute_batch(
            "CREATE TRIGGER bad BEFORE INSERT ON records WHEN new.key = 'n-70'
             BEGIN SELECT raise(ABORT, 'no such keys here'); END",
        )
        .unwrap();
    let all = testing::ids("n", 100);
    let records: Vec<_> = all.iter().map(testing::claim).collect();
    let refs: Vec<_> = records.iter().collect();
    let refused = fresh.store.insert_if_absent(0, &refs).await;
    assert!(
        matches!(refused, Err(StoreError::Rejected(_))),
        "{refused:?}"
    );
    assert_eq!(testing::load(&fresh.store, &all[0]).await, None);
    testing::claim_all(&fresh.store, &all[..50]).await;
}

#[tokio::test]
async fn a_full_disk_is_unavailable_until_there_is_room() {
    let fresh = Fresh::open().await;
    // The store's own connection, so that the limit is its.
    let tight = fresh.store.read(|transaction, _| {
        transaction.pragma_update(None, "max_page_count", 40)?;
        Ok(())
    });
    tight.await.unwrap();
    let all = testing::ids("n", 500);
    let records: Vec<_> = all.iter().map(testing::claim).collect();
    let refs: Vec<_> = records.iter().collect();
    let full = fresh.store.insert_if_absent(0, &refs).await;
    assert!(matches!(full, Err(StoreError::Unavailable(_))), "{full:?}");
    // The connection was replaced, and its limit with it; nothing of the batch stands.
    assert_eq!(testing::load(&fresh.store, &all[0]).await, None);
    testing::claim_all(&fresh.store, &all).await;
}

#[tokio::test]
async fn a_corrupt_row_is_an_error_and_no_panic() {
    for change in [
        "UPDATE records SET attempt_id = x'00'",
        "UPDATE records SET owner = CAST(x'ff' AS TEXT)",
        "UPDATE records SET attempt = 99999999999",
    ] {
        let fresh = Fresh::open().await;
        let id = testing::id("n");
        testing::claim_all(&fresh.store, std::slice::from_ref(&id)).await;
        fresh.connection().execute(change, []).unwrap();
        let error = fresh.store.load(0, &[&id]).await.unwrap_err();
        assert!(matches!(error, StoreError::Rejected(_)), "{error}");
        assert!(error.to_string().contains("corrupt"), "{error}");
    }
}

#[tokio::test]
async fn the_wal_stays_small() {
    let fresh = Fresh::open().await;
    let body = bytes::Bytes::from(vec![5; 4096]);
    for round in 0..40 {
        let ids = testing::ids(&format!("r{round}"), 256);
        let tokens = testing::claim_all(&fresh.store, &ids).await;
        testing::complete_all(&fresh.store, &ids, &tokens, &body).await;
        testing::load(&fresh.store, &ids[0]).await;
    }
    let wal = fs::metadata(fresh.directory.path().join("semel.db-wal"))
        .unwrap()
        .len();
    assert!(wal < 48 << 20, "{wal} bytes");
}
