//! What only Postgres can get wrong.

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use semel_server::{
    key::{Record, Span, Token},
    store::{
        Clock, Completion, ManualClock, SharedStore, Store, Swap,
        postgres::{PostgresOptions, PostgresStore},
    },
};
use semel_tests::*;
use sqlx::Row;

/// Claims 1,000 keys and completes them, and says how many of the updates were HOT.
async fn hot_updates(
    database: &Postgres,
    house: House,
    at_once: bool,
    result: usize,
) -> (i64, i64) {
    let ids = orders("k", 1_000);
    let mut calls = tokio::task::JoinSet::new();
    for (n, id) in (1..).zip(ids) {
        let server = Server::clone(&house);
        let call = async move {
            let token = server.claimed(&id, n).await.token;
            assert_eq!(
                server.word(&id, complete(token, noise_of(result))).await,
                "stored"
            );
        };
        if at_once {
            calls.spawn(call);
        } else {
            call.await;
        }
    }
    calls.join_all().await;
    // A connection that ends tells what it has counted.
    house.lanes.close().await;
    database.close().await;
    let mut connection = database.connect().await;
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let row = sqlx::query(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables \
             WHERE relid = 'records'::regclass",
        )
        .fetch_one(&mut connection)
        .await
        .expect("statistics");
        let (all, hot): (i64, i64) = (row.get(0), row.get(1));
        if all >= 1_000 {
            return (all, hot);
        }
        assert!(Instant::now() < deadline, "only {all} updates were counted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn noise_of(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 131 % 251) as u8).collect()
}

#[tokio::test]
async fn of_1000_completes_one_by_one_95_percent_are_hot_updates() {
    let database = Arc::new(Postgres::schema().await);
    run_on(database.clone(), |house| async move {
        let (all, hot) = hot_updates(&database, house, false, 1_000).await;
        assert_eq!(all, 1_000, "one update for each Complete");
        assert!(hot * 100 >= all * 95, "{hot} of {all}");
    })
    .await;
}

/// When all rows of a page are completed in one statement, nothing can be pruned in between: the
/// page's free half has to take all new versions. Results of 100 bytes still fit; with 200 bytes
/// only 78 % of the updates are HOT, with 1,000 bytes 22 %.
#[tokio::test]
async fn of_1000_completes_in_large_batches_95_percent_are_hot_updates() {
    let database = Arc::new(Postgres::schema().await);
    run_on(database.clone(), |house| async move {
        let (all, hot) = hot_updates(&database, house, true, 100).await;
        assert_eq!(all, 1_000, "one update for each Complete");
        assert!(hot * 100 >= all * 95, "{hot} of {all}");
    })
    .await;
}

/// A store whose statements would rather run into their timeout than be rescued from a deadlock,
/// so that a deadlock is an error. Only a superuser may ask for that.
async fn unrescued(database: &Postgres, clock: &ManualClock) -> SharedStore {
    let mut url = database.url();
    if env::var("SEMEL_TEST_DATABASE_URL").is_err() {
        url += "%20-c%20deadlock_timeout%3D1min";
    }
    let options = PostgresOptions {
        lanes: 2,
        clock: Clock::Manual(clock.clone()),
        // Tests set the clock, and want to see the purge at once.
        purge_lag: Span::ZERO,
        ..PostgresOptions::new(url)
    };
    Arc::new(
        PostgresStore::open(&options)
            .await
            .expect("the store opens"),
    )
}

#[tokio::test]
async fn overlapping_batches_of_two_servers_never_wait_in_a_circle() {
    let database = Arc::new(Postgres::schema().await);
    run_on(database.clone(), |house| async move {
        let stores = [
            unrescued(&database, &house.clock).await,
            unrescued(&database, &house.clock).await,
        ];
        for round in 0..20 {
            let ids = orders(&format!("{round}/"), 200);
            let mut calls = tokio::task::JoinSet::new();
            for (n, store) in (0..).zip(&stores) {
                for lane in 0..2 {
                    let (store, mut ids) = (store.clone(), ids.clone());
                    // Four orders of the same keys.
                    ids.rotate_left(50 * (2 * n + lane));
                    if lane == 1 {
                        ids.reverse();
                    }
                    calls.spawn(async move { write_all(&*store, lane, &ids).await });
                }
            }
            // A circle would end in a statement timeout, which is an error.
            within(calls.join_all()).await;
        }
        for store in stores {
            store.close().await;
        }
    })
    .await;
}

/// Writes every key in each of the three ways.
async fn write_all(store: &dyn Store, lane: usize, ids: &[semel_server::key::KeyId]) {
    let new: Vec<_> = ids.iter().map(|id| new_record(id, 1)).collect();
    let inserts: Vec<_> = new.iter().collect();
    store
        .insert_if_absent(lane, &inserts)
        .await
        .expect("inserts");
    let keys: Vec<_> = ids.iter().collect();
    let standing: Vec<Record> = store
        .load(lane, &keys)
        .await
        .expect("loads")
        .records
        .into_iter()
        .map(|record| record.expect("inserted by somebody"))
        .collect();
    let next: Vec<_> = standing
        .iter()
        .map(|record| Record {
            revision: record.revision + 1,
            ..record.clone()
        })
        .collect();
    let swaps: Vec<_> = ids
        .iter()
        .zip(standing.iter().zip(&next))
        .map(|(id, (old, record))| Swap {
            id,
            expected_fence: old.fence,
            expected_revision: old.revision,
            record,
        })
        .collect();
    store.compare_and_swap(lane, &swaps).await.expect("swaps");
    let tokens: Vec<Token> = standing.iter().map(Record::token).collect();
    let result = "r".into();
    let completions: Vec<_> = ids
        .iter()
        .zip(&tokens)
        .map(|(id, token)| Completion {
            id,
            token,
            result: &result,
            retention: RETENTION,
        })
        .collect();
    store
        .complete_if_held(lane, &completions)
        .await
        .expect("completes");
}

#[tokio::test]
async fn no_index_holds_a_column_that_a_settlement_changes() {
    let database = Arc::new(Postgres::schema().await);
    run_on(database.clone(), |_house| async move {
        let mut connection = database.connect().await;
        let mut indexed: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT a.attname::text FROM pg_index AS i \
             JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) \
             WHERE i.indrelid = 'records'::regclass",
        )
        .fetch_all(&mut connection)
        .await
        .expect("the catalog");
        indexed.sort();
        assert_eq!(indexed, ["bucket", "digest", "sweep_at_us"]);
    })
    .await;
}

#[tokio::test]
async fn the_databases_own_clock_gives_increasing_fences_and_lapses_leases() {
    let database = Arc::new(Postgres::schema().await);
    run_on(database.clone(), |_house| async move {
        let options = PostgresOptions::new(database.url());
        let store: SharedStore = Arc::new(PostgresStore::open(&options).await.expect("it opens"));
        let server = Server::start(store.clone()).await;
        let id = order("k");
        let first = server.claimed(&id, 1).await.token;
        assert_eq!(server.claim_word(&id, 2).await, "in progress");
        assert_eq!(
            server
                .word(&id, retry_after(first, semel_server::key::Span::ZERO))
                .await,
            "backing off"
        );
        let second = server.claimed(&id, 2).await.token;
        assert!(second.fence > first.fence);
        // Microseconds since 1970, and not of the transaction but of the moment.
        let mut connection = database.connect().await;
        let now: i64 =
            sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
                .fetch_one(&mut connection)
                .await
                .expect("the time");
        let age = now - second.fence.as_i64();
        assert!((0..60_000_000).contains(&age), "the fence is {age} us old");
        server.lanes.close().await;
        store.close().await;
    })
    .await;
}
