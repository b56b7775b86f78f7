//! The store's compare-and-swap: what was looked at still stands, or nothing happens.

use super::*;

semel_tests::cases!(store_swap:
    with_fence_and_revision_as_expected_the_record_is_replaced,
    another_fence_keeps_what_stands,
    another_revision_keeps_what_stands,
    an_absent_key_is_not_made_by_a_swap,
    a_swap_touches_no_other_key,
    a_batch_swaps_what_is_as_expected_and_answers_in_order,
    the_largest_batch_is_swapped_whole,
    payloads_are_kept_changed_and_dropped_as_the_record_says,
    a_swap_that_is_too_late_writes_nothing,
    a_record_can_be_replaced_again_by_what_was_put_there,
    a_key_that_stands_twice_in_a_batch_of_swaps_is_rejected,
    of_two_swaps_at_once_one_is_made,
    a_swap_and_a_completion_at_once_do_not_both_happen,
    a_record_that_no_column_can_hold_is_rejected_alone,
);

/// Plants a record, and swaps in another with these expectations.
async fn after_swapping(
    house: &House,
    expected: impl Fn(&Record) -> (Fence, i32),
) -> (bool, Record) {
    let id = order("k");
    let old = record(in_progress());
    plant(&house.store, &id, &old).await;
    let new = replacement(&old);
    let swapped = swap(&house.store, &id, expected(&old), &new).await;
    let standing = house.standing(&id).await;
    assert_eq!(standing, if swapped { new } else { old });
    (swapped, standing)
}

/// A record of which every field is another.
fn replacement(old: &Record) -> Record {
    Record {
        attempt_id: attempt(99),
        fence: Fence::from_i64(old.fence.as_i64() + 1_000),
        revision: 1,
        attempt: old.attempt + 1,
        policy_id: policy(hold()).id(),
        fingerprint: print("another"),
        owner: "pod-2".into(),
        traceparent: "00-cc-dd-00".into(),
        created_at: old.created_at + TICK,
        claimed_at: old.claimed_at + secs(100),
        state: resting(),
        last_error: "another".into(),
        checkpoint: Some("page 8".into()),
        delivery: Some("PUT /".into()),
    }
}

pub async fn with_fence_and_revision_as_expected_the_record_is_replaced(house: House) {
    let (swapped, _) = after_swapping(&house, |old| (old.fence, old.revision)).await;
    assert!(swapped);
}

pub async fn another_fence_keeps_what_stands(house: House) {
    let fence = |old: &Record| Fence::from_i64(old.fence.as_i64() - 1);
    let (swapped, _) = after_swapping(&house, |old| (fence(old), old.revision)).await;
    assert!(!swapped);
}

pub async fn another_revision_keeps_what_stands(house: House) {
    let (swapped, _) = after_swapping(&house, |old| (old.fence, old.revision - 1)).await;
    assert!(!swapped);
}

pub async fn an_absent_key_is_not_made_by_a_swap(house: House) {
    let new = record(in_progress());
    assert!(!swap(&house.store, &order("k"), (new.fence, new.revision), &new).await);
    assert_eq!(house.record(&order("k")).await, None);
}

pub async fn a_swap_touches_no_other_key(house: House) {
    let ids = neighbours();
    let old = record(in_progress());
    for id in &ids {
        plant(&house.store, id, &old).await;
    }
    assert!(
        swap(
            &house.store,
            &ids[0],
            (old.fence, old.revision),
            &replacement(&old)
        )
        .await
    );
    let untouched = Some(old);
    assert_eq!(
        load(&house.store, &ids[1..]).await.records,
        [untouched.clone(), untouched]
    );
}

/// Swaps `new` in for each key, where `fence` says which to expect.
async fn swap_all(
    house: &House,
    ids: &[KeyId],
    fence: impl Fn(usize) -> Fence,
    revision: i32,
    new: &[Record],
) -> Vec<bool> {
    let batch: Vec<_> = ids
        .iter()
        .zip(new)
        .enumerate()
        .map(|(n, (id, record))| Swap {
            id,
            expected_fence: fence(n),
            expected_revision: revision,
            record,
        })
        .collect();
    house
        .store
        .compare_and_swap(0, &batch)
        .await
        .expect("swaps")
}

/// Claims every key, and makes each a record of its own to swap in.
async fn claim_all(house: &House, ids: &[KeyId]) -> Vec<Record> {
    let batch: Vec<_> = (1..).zip(ids).map(|(n, id)| new_record(id, n)).collect();
    insert_all(&house.store, &batch).await;
    (0..ids.len())
        .map(|n| Record {
            owner: format!("swapped {n}"),
            checkpoint: (n % 3 == 0).then(|| noise(n)),
            ..record([in_progress(), completed(noise(n)), dead(), uncertain()][n % 4].clone())
        })
        .collect()
}

pub async fn a_batch_swaps_what_is_as_expected_and_answers_in_order(house: House) {
    let ids: Vec<_> = orders("k", 40).into_iter().rev().collect();
    let new = claim_all(&house, &ids).await;
    let before = load(&house.store, &ids).await.records;
    let stands = at(0).as_micros();
    let fence = |n: usize| Fence::from_i64(stands + i64::from(n.is_multiple_of(3)));
    let swapped = swap_all(&house, &ids, fence, 1, &new).await;
    assert_eq!(swapped, (0..40).map(|n| n % 3 != 0).collect::<Vec<_>>());
    for (n, loaded) in load(&house.store, &ids)
        .await
        .records
        .into_iter()
        .enumerate()
    {
        let expected = if n % 3 == 0 {
            before[n].clone()
        } else {
            Some(new[n].clone())
        };
        assert_eq!(loaded, expected, "item {n}");
    }
}

