//! The store's blind completion: by the holder, and only while nothing else was settled.

use super::*;

semel_tests::cases!(store_complete:
    the_holder_in_progress_is_completed,
    a_completion_sets_state_result_end_and_revision_drops_the_delivery_and_keeps_the_rest,
    the_holder_of_an_uncertain_key_is_completed,
    a_lapsed_lease_does_not_hold_it_back,
    what_came_after_the_lease_had_lapsed_is_told,
    another_fence_is_held_back,
    another_attempt_id_is_held_back,
    another_policy_is_held_back,
    a_completed_key_is_not_completed_again,
    a_key_that_failed_for_good_is_not_completed,
    a_retryable_key_is_not_completed,
    a_dead_key_is_not_completed,
    a_key_past_its_retention_is_not_completed,
    an_absent_key_is_not_upserted,
    the_same_token_completes_no_other_key,
    a_batch_completes_those_that_are_held_and_answers_in_order,
    the_largest_batch_is_completed_whole,
    each_completion_of_a_batch_has_its_own_result_and_retention,
    the_longest_retention_ends_at_the_end_of_time,
    an_empty_result_is_stored_as_one,
    a_completion_that_is_held_back_writes_nothing,
    a_key_that_stands_twice_in_a_batch_of_completions_is_rejected,
    of_two_completions_at_once_one_is_stored,
);

/// Plants a record, tries to complete it with `token`, and gives back what stands then.
async fn after_completing(
    house: &House,
    state: State,
    token: impl Fn(Token) -> Token,
) -> Option<Record> {
    let planted = record(state);
    plant(&house.store, &order("k"), &planted).await;
    let completed = complete_held(&house.store, &order("k"), &token(planted.token()), "new").await;
    let standing = house.standing(&order("k")).await;
    if completed.is_none() {
        assert_eq!(standing, planted, "held back and changed all the same");
    }
    completed.map(|_| standing)
}

pub async fn the_holder_in_progress_is_completed(house: House) {
    house.clock.set(at(8));
    let standing = after_completing(&house, in_progress(), |token| token)
        .await
        .unwrap();
    let settled = Settled {
        at: at(8),
        expires_at: at(8) + RETENTION,
    };
    let result = "new".into();
    assert_eq!(standing.state, State::Completed { result, settled });
}

pub async fn a_completion_sets_state_result_end_and_revision_drops_the_delivery_and_keeps_the_rest(
    house: House,
) {
    house.clock.set(at(8));
    let before = record(in_progress());
    let standing = after_completing(&house, in_progress(), |token| token)
        .await
        .unwrap();
    let expected = Record {
        state: standing.state.clone(),
        revision: before.revision + 1,
        delivery: None,
        ..before
    };
    assert_eq!(standing, expected);
}

pub async fn the_holder_of_an_uncertain_key_is_completed(house: House) {
    let standing = after_completing(&house, uncertain(), |token| token)
        .await
        .unwrap();
    assert!(matches!(standing.state, State::Completed { .. }));
}

pub async fn a_lapsed_lease_does_not_hold_it_back(house: House) {
    house.clock.set(at(500));
    assert!(
        after_completing(&house, in_progress(), |token| token)
            .await
            .is_some()
    );
}

pub async fn what_came_after_the_lease_had_lapsed_is_told(house: House) {
    for (key, state, now, is_late) in [
        ("in time", in_progress(), at(9), false),
        ("at its end", in_progress(), at(10), true),
        ("long after", in_progress(), at(500), true),
        // Without a lease there is nothing to be late for.
        ("uncertain", uncertain(), at(500), false),
    ] {
        let planted = record(state);
        plant(&house.store, &order(key), &planted).await;
        house.clock.set(now);
        let completion = Completion {
            id: &order(key),
            token: &planted.token(),
            result: &Bytes::new(),
            retention: RETENTION,
        };
        let completed = house.store.complete_if_held(0, &[completion]).await;
        let expected = Completed {
            at: now,
            is_late,
            was_uncertain: key == "uncertain",
            attempt: 2,
        };
        assert_eq!(completed.expect("completes"), [Some(expected)], "{key}");
        assert!(matches!(
            house.standing(&order(key)).await.state,
            State::Completed { .. }
        ));
    }
}

