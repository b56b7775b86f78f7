//! The purge: what is past its retention goes, and nothing else ever.

use super::*;

semel_tests::cases!(store_purge:
    what_is_past_its_retention_goes_in_every_settled_state,
    what_is_within_its_retention_stays_to_the_last_microsecond,
    a_key_in_progress_is_never_purged,
    an_uncertain_key_is_never_purged,
    a_key_that_was_claimed_again_stays,
    its_neighbours_in_the_bucket_stay_when_a_key_goes,
    what_came_too_early_is_looked_at_again_at_its_end,
    a_lapsed_claim_is_looked_at_again_and_purged_after_it_was_settled_late,
    a_retryable_key_whose_rest_outlasts_the_retention_stays_until_its_end,
    every_bucket_is_swept_and_then_rests,
    after_its_rest_a_bucket_is_swept_again,
    the_limit_bounds_one_pass_and_the_rest_follows_at_once,
    several_sweepers_share_the_buckets,
    sweepers_and_claims_at_once_lose_nothing,
    a_clock_that_went_back_far_does_not_stop_the_purge,
    after_a_purge_the_fence_is_higher_also_when_the_clock_was_set_back,
    after_a_purge_the_fence_is_higher_also_after_a_restart,
    two_lives_of_a_key_share_nothing_but_the_order_of_fences,
    a_purge_with_nothing_due_touches_no_record,
);

/// Longer than any sweep_after of the tests' records.
const LATER: i64 = 5_000;

async fn claim(house: &House, id: &KeyId) -> Token {
    insert(&house.store, &new_record(id, 1))
        .await
        .expect("nothing stands there");
    house.standing(id).await.token()
}

/// Claims a key and puts it into `state`, as the rules would.
async fn settle(house: &House, id: &KeyId, state: State) {
    claim(house, id).await;
    let standing = house.standing(id).await;
    let expected = (standing.fence, standing.revision);
    let settled = Record {
        state,
        revision: 2,
        ..standing
    };
    assert!(swap(&house.store, id, expected, &settled).await);
}

pub async fn what_is_past_its_retention_goes_in_every_settled_state(house: House) {
    let ids = [order("a"), order("b"), order("c"), order("d"), bulk("a")];
    let states = [
        completed("r"),
        failed("f"),
        resting(),
        dead(),
        completed(""),
    ];
    for (id, state) in ids.iter().zip(states) {
        settle(&house, id, state).await;
    }
    house.clock.set(at(LATER));
    assert_eq!(house.purge().await, 5);
    assert_eq!(
        load(&house.store, &ids).await.records,
        [None, None, None, None, None]
    );
}

pub async fn what_is_within_its_retention_stays_to_the_last_microsecond(house: House) {
    let id = order("k");
    let state = State::Completed {
        result: "r".into(),
        settled: Settled {
            at: at(6),
            expires_at: at(LATER),
        },
    };
    settle(&house, &id, state).await;
    house.clock.set(at(LATER) - TICK);
    assert_eq!(house.purge().await, 0);
    assert!(house.record(&id).await.is_some());
    house.clock.set(at(LATER) + SWEEP_EVERY);
    assert_eq!(house.purge().await, 1);
}

pub async fn a_key_in_progress_is_never_purged(house: House) {
    let id = order("k");
    claim(&house, &id).await;
    let before = house.standing(&id).await;
    for day in [1, 2, 30, 400] {
        house.clock.set(at(86_400 * day));
        assert_eq!(house.purge().await, 0, "day {day}");
    }
    assert_eq!(house.standing(&id).await, before);
}

pub async fn an_uncertain_key_is_never_purged(house: House) {
    let id = order("k");
    settle(&house, &id, uncertain()).await;
    let before = house.standing(&id).await;
    for day in [1, 2, 30, 400] {
        house.clock.set(at(86_400 * day));
        assert_eq!(house.purge().await, 0, "day {day}");
    }
    assert_eq!(house.standing(&id).await, before);
}

pub async fn a_key_that_was_claimed_again_stays(house: House) {
    let id = order("k");
    settle(&house, &id, completed("r")).await;
    house.clock.set(at(LATER));
    // Past its retention and not purged yet: a new life in the same row.
    let grant = house.claimed(&id, 2).await;
    assert_eq!(house.purge().await, 0);
    assert_eq!(house.standing(&id).await.token(), grant.token);
    // Its new outcome is kept as long as any other.
    let stored = house.word(&id, complete(grant.token, "again")).await;
    assert_eq!(stored, "stored");
    house.clock.set(at(LATER) + RETENTION - TICK);
    assert_eq!(house.purge().await, 0);
    assert_eq!(house.lookup_word(&id).await, "completed");
}

