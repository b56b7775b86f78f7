//! What the statements do.

use bytes::Bytes;
use sqlx::Executor;

use super::{slot::Statement, *};
use crate::key::{AttemptId, Span};

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

/// An insert that started before a record was purged must not outlive it: it would grant the key
/// again, with its own older time for a fence.
#[tokio::test]
async fn the_purge_stays_behind_by_more_than_a_statement_can_live() {
    let fresh = Fresh::open().await;
    let lag = Span::from_secs(60);
    let options = PostgresOptions {
        clock: Clock::Manual(fresh.clock.clone()),
        ..PostgresOptions::new(fresh.cluster.url(&fresh.database))
    };
    assert_eq!(options.purge_lag, lag);
    assert!(Duration::from(lag) > 2 * connect::STATEMENT_TIMEOUT);
    let store = PostgresStore::open(&options).await.unwrap();
    testing::purge_waits_for(&store, &fresh.clock, lag).await;
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
async fn time_is_the_databases_and_one_for_a_whole_batch() {
    let fresh = Fresh::open().await;
    let store = fresh.another(Clock::Store).await;
    let ids = testing::ids("n", 200);
    let records: Vec<_> = ids.iter().map(testing::claim).collect();
    let inserted = testing::insert(&store, &records).await;
    let first = inserted[0].unwrap();
    assert!(inserted.iter().all(|inserted| *inserted == Some(first)));
    assert_eq!(first.fence.as_i64(), first.now.as_micros());
    let now: i64 = fresh
        .ask("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        .parse()
        .unwrap();
    assert!((0..60_000_000).contains(&(now - first.now.as_micros())));
    let loaded = store
        .load(0, &[&ids[0], &testing::id("absent")])
        .await
        .unwrap();
    assert!(loaded.now > first.now);
    assert!(store.load(0, &[&testing::id("absent")]).await.unwrap().now >= loaded.now);
    assert!(store.load(0, &[]).await.unwrap().records.is_empty());
}

#[tokio::test]
async fn a_duplicate_writes_nothing() {
    let fresh = Fresh::open().await;
    let ids = testing::ids("n", 100);
    testing::claim_all(&fresh.store, &ids).await;
    let records: Vec<_> = ids.iter().map(testing::claim).collect();
    let records: Vec<_> = records.iter().collect();
    let insert = batches::InsertIfAbsent(batches::Claims {
        now_us: None,
        sorted: Sorted::new(ids.iter()).unwrap(),
        records: &records,
    });
    let mut connection = fresh.connection(Session::Lane).await;
    connection.execute("BEGIN").await.unwrap();
    let inserted = insert.run(&mut connection).await.unwrap();
    assert!(inserted.iter().all(Option::is_none));
    // What wrote or locked anything has a transaction id.
    let id: Option<String> = sqlx::query_scalar("SELECT pg_current_xact_id_if_assigned()::text")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(id, None);
}

#[tokio::test]
async fn a_bad_item_is_rejected_and_nothing_of_its_batch_stands() {
    let fresh = Fresh::open().await;
    let good = testing::claim(&testing::id("good"));
    let mut bad = testing::claim(&testing::id("bad"));
    bad.owner = "a\0b".into();
    let refused = fresh.store.insert_if_absent(0, &[&good, &bad]).await;
    assert!(
        matches!(refused, Err(StoreError::Rejected(_))),
        "{refused:?}"
    );
    assert_eq!(testing::load(&fresh.store, &good.id).await, None);
    let twice = fresh.store.insert_if_absent(0, &[&good, &good]).await;
    assert!(matches!(twice, Err(StoreError::Rejected(_))), "{twice:?}");
    assert!(testing::insert(&fresh.store, &[good]).await[0].is_some());
}

#[tokio::test]
async fn answers_are_matched_by_key_and_not_by_attempt_id() {
    let fresh = Fresh::open().await;
    let mut records: Vec<_> = testing::ids("n", 9).iter().map(testing::claim).collect();
    records[4].attempt_id = AttemptId::from_stored([1; 16]);
    testing::insert(&fresh.store, &records[..3]).await;
    let inserted = testing::insert(&fresh.store, &records).await;
    let found: Vec<_> = inserted.iter().map(Option::is_some).collect();
    assert_eq!(
        found,
        [false, false, false, true, true, true, true, true, true]
    );
}

#[tokio::test]
async fn a_corrupt_row_is_an_error_and_no_panic() {
    let fresh = Fresh::open().await;
    let id = testing::id("n");
    testing::claim_all(&fresh.store, std::slice::from_ref(&id)).await;
    fresh
        .cluster
        .query(&fresh.database, "UPDATE records SET attempt = -1")
        .unwrap();
    let error = fresh.store.load(0, &[&id]).await.unwrap_err();
    assert!(matches!(error, StoreError::Rejected(_)));
    assert!(error.to_string().contains("corrupt"), "{error}");
}

#[tokio::test]
async fn replicas_share_the_buckets() {
    let fresh = Fresh::open().await;
    let stores = [
        fresh.another(Clock::Manual(fresh.clock.clone())).await,
        fresh.another(Clock::Manual(fresh.clock.clone())).await,
    ];
    let sweep = async |store: &PostgresStore| {
        let mut buckets = 0;
        while store.purge(10).await.unwrap().swept {
            buckets += 1;
        }
        buckets
    };
    let (one, other) = tokio::join!(sweep(&stores[0]), sweep(&stores[1]));
    assert_eq!(one + other, 64, "each bucket once: {one} and {other}");
    assert!(one > 0 && other > 0);
}

#[tokio::test]
async fn a_key_granted_again_is_not_purged() {
    let fresh = Fresh::open().await;
    let ids = testing::ids("n", 1);
    let tokens = testing::claim_all(&fresh.store, &ids).await;
    testing::complete_all(&fresh.store, &ids, &tokens, &Bytes::new()).await;
    fresh.clock.advance(Span::from_secs(1_000));
    let again = testing::claim(&ids[0])
        .inserted(tokens[0].fence.next(fresh.clock.now()), fresh.clock.now());
    assert!(testing::replace(&fresh.store, &ids[0], &again).await);
    assert_eq!(testing::purge_all(&fresh.store).await, (0, 1));
    assert_eq!(testing::load(&fresh.store, &ids[0]).await, Some(again));
}

#[tokio::test]
async fn an_unchanged_delivery_is_not_written_again() {
    let fresh = Fresh::open().await;
    let mut record = testing::claim(&testing::id("n"));
    record.delivery = Some(Bytes::from(vec![9; 300_000]));
    testing::insert(&fresh.store, std::slice::from_ref(&record)).await;
    let toast = "SELECT pg_table_size(reltoastrelid) FROM pg_class WHERE relname = 'records'";
    let before = fresh.ask(toast);
    for _ in 0..5 {
        let mut standing = testing::load(&fresh.store, &record.id).await.unwrap();
        standing.revision += 1;
        assert!(testing::replace(&fresh.store, &record.id, &standing).await);
    }
    assert_eq!(fresh.ask(toast), before);
}