pub async fn another_fence_is_held_back(house: House) {
    for step in [-1, 1] {
        let fence = |token: Token| Fence::from_i64(token.fence.as_i64() + step);
        let other = |token| Token {
            fence: fence(token),
            ..token
        };
        let id = order("k");
        let planted = record(in_progress());
        if house.record(&id).await.is_none() {
            plant(&house.store, &id, &planted).await;
        }
        let token = other(planted.token());
        assert_eq!(
            complete_held(&house.store, &id, &token, "new").await,
            None,
            "fence {step:+}"
        );
        assert_eq!(house.standing(&id).await, planted);
    }
}

pub async fn another_attempt_id_is_held_back(house: House) {
    let other = |token| Token {
        attempt_id: attempt(8),
        ..token
    };
    assert_eq!(after_completing(&house, in_progress(), other).await, None);
}

pub async fn another_policy_is_held_back(house: House) {
    let policy_id = policy(hold()).id();
    let other = |token| Token { policy_id, ..token };
    assert_eq!(after_completing(&house, in_progress(), other).await, None);
}

pub async fn a_completed_key_is_not_completed_again(house: House) {
    assert_eq!(
        after_completing(&house, completed("first"), |token| token).await,
        None
    );
}

pub async fn a_key_that_failed_for_good_is_not_completed(house: House) {
    assert_eq!(
        after_completing(&house, failed("first"), |token| token).await,
        None
    );
}

pub async fn a_retryable_key_is_not_completed(house: House) {
    assert_eq!(
        after_completing(&house, resting(), |token| token).await,
        None
    );
}

pub async fn a_dead_key_is_not_completed(house: House) {
    assert_eq!(after_completing(&house, dead(), |token| token).await, None);
}

pub async fn a_key_past_its_retention_is_not_completed(house: House) {
    house.clock.set(at(1_000_000));
    assert_eq!(
        after_completing(&house, resting(), |token| token).await,
        None
    );
}

pub async fn an_absent_key_is_not_upserted(house: House) {
    let token = record(in_progress()).token();
    assert_eq!(
        complete_held(&house.store, &order("k"), &token, "r").await,
        None
    );
    assert_eq!(house.record(&order("k")).await, None);
}

pub async fn the_same_token_completes_no_other_key(house: House) {
    // A client may use an attempt id again, and two claims may have one fence: only the key
    // tells these three apart.
    let ids = neighbours();
    let planted = record(in_progress());
    for id in &ids {
        plant(&house.store, id, &planted).await;
    }
    complete_held(&house.store, &ids[0], &planted.token(), "r")
        .await
        .unwrap();
    let untouched = Some(planted);
    assert_eq!(
        load(&house.store, &ids[1..]).await.records,
        [untouched.clone(), untouched]
    );
}

/// What a batch of completions answers; `held` says with which token.
async fn complete_all(
    house: &House,
    ids: &[KeyId],
    token: impl Fn(usize) -> Token,
    result: impl Fn(usize) -> Bytes,
) -> Vec<Option<Timestamp>> {
    let parts: Vec<_> = (0..ids.len()).map(|n| (token(n), result(n))).collect();
    let batch: Vec<_> = ids
        .iter()
        .zip(&parts)
        .enumerate()
        .map(|(n, (id, (token, result)))| Completion {
            id,
            token,
            result,
            retention: RETENTION.plus(secs(n as i64)),
        })
        .collect();
    house
        .store
        .complete_if_held(0, &batch)
        .await
        .expect("completes")
        .into_iter()
        .map(|completed| completed.map(|completed| completed.at))
        .collect()
}

async fn claim_all(house: &House, ids: &[KeyId]) -> Vec<Token> {
    let batch: Vec<_> = (1..).zip(ids).map(|(n, id)| new_record(id, n)).collect();
    insert_all(&house.store, &batch).await;
    let loaded = load(&house.store, ids).await.records;
    loaded
        .into_iter()
        .map(|record| record.expect("just claimed").token())
        .collect()
}

pub async fn a_batch_completes_those_that_are_held_and_answers_in_order(house: House) {
    let ids: Vec<_> = orders("k", 40).into_iter().rev().collect();
    let tokens = claim_all(&house, &ids).await;
    house.clock.set(at(3));
    let token = |n: usize| Token {
        fence: Fence::from_i64(tokens[n].fence.as_i64() + i64::from(n.is_multiple_of(4))),
        ..tokens[n]
    };
    let answers = complete_all(&house, &ids, token, |n| n.to_string().into()).await;
    let expected: Vec<_> = (0..40).map(|n| (n % 4 != 0).then_some(at(3))).collect();
    assert_eq!(answers, expected);
    for (n, loaded) in load(&house.store, &ids)
        .await
        .records
        .into_iter()
        .enumerate()
    {
        let completed = matches!(loaded.unwrap().state, State::Completed { result, .. } if result == n.to_string());
        assert_eq!(completed, n % 4 != 0, "item {n}");
    }
}