pub async fn its_neighbours_in_the_bucket_stay_when_a_key_goes(house: House) {
    let kept = State::Dead {
        settled: Settled {
            at: at(6),
            expires_at: at(10 * LATER),
        },
    };
    let ids = neighbours();
    // Claimed at one time, so that they share their fence too.
    for (id, state) in ids.iter().zip([dead(), kept.clone(), kept]) {
        settle(&house, id, state).await;
    }
    house.clock.set(at(LATER));
    assert_eq!(house.purge().await, 1);
    let there: Vec<_> = load(&house.store, &ids).await.records;
    let there: Vec<_> = there.iter().map(Option::is_some).collect();
    assert_eq!(there, [false, true, true]);
}

pub async fn what_came_too_early_is_looked_at_again_at_its_end(house: House) {
    let id = order("k");
    let token = claim(&house, &id).await;
    // Completed late, so that its end lies after the time when the purge looks first.
    house.clock.set(at(900));
    complete_held(&house.store, &id, &token, "r").await.unwrap();
    house.clock.set(at(1_100));
    assert_eq!(house.purge().await, 0);
    house.clock.set(at(1_900) - TICK);
    assert_eq!(house.purge().await, 0);
    house.clock.set(at(1_900) + SWEEP_EVERY);
    assert_eq!(house.purge().await, 1);
}

pub async fn a_lapsed_claim_is_looked_at_again_and_purged_after_it_was_settled_late(house: House) {
    let id = order("k");
    let token = claim(&house, &id).await;
    house.clock.set(at(LATER));
    assert_eq!(house.purge().await, 0);
    complete_held(&house.store, &id, &token, "late")
        .await
        .unwrap();
    // Long after its end, so that however long it was postponed, it is due.
    house.clock.set(at(10 * LATER));
    assert_eq!(house.purge().await, 1);
}

pub async fn a_retryable_key_whose_rest_outlasts_the_retention_stays_until_its_end(house: House) {
    let id = order("k");
    let grant = house.claimed(&id, 1).await;
    let rest = Span::from_secs(LATER);
    assert_eq!(
        house.word(&id, retry_after(grant.token, rest)).await,
        "backing off"
    );
    house.clock.set(at(LATER) - TICK);
    assert_eq!(house.purge().await, 0);
    assert_eq!(house.lookup_word(&id).await, "backing off");
    house.clock.set(at(LATER) + RETENTION + SWEEP_EVERY);
    assert_eq!(house.purge().await, 1);
}

pub async fn every_bucket_is_swept_and_then_rests(house: House) {
    let mut swept = 0;
    while house.store.purge(100).await.unwrap().swept {
        swept += 1;
        assert!(swept <= 64, "more passes than buckets");
    }
    assert_eq!(swept, 64);
    house.clock.set(at(0) + SWEEP_EVERY - TICK);
    assert!(!house.store.purge(100).await.unwrap().swept);
}

pub async fn after_its_rest_a_bucket_is_swept_again(house: House) {
    house.purge().await;
    house.clock.advance(SWEEP_EVERY);
    let mut swept = 0;
    while house.store.purge(100).await.unwrap().swept {
        swept += 1;
    }
    assert_eq!(swept, 64);
}

/// So many keys of one bucket.
fn in_one_bucket(count: usize) -> Vec<KeyId> {
    let ids = (0..).map(|n: u32| order(&format!("k{n}")));
    ids.filter(|id| id.bucket() == 17).take(count).collect()
}

pub async fn the_limit_bounds_one_pass_and_the_rest_follows_at_once(house: House) {
    let ids = in_one_bucket(25);
    for id in &ids {
        settle(&house, id, completed("r")).await;
    }
    house.clock.set(at(LATER));
    let mut passes = Vec::new();
    loop {
        let purged = house.store.purge(10).await.unwrap();
        if !purged.swept {
            break;
        }
        assert!(passes.len() < 200, "no end");
        passes.push((purged.deleted, purged.more));
    }
    passes.retain(|pass| *pass != (0, false));
    assert_eq!(passes, [(10, true), (10, true), (5, false)]);
}

