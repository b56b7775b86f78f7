//! The store's insert: nothing stands under the key, and its time has not passed.

use super::*;

semel_tests::cases!(store_insert:
    a_key_that_has_no_record_gets_one_with_the_stores_time_as_fence,
    what_was_inserted_is_the_record_that_the_rules_expect,
    a_key_that_stands_is_not_inserted_again_and_stays_as_it_is,
    a_record_past_its_retention_still_stands_in_the_way,
    a_batch_with_some_standing_keys_inserts_the_others,
    answers_come_in_the_order_asked_for,
    the_largest_batch_is_inserted_whole_and_at_one_time,
    an_empty_batch_is_no_error,
    a_key_that_stands_twice_in_a_batch_is_rejected_and_nothing_of_it_applied,
    at_its_insert_until_a_claim_is_inserted,
    past_its_insert_until_a_claim_is_not_inserted,
    in_a_batch_each_claim_has_its_own_insert_until,
    a_claim_that_must_miss_never_is_inserted,
    the_longest_spans_end_at_the_end_of_time,
    inserting_what_stands_writes_nothing,
    of_two_inserts_at_once_one_is_made,
    overlapping_batches_of_two_servers_insert_each_key_once,
);

pub async fn a_key_that_has_no_record_gets_one_with_the_stores_time_as_fence(house: House) {
    house.clock.set(at(33));
    let inserted = insert(&house.store, &new_record(&order("k"), 1)).await;
    let fence = Fence::from_i64(at(33).as_micros());
    assert_eq!(inserted, Some(Inserted { fence, now: at(33) }));
}

pub async fn what_was_inserted_is_the_record_that_the_rules_expect(house: House) {
    let id = order("k");
    let new = NewRecord {
        fingerprint: print("digest"),
        owner: "pod-7 (Zürich)".into(),
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        lease: Span::from_micros(1_234_567),
        delivery: Some(Bytes::from_static(b"\x00\xffbody")),
        ..new_record(&id, 5)
    };
    let Inserted { fence, now } = insert(&house.store, &new).await.unwrap();
    assert_eq!(house.standing(&id).await, new.inserted(fence, now));
}

pub async fn a_key_that_stands_is_not_inserted_again_and_stays_as_it_is(house: House) {
    let id = order("k");
    insert(&house.store, &new_record(&id, 1)).await.unwrap();
    let first = house.standing(&id).await;
    house.clock.advance(secs(1));
    let second = NewRecord {
        delivery: Some("another".into()),
        ..new_record(&id, 2)
    };
    assert_eq!(insert(&house.store, &second).await, None);
    // Nor the same attempt: the rules, and not the store, know that it is the same.
    assert_eq!(insert(&house.store, &new_record(&id, 1)).await, None);
    assert_eq!(house.standing(&id).await, first);
}

pub async fn a_record_past_its_retention_still_stands_in_the_way(house: House) {
    let id = order("k");
    let old = record(completed("r"));
    plant(&house.store, &id, &old).await;
    house.clock.set(at(1_000_000));
    assert_eq!(insert(&house.store, &new_record(&id, 2)).await, None);
    assert_eq!(house.standing(&id).await, old);
}

pub async fn a_batch_with_some_standing_keys_inserts_the_others(house: House) {
    let ids = orders("k", 30);
    for id in ids.iter().step_by(3) {
        insert(&house.store, &new_record(id, 1)).await.unwrap();
    }
    let batch: Vec<_> = ids.iter().map(|id| new_record(id, 2)).collect();
    let inserted = insert_all(&house.store, &batch).await;
    for (n, inserted) in inserted.iter().enumerate() {
        assert_eq!(inserted.is_none(), n % 3 == 0, "item {n}");
        let holder = if n % 3 == 0 { 1 } else { 2 };
        assert_eq!(house.standing(&ids[n]).await.attempt_id, attempt(holder));
    }
}

pub async fn answers_come_in_the_order_asked_for(house: House) {
    // Neither the order of the keys nor that of the buckets: every second stands already, so a
    // mix-up shows in both directions.
    let names = ["z", "a", "ü", "M", "0", "€", "b", "Z", "~", "!"];
    for (n, name) in names.iter().enumerate().filter(|(n, _)| n % 2 == 1) {
        insert(&house.store, &new_record(&order(name), n as u128 + 100))
            .await
            .unwrap();
    }
    let batch: Vec<_> = (1..)
        .zip(names)
        .map(|(n, name)| new_record(&order(name), n))
        .collect();
    let inserted = insert_all(&house.store, &batch).await;
    let expected: Vec<_> = (0..names.len()).map(|n| n % 2 == 0).collect();
    assert_eq!(
        inserted.iter().map(Option::is_some).collect::<Vec<_>>(),
        expected
    );
    for (n, name) in (1..).zip(names).step_by(2) {
        assert_eq!(
            house.standing(&order(name)).await.attempt_id,
            attempt(n),
            "{name}"
        );
    }
}

pub async fn the_largest_batch_is_inserted_whole_and_at_one_time(house: House) {
    let batch: Vec<_> = (1..)
        .zip(&orders("k", LARGEST_BATCH))
        .map(|(n, id)| new_record(id, n))
        .collect();
    let inserted = insert_all(&house.store, &batch).await;
    let fence = Fence::from_i64(at(0).as_micros());
    assert_eq!(
        inserted,
        vec![Some(Inserted { fence, now: at(0) }); LARGEST_BATCH]
    );
    let loaded = load(&house.store, &orders("k", LARGEST_BATCH)).await;
    for (new, loaded) in batch.iter().zip(loaded.records) {
        assert_eq!(loaded, Some(new.clone().inserted(fence, at(0))));
    }
}