pub async fn the_largest_batch_is_completed_whole(house: House) {
    let ids = orders("k", LARGEST_BATCH);
    let tokens = claim_all(&house, &ids).await;
    let answers = complete_all(&house, &ids, |n| tokens[n], |_| "r".into()).await;
    assert_eq!(answers, vec![Some(at(0)); LARGEST_BATCH]);
}

pub async fn each_completion_of_a_batch_has_its_own_result_and_retention(house: House) {
    let ids = orders("k", 50);
    let tokens = claim_all(&house, &ids).await;
    complete_all(&house, &ids, |n| tokens[n], |n| noise(n * 100)).await;
    for (n, loaded) in load(&house.store, &ids)
        .await
        .records
        .into_iter()
        .enumerate()
    {
        let settled = Settled {
            at: at(0),
            expires_at: at(0) + RETENTION.plus(secs(n as i64)),
        };
        let result = noise(n * 100);
        assert_eq!(
            loaded.unwrap().state,
            State::Completed { result, settled },
            "item {n}"
        );
    }
}

pub async fn the_longest_retention_ends_at_the_end_of_time(house: House) {
    let planted = record(in_progress());
    plant(&house.store, &order("k"), &planted).await;
    let completion = Completion {
        id: &order("k"),
        token: &planted.token(),
        result: &Bytes::new(),
        retention: Span::from_micros(i64::MAX),
    };
    house
        .store
        .complete_if_held(0, &[completion])
        .await
        .unwrap();
    let settled = house.standing(&order("k")).await.settled().unwrap();
    assert_eq!((settled.at, settled.expires_at), (at(0), Timestamp::MAX));
}

pub async fn an_empty_result_is_stored_as_one(house: House) {
    let planted = record(in_progress());
    plant(&house.store, &order("k"), &planted).await;
    complete_held(&house.store, &order("k"), &planted.token(), "")
        .await
        .unwrap();
    let state = house.standing(&order("k")).await.state;
    assert!(
        matches!(&state, State::Completed { result, .. } if result.is_empty()),
        "{state:?}"
    );
}

pub async fn a_completion_that_is_held_back_writes_nothing(house: House) {
    let ids = orders("k", 5);
    let states = [
        completed("r"),
        failed("f"),
        dead(),
        resting(),
        in_progress(),
    ];
    for (id, state) in ids.iter().zip(states) {
        plant(&house.store, id, &record(state)).await;
    }
    let right = record(in_progress()).token();
    let stranger = Token {
        attempt_id: attempt(9),
        ..right
    };
    let token = |n: usize| if n < 4 { right } else { stranger };
    let completing = complete_all(&house, &ids, token, |_| "new".into());
    assert_eq!(house.writing_nothing(completing).await, [None; 5]);
}

pub async fn a_key_that_stands_twice_in_a_batch_of_completions_is_rejected(house: House) {
    let planted = record(in_progress());
    plant(&house.store, &order("k"), &planted).await;
    let completion = Completion {
        id: &order("k"),
        token: &planted.token(),
        result: &Bytes::new(),
        retention: RETENTION,
    };
    let refused = house
        .store
        .complete_if_held(0, &[completion, completion])
        .await;
    assert!(
        matches!(refused, Err(StoreError::Rejected(_))),
        "{refused:?}"
    );
    assert_eq!(house.standing(&order("k")).await, planted);
}

pub async fn of_two_completions_at_once_one_is_stored(house: House) {
    let other = house.another_server().await;
    for id in orders("k", 20) {
        let planted = record(in_progress());
        plant(&house.store, &id, &planted).await;
        let token = planted.token();
        let (a, b) = tokio::join!(
            complete_held(&house.store, &id, &token, "a"),
            complete_held(&other.store, &id, &token, "b")
        );
        assert_eq!(a.is_some(), b.is_none(), "{a:?} {b:?}");
        let stored = if a.is_some() { "a" } else { "b" };
        let State::Completed { result, .. } = house.standing(&id).await.state else {
            panic!("not completed")
        };
        assert_eq!(result, stored);
    }
}