pub async fn several_sweepers_share_the_buckets(house: House) {
    let ids = orders("k", 200);
    for id in &ids {
        settle(&house, id, completed("r")).await;
    }
    house.clock.set(at(LATER));
    let mut sweepers = Vec::new();
    for _ in 0..3 {
        let store = house.another_server().await.store;
        sweepers.push(tokio::spawn(async move {
            let (mut swept, mut deleted) = (0, 0);
            loop {
                let purged = store.purge(1_000).await.expect("the purge works");
                deleted += purged.deleted;
                if !purged.swept {
                    return (swept, deleted);
                }
                swept += 1;
            }
        }));
    }
    let (mut swept, mut deleted) = (0, 0);
    for sweeper in sweepers {
        let (its_swept, its_deleted) = within(sweeper).await.unwrap();
        swept += its_swept;
        deleted += its_deleted;
    }
    assert_eq!((swept, deleted), (64, 200));
}

pub async fn sweepers_and_claims_at_once_lose_nothing(house: House) {
    let ids = orders("k", 150);
    for id in &ids {
        settle(&house, id, completed("r")).await;
    }
    house.clock.set(at(LATER));
    let before = Fence::from_i64(at(0).as_micros());
    let (_, grants) = tokio::join!(house.purge(), async {
        let mut grants = Vec::new();
        for id in &ids {
            grants.push(house.claimed(id, 2).await);
        }
        grants
    });
    for (id, grant) in ids.iter().zip(grants) {
        assert_eq!((grant.attempt, grant.token.fence > before), (1, true));
        assert_eq!(
            house.standing(id).await.token(),
            grant.token,
            "granted and purged"
        );
    }
}

pub async fn a_clock_that_went_back_far_does_not_stop_the_purge(house: House) {
    house.clock.set(at(100_000));
    house.purge().await;
    // Every bucket's time is now far in the future.
    house.clock.set(at(0));
    let id = order("k");
    settle(&house, &id, completed("r")).await;
    house.clock.set(at(LATER));
    assert_eq!(house.purge().await, 1);
}

pub async fn after_a_purge_the_fence_is_higher_also_when_the_clock_was_set_back(house: House) {
    let id = order("k");
    house.clock.set(at(10));
    settle(&house, &id, completed("r")).await;
    let before = house.standing(&id).await.fence;
    house.clock.set(at(LATER));
    assert_eq!(house.purge().await, 1);
    // Before the first claim, when its fence was not made yet.
    house.clock.set(at(-500));
    let inserted = insert(&house.store, &new_record(&id, 2)).await.unwrap();
    assert!(
        inserted.fence > before,
        "{:?} after {before:?}",
        inserted.fence
    );
    // Its times are the clock's all the same.
    assert_eq!(inserted.now, at(-500));
    assert_eq!(house.standing(&id).await.claimed_at, at(-500));
}

pub async fn after_a_purge_the_fence_is_higher_also_after_a_restart(mut house: House) {
    let id = order("k");
    settle(&house, &id, completed("r")).await;
    let before = house.standing(&id).await.fence;
    house.clock.set(at(LATER));
    house.purge().await;
    house.clock.set(at(-500));
    house.restart().await;
    assert!(house.claimed(&id, 2).await.token.fence > before);
}

pub async fn two_lives_of_a_key_share_nothing_but_the_order_of_fences(house: House) {
    let id = order("k");
    let grant = house.claimed(&id, 1).await;
    house.word(&id, checkpoint(grant.token, "page 7")).await;
    house.word(&id, retryable(grant.token)).await;
    house.clock.set(at(LATER));
    assert_eq!(house.purge().await, 1);
    let again = house.claimed(&id, 1).await;
    assert!(again.token.fence > grant.token.fence);
    assert_eq!(
        (again.attempt, again.checkpoint, again.last_error),
        (1, None, String::new())
    );
    assert_eq!(house.standing(&id).await.created_at, at(LATER));
}

pub async fn a_purge_with_nothing_due_touches_no_record(house: House) {
    let ids = orders("k", 20);
    for id in &ids {
        settle(&house, id, completed("r")).await;
    }
    let before = load(&house.store, &ids).await.records;
    for _ in 0..64 {
        let purged = house.store.purge(100).await.unwrap();
        assert_eq!(
            (purged.deleted, purged.postponed, purged.swept),
            (0, 0, true)
        );
    }
    assert_eq!(load(&house.store, &ids).await.records, before);
}