pub async fn an_empty_batch_is_no_error(house: House) {
    let store = &house.store;
    assert_eq!(store.insert_if_absent(0, &[]).await.unwrap(), []);
    assert_eq!(store.complete_if_held(0, &[]).await.unwrap(), []);
    assert_eq!(store.compare_and_swap(0, &[]).await.unwrap(), [false; 0]);
    let loaded = store.load(0, &[]).await.unwrap();
    assert_eq!((loaded.now, loaded.records), (at(0), vec![]));
}

pub async fn a_key_that_stands_twice_in_a_batch_is_rejected_and_nothing_of_it_applied(
    house: House,
) {
    let (twice, other) = (order("twice"), order("other"));
    let batch = [
        new_record(&twice, 1),
        new_record(&other, 2),
        new_record(&twice, 3),
    ];
    let batch: Vec<_> = batch.iter().collect();
    let refused = house.store.insert_if_absent(0, &batch).await;
    assert!(
        matches!(refused, Err(StoreError::Rejected(_))),
        "{refused:?}"
    );
    assert_eq!(
        load(&house.store, &[twice, other]).await.records,
        [None, None]
    );
}

pub async fn at_its_insert_until_a_claim_is_inserted(house: House) {
    let new = NewRecord {
        insert_until: at(0),
        ..new_record(&order("k"), 1)
    };
    assert!(insert(&house.store, &new).await.is_some());
}

pub async fn past_its_insert_until_a_claim_is_not_inserted(house: House) {
    let new = NewRecord {
        insert_until: at(0),
        ..new_record(&order("k"), 1)
    };
    house.clock.advance(TICK);
    assert_eq!(insert(&house.store, &new).await, None);
    assert_eq!(house.record(&order("k")).await, None);
}

pub async fn in_a_batch_each_claim_has_its_own_insert_until(house: House) {
    let batch: Vec<_> = orders("k", 6)
        .iter()
        .zip([
            at(0),
            at(0) - TICK,
            Timestamp::MAX,
            Timestamp::MIN,
            at(0) + TICK,
            at(-9),
        ])
        .map(|(id, insert_until)| NewRecord {
            insert_until,
            ..new_record(id, 1)
        })
        .collect();
    let inserted = insert_all(&house.store, &batch).await;
    let made: Vec<_> = inserted.iter().map(Option::is_some).collect();
    assert_eq!(made, [true, false, true, false, true, false]);
}

pub async fn a_claim_that_must_miss_never_is_inserted(house: House) {
    // A clock at the beginning of time is still later than never.
    house.clock.set(Timestamp::from_micros(0));
    let new = NewRecord {
        insert_until: Timestamp::MIN,
        ..new_record(&order("k"), 1)
    };
    assert_eq!(insert(&house.store, &new).await, None);
}

pub async fn the_longest_spans_end_at_the_end_of_time(house: House) {
    let id = order("k");
    let new = NewRecord {
        lease: Span::from_micros(i64::MAX),
        sweep_after: Span::from_micros(i64::MAX),
        ..new_record(&id, 1)
    };
    insert(&house.store, &new).await.unwrap();
    let lease_until = Timestamp::MAX;
    assert_eq!(
        house.standing(&id).await.state,
        State::InProgress { lease_until }
    );
}

pub async fn inserting_what_stands_writes_nothing(house: House) {
    let ids = orders("k", 20);
    let batch: Vec<_> = ids.iter().map(|id| new_record(id, 1)).collect();
    insert_all(&house.store, &batch).await;
    let again = house
        .writing_nothing(insert_all(&house.store, &batch))
        .await;
    assert_eq!(again, vec![None; 20]);
}

pub async fn of_two_inserts_at_once_one_is_made(house: House) {
    let other = house.another_server().await;
    for id in orders("k", 20) {
        let (a, b) = (new_record(&id, 1), new_record(&id, 2));
        let (a, b) = tokio::join!(insert(&house.store, &a), insert(&other.store, &b));
        assert_eq!(a.is_some(), b.is_none(), "{a:?} {b:?}");
        let holder = if a.is_some() { 1 } else { 2 };
        assert_eq!(house.standing(&id).await.attempt_id, attempt(holder));
    }
}

pub async fn overlapping_batches_of_two_servers_insert_each_key_once(house: House) {
    let other = house.another_server().await;
    for round in 0..10 {
        let ids = orders(&format!("{round}/"), 100);
        let here: Vec<_> = ids[..70].iter().map(|id| new_record(id, 1)).collect();
        let there: Vec<_> = ids[30..].iter().rev().map(|id| new_record(id, 2)).collect();
        let (here, mut there) = tokio::join!(
            insert_all(&house.store, &here),
            insert_all(&other.store, &there)
        );
        there.reverse();
        for (here, there) in here[30..].iter().zip(&there) {
            assert_eq!(here.is_some(), there.is_none(), "{here:?} {there:?}");
        }
        let loaded = load(&house.store, &ids).await;
        assert!(loaded.records.iter().all(Option::is_some));
    }
}
