//! How the statements run: prepared, probing an index for each row in the order of the batch, and
//! without touching an index when a claim is settled.

use bytes::Bytes;
use sqlx::{Executor, Row, SqlSafeStr};

use super::*;

/// Every file, and the types of its parameters as the server infers them.
const FILES: [&str; 21] = [
    include_str!("../sql/buckets_due.sql"),
    include_str!("../sql/census.sql"),
    include_str!("../sql/census_turn.sql"),
    include_str!("../sql/compare_and_swap.sql"),
    include_str!("../sql/complete_if_held.sql"),
    include_str!("../sql/delete_expired.sql"),
    include_str!("../sql/due.sql"),
    include_str!("../sql/insert_all.sql"),
    include_str!("../sql/insert_if_absent.sql"),
    include_str!("../sql/insert_one.sql"),
    include_str!("../sql/load.sql"),
    include_str!("../sql/namespaces.sql"),
    include_str!("../sql/now.sql"),
    include_str!("../sql/policies.sql"),
    include_str!("../sql/policy.sql"),
    include_str!("../sql/postpone.sql"),
    include_str!("../sql/put_namespace.sql"),
    include_str!("../sql/put_policy.sql"),
    include_str!("../sql/raise_fence_floor.sql"),
    include_str!("../sql/ready.sql"),
    include_str!("../sql/take_bucket.sql"),
];

#[tokio::test]
async fn every_statement_prepares() {
    let fresh = Fresh::open().await;
    let mut connection = fresh.connection(Session::Lane).await;
    for file in FILES {
        assert!(file.starts_with("-- "), "a header says the guard: {file}");
        assert!(
            !file.contains("now()"),
            "frozen at the start of a transaction: {file}"
        );
        if let Err(error) = connection.prepare(file.into_sql_str()).await {
            panic!("{error}: {file}");
        }
    }
    let listed = std::fs::read_dir(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/store/postgres/sql"
    ));
    assert_eq!(listed.unwrap().count(), FILES.len());
}

/// The generic plan of a statement with `parameters`.
async fn plan(fresh: &Fresh, session: Session, file: &str, parameters: usize) -> String {
    let mut connection = fresh.connection(session).await;
    let prepare = format!("PREPARE planned AS {file}");
    connection
        .execute(sqlx::AssertSqlSafe(prepare))
        .await
        .unwrap();
    let nulls = vec!["NULL"; parameters].join(", ");
    let explain = format!("EXPLAIN (COSTS OFF) EXECUTE planned ({nulls})");
    let rows = connection
        .fetch_all(sqlx::AssertSqlSafe(explain))
        .await
        .unwrap();
    let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    lines.join("\n")
}

/// Tables of several sizes, with statistics and without.
async fn of_every_size() -> Vec<(&'static str, Fresh)> {
    let fill = |n: u32| {
        format!(
            "INSERT INTO records SELECT i % 64, gen_random_uuid(), 'orders', 'filler-' || i, gen_random_uuid(), 1, 1,
                 1, 1, 1, 1, NULL, NULL, NULL, 1, 1, 1, '', '', '', '' FROM generate_series(1, {n}) AS i"
        )
    };
    let sizes = [
        ("empty and never looked at", None, false),
        ("empty", None, true),
        ("a few rows", Some(fill(5)), true),
        ("a thousand rows", Some(fill(1_000)), true),
        (
            "thousands of rows, never looked at",
            Some(fill(30_000)),
            false,
        ),
        ("thousands of rows", Some(fill(30_000)), true),
    ];
    let mut tables = Vec::new();
    for (name, fill, vacuum) in sizes {
        let fresh = Fresh::open().await;
        if let Some(fill) = fill {
            fresh.cluster.query(&fresh.database, &fill).unwrap();
        }
        if vacuum {
            fresh
                .cluster
                .query(&fresh.database, "VACUUM ANALYZE")
                .unwrap();
        }
        tables.push((name, fresh));
    }
    tables
}

#[tokio::test]
async fn a_batch_probes_the_primary_key_for_each_row_whatever_the_statistics_say() {
    for (size, fresh) in of_every_size().await {
        for (file, parameters) in [
            (include_str!("../sql/load.sql"), 5),
            (include_str!("../sql/complete_if_held.sql"), 10),
            (include_str!("../sql/compare_and_swap.sql"), 25),
        ] {
            let plan = plan(&fresh, Session::Lane, file, parameters).await;
            assert!(
                plan.contains("Index Scan using records_pkey"),
                "{size}: {plan}"
            );
            // The names are compared where the digest was found.
            let probes = |line: &str| {
                line.contains("Index Cond: ((bucket = ") && line.contains(" AND (digest = ")
            };
            assert!(plan.lines().any(probes), "{size}: {plan}");
            // The batch drives, in its order; nothing sorts or hashes it, nothing reads ahead.
            for other in [
                "Hash",
                "Merge",
                "Sort",
                "Seq Scan",
                "Bitmap",
                "Join Filter",
                "Gather",
            ] {
                assert!(!plan.contains(other), "{size}: {plan}");
            }
        }
    }
}

