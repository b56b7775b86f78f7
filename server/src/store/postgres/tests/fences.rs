//! Fences over a purge, in the worst case: the clock has gone back, so fences run ahead of it, and an
//! insert that began before the purge goes on after it.

use bytes::Bytes;
use sqlx::Executor;

use super::{slot::Statement, *};
use crate::key::{KeyId, Span};

const DAY: Span = Span::from_secs(86_400);

/// A key lives and is purged while the clock runs a day ahead; then it is set right.
async fn turn_the_clock_back(fresh: &Fresh, store: &PostgresStore) {
    fresh.clock.advance(DAY);
    complete(store, &testing::id("early")).await;
    fresh.clock.advance(Span::from_secs(200));
    assert_eq!(testing::purge_all(store).await, (1, 0));
    fresh.clock.set(START);
}

async fn complete(store: &PostgresStore, id: &KeyId) {
    let ids = std::slice::from_ref(id);
    let tokens = testing::claim_all(store, ids).await;
    // Two more attempts, each with a fence of its own.
    for _ in 0..2 {
        let mut record = testing::load(store, id).await.unwrap();
        record.fence = record.fence.next(START);
        record.attempt += 1;
        assert!(testing::replace(store, id, &record).await);
    }
    let token = testing::load(store, id).await.unwrap().token();
    assert!(token.fence > tokens[0].fence);
    let done = testing::complete_all(store, ids, &[token], &Bytes::new()).await;
    assert!(done[0].is_some());
}

/// With a batch of `size`, whose last key was completed and is past its retention.
async fn a_fence_never_goes_back(size: usize, new: bool) {
    let fresh = Fresh::open().await;
    let options = PostgresOptions {
        clock: Clock::Manual(fresh.clock.clone()),
        ..PostgresOptions::new(fresh.cluster.url(&fresh.database))
    };
    let store = Arc::new(PostgresStore::open(&options).await.unwrap());
    turn_the_clock_back(&fresh, &store).await;
    if new {
        for batch in 0..40 {
            testing::claim_all(&*store, &testing::ids(&format!("new-{batch}"), 3)).await;
        }
    }
    let mut ids = testing::ids("k", size);
    ids.sort_by(|one, other| one.order().cmp(&other.order()));
    let [first, .., last] = &ids[..] else {
        panic!("two at least")
    };
    complete(&store, last).await;
    let fence = testing::load(&*store, last).await.unwrap().fence;
    fresh.clock.advance(Span::from_secs(200));

    // Another server's insert of the first is under way when the batch comes, and holds it up.
    let mut other = fresh.connection(Session::Lane).await;
    other.execute("BEGIN").await.unwrap();
    let record = testing::claim(first);
    let insert = batches::InsertIfAbsent(batches::Claims {
        now_us: Some(fresh.clock.now().as_micros()),
        sorted: Sorted::new([first].into_iter()).unwrap(),
        records: &[&record],
    });
    insert.run(&mut other).await.unwrap();
    let waits = tokio::spawn({
        let (store, ids) = (store.clone(), ids.clone());
        async move {
            let records: Vec<_> = ids.iter().map(testing::claim).collect();
            testing::insert(&*store, &records).await
        }
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE wait_event_type = 'Lock' AND datname = current_database()";
    for _ in 0..1_000 {
        if fresh.ask(waiting) != "0" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(fresh.ask(waiting), "1");

    // The purge must leave the last key, or the batch, which has read the floor, is granted it.
    assert_eq!(testing::purge_all(&*store).await.0, 0);
    other.execute("ROLLBACK").await.unwrap();
    let inserted = waits.await.unwrap();
    assert!(inserted[size - 1].is_none_or(|it| it.fence > fence));

    // It goes when the clock has passed its fence, and does not keep the purge busy until then.
    fresh.clock.advance(Span::from_secs(100));
    assert_eq!(testing::purge_all(&*store).await, (0, 0));
    fresh.clock.set(START + DAY);
    fresh.clock.advance(Span::from_secs(300));
    testing::purge_all(&*store).await;
    assert_eq!(testing::load(&*store, last).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_never_goes_back_over_a_purge_that_an_insert_straddles() {
    a_fence_never_goes_back(2, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_where_the_batch_is_taken_for_new() {
    a_fence_never_goes_back(20, true).await;
}
