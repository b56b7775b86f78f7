//! Batches that are taken for all new.

use bytes::Bytes;

use super::*;

#[tokio::test]
async fn a_batch_taken_for_new_is_inserted_like_any_other() {
    let fresh = Fresh::open().await;
    expect_new_keys(&fresh).await;
    let mut records: Vec<_> = testing::ids("n", 50).iter().map(testing::claim).collect();
    records[1].delivery = Some(Bytes::from_static(b"as it came"));
    let now = fresh.clock.now();
    records[3].insert_until = now - Span::from_micros(1);
    records[4].insert_until = now;
    let inserted = testing::insert(&fresh.store, &records).await;
    for (place, (record, inserted)) in records.into_iter().zip(inserted).enumerate() {
        let stands = testing::load(&fresh.store, &record.id).await;
        assert_eq!(inserted.is_some(), place != 3);
        let expected = inserted.map(|it| record.inserted(it.fence, it.now));
        assert_eq!(stands, expected);
        assert!(inserted.is_none_or(|it| it.now == now && it.fence.as_i64() >= now.as_micros()));
    }
}

#[tokio::test]
async fn a_batch_taken_for_new_by_mistake_is_inserted_but_for_what_stands() {
    let fresh = Fresh::open().await;
    let standing = testing::claim_all(&fresh.store, &testing::ids("n", 1)).await;
    expect_new_keys(&fresh).await;
    let records: Vec<_> = testing::ids("n", 50).iter().map(testing::claim).collect();
    let inserted = testing::insert(&fresh.store, &records).await;
    assert_eq!(inserted[0], None);
    assert!(inserted[1..].iter().all(Option::is_some));
    let kept = testing::load(&fresh.store, &records[0].id).await.unwrap();
    assert_eq!(kept.token(), standing[0], "what stood there is untouched");
}

#[tokio::test]
async fn a_batch_taken_for_new_respects_the_floor_of_fences() {
    let fresh = Fresh::open().await;
    expect_new_keys(&fresh).await;
    let floor = fresh.clock.now().as_micros() + 1_000_000;
    fresh.ask(&format!(
        "UPDATE fence_floor SET fence = {floor} RETURNING fence"
    ));
    let records: Vec<_> = testing::ids("n", 50).iter().map(testing::claim).collect();
    let inserted = testing::insert(&fresh.store, &records).await;
    let is_above = |it: &Option<Inserted>| it.unwrap().fence.as_i64() == floor + 1;
    assert!(inserted.iter().all(is_above));
}

#[tokio::test]
async fn a_batch_taken_for_new_of_which_a_row_is_left_out_is_not_told_as_inserted() {
    let fresh = Fresh::open().await;
    expect_new_keys(&fresh).await;
    fresh.run(
        "CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN IF NEW.key = 'n-7' THEN RETURN NULL; END IF; RETURN NEW; END $$",
    );
    fresh.run(
        "CREATE TRIGGER leave_out BEFORE INSERT ON records
         FOR EACH ROW EXECUTE FUNCTION leave_out()",
    );
    let records: Vec<_> = testing::ids("n", 50).iter().map(testing::claim).collect();
    let refs: Vec<_> = records.iter().collect();
    let unknown = fresh.store.insert_if_absent(0, &refs).await;
    assert!(
        matches!(unknown, Err(StoreError::Unavailable(_))),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn where_the_function_may_not_be_called_batches_are_inserted_all_the_same() {
    let fresh = Fresh::open().await;
    expect_new_keys(&fresh).await;
    fresh.run("DROP FUNCTION insert_batch");
    testing::claim_all(&fresh.store, &testing::ids("n", 50)).await;
    assert!(
        !fresh.store.lanes[0].novelty.is_likely(50),
        "it is not tried again soon"
    );
}

#[tokio::test]
async fn a_commit_that_fails_is_never_told_as_done() {
    let fresh = Fresh::open().await;
    let ids = testing::ids("standing", 1);
    let tokens = testing::claim_all(&fresh.store, &ids).await;
    expect_new_keys(&fresh).await;
    let before = fresh.ask("SELECT count(*) FROM records");
    fresh.run(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'at the commit'; END $$",
    );
    fresh.run(
        "CREATE CONSTRAINT TRIGGER fail AFTER INSERT OR UPDATE ON records
         DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail()",
    );
    // One way to insert and the other.
    for size in [3, 50] {
        let records: Vec<_> = testing::ids("n", size).iter().map(testing::claim).collect();
        let refs: Vec<_> = records.iter().collect();
        fresh.store.insert_if_absent(0, &refs).await.unwrap_err();
    }
    let completion = Completion {
        id: &ids[0],
        token: &tokens[0],
        result: &Bytes::new(),
        retention: testing::RETENTION,
    };
    fresh
        .store
        .complete_if_held(0, &[completion])
        .await
        .unwrap_err();
    assert_eq!(fresh.ask("SELECT count(*) FROM records"), before);
}

/// Three servers with the same new keys, each in another order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_taken_for_new_never_wait_for_each_other_in_a_circle() {
    const ROUNDS: usize = 15;
    let fresh = Arc::new(Fresh::open().await);
    let start = Arc::new(tokio::sync::Barrier::new(3));
    let servers: Vec<_> = (0..3)
        .map(|who| {
            let (fresh, start) = (fresh.clone(), start.clone());
            tokio::spawn(async move {
                let store = fresh.another(Clock::Store).await;
                let mut claimed = 0;
                for round in 0..ROUNDS {
                    let mut ids = testing::ids(&format!("n-{round}"), 300);
                    match who {
                        0 => {}
                        1 => ids.reverse(),
                        _ => ids.rotate_left(150),
                    }
                    let records: Vec<_> = ids.iter().map(testing::claim).collect();
                    for _ in 0..40 {
                        store.lanes[0].novelty.was(true);
                    }
                    start.wait().await;
                    let inserted = testing::insert(&store, &records).await;
                    claimed += inserted.iter().flatten().count();
                }
                claimed
            })
        })
        .collect();
    let mut claimed = 0;
    for server in servers {
        claimed += server.await.unwrap();
    }
    assert_eq!(claimed, ROUNDS * 300, "each once");
    assert_eq!(fresh.deadlocks().await, "0");
}
