//! SQLite, tried for real.

mod speed;

use std::fs;

use sqlx::{Connection, Executor, Row, SqlSafeStr, SqliteConnection};

use super::*;
use crate::store::{
    ManualClock,
    testing::{self, START},
};

/// Every file, as it stands: with one row.
const FILES: [&str; 15] = [
    include_str!("../sql/buckets_due.sql"),
    include_str!("../sql/compare_and_swap.sql"),
    include_str!("../sql/complete_if_held.sql"),
    include_str!("../sql/delete_expired.sql"),
    include_str!("../sql/due.sql"),
    include_str!("../sql/insert_if_absent.sql"),
    include_str!("../sql/load.sql"),
    include_str!("../sql/namespaces.sql"),
    include_str!("../sql/policies.sql"),
    include_str!("../sql/policy.sql"),
    include_str!("../sql/postpone.sql"),
    include_str!("../sql/put_namespace.sql"),
    include_str!("../sql/put_policy.sql"),
    include_str!("../sql/raise_fence_floor.sql"),
    include_str!("../sql/take_bucket.sql"),
];

/// A store in a directory of its own.
struct Fresh {
    directory: tempfile::TempDir,
    clock: ManualClock,
    store: SqliteStore,
}

impl Fresh {
    async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(START);
        let store = SqliteStore::open(directory.path(), Clock::Manual(clock.clone()))
            .await
            .unwrap();
        Self {
            directory,
            clock,
            store,
        }
    }

    /// A second look at the file.
    async fn connection(&self) -> SqliteConnection {
        connection::reader(self.directory.path().join("semel.db"))
            .read_only(false)
            .connect()
            .await
            .unwrap()
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
    let mut connection = fresh.connection().await;
    for file in FILES {
        assert!(file.starts_with("-- "), "a header says the guard: {file}");
        if let Err(error) = connection.prepare(file.into_sql_str()).await {
            panic!("{error}: {file}");
        }
    }
    let listed = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/sqlite/sql"));
    assert_eq!(listed.unwrap().count(), FILES.len());
}

#[tokio::test]
async fn a_batch_probes_the_primary_key_for_each_row() {
    let fresh = Fresh::open().await;
    let mut connection = fresh.connection().await;
    for template in [
        &*batches::LOAD,
        &*batches::COMPLETE_IF_HELD,
        &*batches::COMPARE_AND_SWAP,
        &*purge::DELETE_EXPIRED,
        &*purge::POSTPONE,
    ] {
        let chunk = template.chunks(64).remove(0);
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", chunk.sql.0));
        let plan: Vec<String> = sqlx::query(explain)
            .fetch_all(&mut connection)
            .await
            .unwrap()
            .iter()
            .map(|row| row.get("detail"))
            .collect();
        let probe =
            "SEARCH r USING INDEX sqlite_autoindex_records_1 (bucket=? AND namespace=? AND key=?)";
        assert!(plan.iter().any(|line| line == probe), "{plan:#?}");
        let scans_records = |line: &String| line.starts_with("SCAN r");
        assert!(!plan.iter().any(scans_records), "{plan:#?}");
    }
}

#[tokio::test]
async fn the_purge_reads_its_index_in_order() {
    let fresh = Fresh::open().await;
    let mut connection = fresh.connection().await;
    let explain = concat!("EXPLAIN QUERY PLAN ", include_str!("../sql/due.sql"));
    let plan = sqlx::query(explain)
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let lines: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
    assert_eq!(
        lines,
        ["SEARCH records USING INDEX records_sweep (bucket=? AND sweep_at_us<?)"]
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
    let store = SqliteStore::open(directory.path(), Clock::Manual(clock))
        .await
        .unwrap();
    assert!(testing::load(&store, &testing::id("n-99")).await.is_some());
}

#[tokio::test]
async fn a_second_server_is_refused() {
    let fresh = Fresh::open().await;
    let again = SqliteStore::open(fresh.directory.path(), Clock::Store).await;
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
        fresh.connection().await.execute(change).await.unwrap();
        fresh.store.close().await;
        let error = SqliteStore::open(fresh.directory.path(), Clock::Store)
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
    let error = SqliteStore::open(directory.path(), Clock::Store)
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
    let mut connection = fresh.connection().await;
    connection
        .execute(
            "CREATE TRIGGER bad BEFORE INSERT ON records WHEN new.key = 'n-70'
             BEGIN SELECT raise(ABORT, 'no such keys here'); END",
        )
        .await
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
    let limit = |pages: &'static str| async move {
        struct Limit(&'static str);
        impl connection::Write for Limit {
            type Answer = ();
            fn is_one_statement(&self) -> bool {
                true
            }
            async fn run(
                &self,
                connection: &mut SqliteConnection,
                _: Timestamp,
            ) -> Result<(), fault::CallError> {
                connection.execute(self.0).await?;
                Ok(())
            }
        }
        Limit(pages)
    };
    let tight = limit("PRAGMA max_page_count = 40").await;
    fresh
        .store
        .write
        .write(&fresh.store.clock, &tight)
        .await
        .unwrap();
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
    let fresh = Fresh::open().await;
    let id = testing::id("n");
    testing::claim_all(&fresh.store, std::slice::from_ref(&id)).await;
    fresh
        .connection()
        .await
        .execute("UPDATE records SET attempt_id = x'00'")
        .await
        .unwrap();
    let error = fresh.store.load(0, &[&id]).await.unwrap_err();
    assert!(matches!(error, StoreError::Rejected(_)));
    assert!(error.to_string().contains("corrupt"), "{error}");
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
    assert!(wal < 32 << 20, "{wal} bytes");
    let mut connection = fresh.connection().await;
    connection.ping().await.unwrap();
}