pub async fn the_largest_batch_is_swapped_whole(house: House) {
    let ids = orders("k", LARGEST_BATCH);
    let new = claim_all(&house, &ids).await;
    let fence = Fence::from_i64(at(0).as_micros());
    let swapped = swap_all(&house, &ids, |_| fence, 1, &new).await;
    assert_eq!(swapped, vec![true; LARGEST_BATCH]);
    let loaded = load(&house.store, &ids).await.records;
    assert!(
        loaded.into_iter().eq(new.into_iter().map(Some)),
        "a record differs"
    );
}

pub async fn payloads_are_kept_changed_and_dropped_as_the_record_says(house: House) {
    let (id, long) = (order("k"), noise(200_000));
    let payloads = [None, Some(Bytes::new()), Some("short".into()), Some(long)];
    let mut standing = record(in_progress());
    plant(&house.store, &id, &standing).await;
    for checkpoint in &payloads {
        for delivery in &payloads {
            let expected = (standing.fence, standing.revision);
            standing = Record {
                revision: standing.revision + 1,
                checkpoint: checkpoint.clone(),
                delivery: delivery.clone(),
                ..standing
            };
            assert!(swap(&house.store, &id, expected, &standing).await);
            assert!(house.standing(&id).await == standing, "a payload differs");
        }
    }
}

pub async fn a_swap_that_is_too_late_writes_nothing(house: House) {
    let ids = orders("k", 10);
    let new = claim_all(&house, &ids).await;
    let fence = Fence::from_i64(at(0).as_micros());
    let late = swap_all(&house, &ids, |_| fence, 2, &new);
    assert_eq!(house.writing_nothing(late).await, vec![false; 10]);
}

pub async fn a_record_can_be_replaced_again_by_what_was_put_there(house: House) {
    let (_, standing) = after_swapping(&house, |old| (old.fence, old.revision)).await;
    let next = Record {
        revision: standing.revision + 1,
        ..standing.clone()
    };
    let expected = (standing.fence, standing.revision);
    assert!(swap(&house.store, &order("k"), expected, &next).await);
    assert!(
        !swap(&house.store, &order("k"), expected, &next).await,
        "it counts on"
    );
}

pub async fn a_key_that_stands_twice_in_a_batch_of_swaps_is_rejected(house: House) {
    let old = record(in_progress());
    plant(&house.store, &order("k"), &old).await;
    let swap = Swap {
        id: &order("k"),
        expected_fence: old.fence,
        expected_revision: old.revision,
        record: &replacement(&old),
    };
    let refused = house.store.compare_and_swap(0, &[swap, swap]).await;
    assert!(
        matches!(refused, Err(StoreError::Rejected(_))),
        "{refused:?}"
    );
    assert_eq!(house.standing(&order("k")).await, old);
}

pub async fn of_two_swaps_at_once_one_is_made(house: House) {
    let other = house.another_server().await;
    for id in orders("k", 20) {
        let old = record(in_progress());
        plant(&house.store, &id, &old).await;
        let expected = (old.fence, old.revision);
        let new = |owner: &str| Record {
            owner: owner.into(),
            revision: old.revision + 1,
            ..old.clone()
        };
        let (here, there) = (new("here"), new("there"));
        let (a, b) = tokio::join!(
            swap(&house.store, &id, expected, &here),
            swap(&other.store, &id, expected, &there)
        );
        assert_ne!(a, b, "both or none");
        assert_eq!(house.standing(&id).await, if a { here } else { there });
    }
}

pub async fn a_swap_and_a_completion_at_once_do_not_both_happen(house: House) {
    let other = house.another_server().await;
    for id in orders("k", 20) {
        let old = record(in_progress());
        plant(&house.store, &id, &old).await;
        let takeover = replacement(&old);
        let token = old.token();
        let (taken, completed) = tokio::join!(
            swap(&house.store, &id, (old.fence, old.revision), &takeover),
            complete_held(&other.store, &id, &token, "r")
        );
        assert_ne!(taken, completed.is_some(), "both or none");
        assert_eq!(house.standing(&id).await == takeover, taken);
    }
}

pub async fn a_record_that_no_column_can_hold_is_rejected_alone(house: House) {
    // NUL in a text: the wire lets none through; a store that meets one all the same must say so
    // and go on. Either it refuses the whole batch, or it keeps the text.
    let id = order("k");
    let old = record(in_progress());
    plant(&house.store, &id, &old).await;
    let new = Record {
        last_error: "a\0b".into(),
        ..replacement(&old)
    };
    let swap = Swap {
        id: &id,
        expected_fence: old.fence,
        expected_revision: old.revision,
        record: &new,
    };
    match house.store.compare_and_swap(0, &[swap]).await {
        Ok(swapped) => assert_eq!((swapped, house.standing(&id).await), (vec![true], new)),
        Err(StoreError::Rejected(_)) => assert_eq!(house.standing(&id).await, old),
        Err(error) => panic!("not a refusal: {error}"),
    }
}