#[tokio::test]
async fn the_purge_reads_its_index_in_order_and_then_goes_by_address() {
    for (size, fresh) in of_every_size().await {
        let file = include_str!("../sql/due.sql");
        let due = plan(&fresh, Session::Sweep, file, 4).await;
        assert!(
            due.contains("Index Scan using records_sweep"),
            "{size}: {due}"
        );
        // What the limit lets through is sorted for the answer, and not before.
        let (_, read) = due.split_once("Limit").unwrap();
        assert!(!read.contains("Sort"), "{size}: {due}");
        for (file, parameters) in [
            (include_str!("../sql/delete_expired.sql"), 3),
            (include_str!("../sql/postpone.sql"), 4),
        ] {
            let plan = plan(&fresh, Session::Sweep, file, parameters).await;
            assert!(plan.contains("TID Cond: (ctid = "), "{size}: {plan}");
            for other in ["Hash", "Merge", "Sort", "Seq Scan on records", "Bitmap"] {
                assert!(!plan.contains(other), "{size}: {plan}");
            }
        }
    }
}

#[tokio::test]
async fn the_census_reads_its_blocks_and_no_others() {
    for (size, fresh) in of_every_size().await {
        let mut connection = fresh.connection(Session::Census).await;
        let prepare = format!("PREPARE planned AS {}", include_str!("../sql/census.sql"));
        let prepare = sqlx::AssertSqlSafe(prepare);
        connection.execute(prepare).await.unwrap();
        // It changes from one to the other after some calls.
        for mode in ["force_custom_plan", "force_generic_plan"] {
            let set = sqlx::AssertSqlSafe(format!("SET plan_cache_mode = {mode}"));
            connection.execute(set).await.unwrap();
            let explain = "EXPLAIN (COSTS OFF) EXECUTE planned (7, '(0,0)', '(512,0)')";
            let rows = connection.fetch_all(explain).await.unwrap();
            let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            let plan = lines.join("\n");
            assert!(
                plan.contains("Tid Range Scan on records"),
                "{size}, {mode}: {plan}"
            );
        }
    }
}

#[tokio::test]
async fn of_several_servers_one_counts_until_it_ends() {
    let fresh = Fresh::open().await;
    let other = fresh.another(Clock::Store).await;
    async fn counts(store: &PostgresStore) -> bool {
        let part = store.census(CensusPlace::default()).await;
        part.expect("it answers").is_some()
    }
    assert!(counts(&fresh.store).await);
    assert!(!counts(&other).await, "the first one does");
    assert!(counts(&fresh.store).await, "and it may again");
    fresh.store.close().await;
    // The server drops the lock when it has seen the connection's end.
    let takes_over = async {
        while !counts(&other).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), takes_over)
        .await
        .expect("another one goes on");
    other.close().await;
}

#[tokio::test]
async fn settlements_and_extends_are_hot_updates() {
    let fresh = Fresh::open().await;
    let result = Bytes::from_static(&[b'x'; 200]);
    for round in 0..10 {
        let ids = testing::ids(&format!("r{round}"), 512);
        let tokens = testing::claim_all(&fresh.store, &ids).await;
        let done = testing::complete_all(&fresh.store, &ids, &tokens, &result).await;
        assert!(done.iter().all(Option::is_some));
    }
    let hot = hot_ratio(&fresh).await;
    assert!(hot >= 0.95, "{hot}");
}

/// Which part of all updates were HOT, once the statistics have arrived.
pub(super) async fn hot_ratio(fresh: &Fresh) -> f64 {
    // The backends report when they have been idle for a while, or when they go.
    fresh.store.close().await;
    let statistics = "SELECT n_tup_upd || ' ' || n_tup_hot_upd FROM pg_stat_user_tables
                      WHERE relname = 'records'";
    let mut last = String::new();
    for _ in 0..50 {
        let now = fresh.ask(statistics);
        if now == last && !now.starts_with("0 ") {
            break;
        }
        last = now;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (all, hot) = last.split_once(' ').unwrap();
    hot.parse::<f64>().unwrap() / all.parse::<f64>().unwrap()
}
