//! What happens to a command: batching, full queues, callers that leave, stores that fail, and the
//! end.

use std::time::Duration;

use tokio::time::timeout;

use super::{faulty::Fault, *};

const SOON: Duration = Duration::from_secs(10);

fn small() -> LaneSettings {
    LaneSettings {
        queue: 4,
        ..LaneSettings::default()
    }
}

#[tokio::test]
async fn what_queued_during_a_commit_goes_into_the_next_one_together() {
    let mut house = house(LaneSettings::default()).await;
    house.store.shut();
    let mut calls = Vec::new();
    for n in 0..20 {
        calls.push(house.claims(&n.to_string(), n + 1));
        if n == 0 {
            // The first one is alone in its commit, and the others find it under way.
            assert_eq!(house.arrival().await, ("insert", 1));
        }
    }
    until(|| house.lanes.queues[0].callers.capacity() <= 4_096 - 19).await;
    house.store.reopen();
    assert_eq!(house.arrival().await, ("insert", 19));
    for call in calls {
        assert!(matches!(call.await.unwrap(), Ok(ClaimReply::Claimed(_))));
    }
}

#[tokio::test]
async fn a_thousand_duplicates_of_one_key_cost_one_load() {
    let mut house = house(LaneSettings {
        batch: 2_000,
        ..LaneSettings::default()
    })
    .await;
    let grant = house.claimed("hot", 1).await;
    house
        .lanes
        .call(id("hot"), complete(grant.token, "done"))
        .await
        .unwrap();
    house.store.shut();
    let blocker = house.claims("other", 2);
    for expected in ["insert", "complete", "insert"] {
        assert_eq!(house.arrival().await, (expected, 1));
    }
    let before = house.store.calls();
    let calls: Vec<_> = (0..1_000u32)
        .map(|n| {
            let (lanes, mut claim) = (house.lanes.clone(), house.claim(1));
            claim.attempt_id = AttemptId::new(&(u128::from(n) + 1).to_be_bytes()).unwrap();
            tokio::spawn(async move { lanes.claim(id("hot"), claim, None).await })
        })
        .collect();
    until(|| house.lanes.queues[0].callers.capacity() <= 4_096 - 1_000).await;
    house.store.reopen();
    for call in calls {
        let reply = call.await.unwrap().unwrap();
        let ClaimReply::Standing(Outcome::Completed { result, .. }) = reply else {
            panic!("not replayed: {reply:?}")
        };
        assert_eq!(result, "done");
    }
    blocker.await.unwrap().unwrap();
    // The blocker's own insert, then one load for all thousand.
    assert_eq!(house.store.calls() - before, 2);
}

#[tokio::test]
async fn a_full_queue_refuses_claims_and_still_takes_settlements() {
    let mut house = house(small()).await;
    let grant = house.claimed("held", 1).await;
    assert_eq!(house.arrival().await, ("insert", 1));
    house.store.shut();
    let mut waiting = Vec::new();
    // One under way at the gate, four in the queue.
    for n in 0..5 {
        waiting.push(house.claims(&format!("k{n}"), n + 2));
        if n == 0 {
            assert_eq!(house.arrival().await, ("insert", 1));
        }
    }
    until(|| house.lanes.queues[0].callers.capacity() == 0).await;
    assert_eq!(
        house.lanes.claim(id("late"), house.claim(9), None).await,
        Err(LaneError::QueueFull)
    );

    let settle = {
        let lanes = house.lanes.clone();
        tokio::spawn(async move { lanes.call(id("held"), complete(grant.token, "paid")).await })
    };
    until(|| house.lanes.queues[0].holders.capacity() < 4).await;
    house.store.reopen();
    assert!(matches!(
        settle.await.unwrap(),
        Ok(Reply::Complete { repeat: false, .. })
    ));
    for call in waiting {
        assert!(matches!(call.await.unwrap(), Ok(ClaimReply::Claimed(_))));
    }
}

#[tokio::test]
async fn a_settlement_waits_for_room_instead_of_being_refused() {
    let mut house = house(LaneSettings {
        queue: 1,
        ..LaneSettings::default()
    })
    .await;
    let mut grants = Vec::new();
    for n in 0..4 {
        grants.push((n, house.claimed(&format!("k{n}"), n + 1).await));
        house.arrival().await;
    }
    house.store.shut();
    let calls: Vec<_> = grants
        .into_iter()
        .map(|(n, grant)| {
            let lanes = house.lanes.clone();
            tokio::spawn(async move {
                lanes
                    .call(id(&format!("k{n}")), complete(grant.token, "ok"))
                    .await
            })
        })
        .collect();
    house.arrival().await;
    house.store.reopen();
    for call in calls {
        assert!(matches!(call.await.unwrap(), Ok(Reply::Complete { .. })));
    }
}

#[tokio::test]
async fn a_claim_whose_caller_left_before_its_turn_is_dropped() {
    let mut house = house(LaneSettings::default()).await;
    house.store.shut();
    let first = house.claims("first", 1);
    house.arrival().await;
    let gone = house.claims("gone", 2);
    until(|| house.lanes.queues[0].callers.capacity() < 4_096).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    house.store.reopen();
    first.await.unwrap().unwrap();
    assert_eq!(
        house.look("gone").await,
        Err(LaneError::Refused(
            crate::key::transition::Refusal::KeyNotFound
        ))
    );
}

#[tokio::test]
async fn a_settlement_whose_caller_left_is_carried_out() {
    let mut house = house(LaneSettings::default()).await;
    let grant = house.claimed("paid", 1).await;
    house.arrival().await;
    house.store.shut();
    let blocker = house.claims("blocker", 2);
    house.arrival().await;
    let gone = {
        let lanes = house.lanes.clone();
        tokio::spawn(async move { lanes.call(id("paid"), complete(grant.token, "once")).await })
    };
    until(|| house.lanes.queues[0].holders.capacity() < 4_096).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    house.store.reopen();
    blocker.await.unwrap().unwrap();
    assert!(matches!(
        house.look("paid").await,
        Ok(Outcome::Completed { .. })
    ));
}

#[tokio::test]
async fn a_store_that_is_away_is_unavailable_and_never_claimed() {
    let house = house(LaneSettings::default()).await;
    house.store.plan(Fault::LostBefore);
    let error = house
        .lanes
        .claim(id("k"), house.claim(1), None)
        .await
        .unwrap_err();
    assert!(matches!(error, LaneError::StoreUnavailable(_)), "{error:?}");
    // The same call again, as a client sends it.
    assert_eq!(house.claimed("k", 1).await.attempt, 1);
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_finds_its_own_claim() {
    let house = house(LaneSettings::default()).await;
    house.store.plan(Fault::LostAfter);
    let error = house
        .lanes
        .claim(id("k"), house.claim(1), None)
        .await
        .unwrap_err();
    assert!(matches!(error, LaneError::StoreUnavailable(_)), "{error:?}");
    let again = house.claimed("k", 1).await;
    assert_eq!((again.attempt, again.lease), (1, Span::from_secs(30)));
    // Somebody else does not get it.
    let other = house
        .lanes
        .claim(id("k"), house.claim(2), None)
        .await
        .unwrap();
    assert!(matches!(
        other,
        ClaimReply::Standing(Outcome::InProgress { .. })
    ));
}

#[tokio::test]
async fn a_complete_whose_answer_was_lost_is_a_repeat_when_sent_again() {
    let house = house(LaneSettings::default()).await;
    let grant = house.claimed("k", 1).await;
    house.store.plan(Fault::LostAfter);
    let lost = house.lanes.call(id("k"), complete(grant.token, "r")).await;
    assert!(matches!(lost, Err(LaneError::StoreUnavailable(_))));
    let again = house.lanes.call(id("k"), complete(grant.token, "r")).await;
    assert!(matches!(again, Ok(Reply::Complete { repeat: true, .. })));
}

#[tokio::test]
async fn a_poisonous_command_fails_alone() {
    let mut house = house(LaneSettings::default()).await;
    house.store.plan(Fault::Poisoned("poison"));
    house.store.shut();
    let calls: Vec<_> = ["a", "poison", "b"]
        .into_iter()
        .zip(1..)
        .map(|(key, n)| house.claims(key, n))
        .collect();
    house.arrival().await;
    house.store.reopen();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    let poisoned = matches!(answers[1], Err(LaneError::StoreRejected(_)));
    assert!(poisoned, "{answers:?}");
    assert!(
        matches!(answers[0], Ok(ClaimReply::Claimed(_))),
        "{answers:?}"
    );
    assert!(
        matches!(answers[2], Ok(ClaimReply::Claimed(_))),
        "{answers:?}"
    );
}

#[tokio::test]
async fn swaps_that_are_always_lost_end_in_contention() {
    let house = house(LaneSettings::default()).await;
    let grant = house.claimed("k", 1).await;
    house.store.plan(Fault::Misses);
    let answer = timeout(SOON, house.lanes.call(id("k"), release(grant.token)))
        .await
        .unwrap();
    assert_eq!(answer, Err(LaneError::Contention));
}

#[tokio::test]
async fn closing_carries_out_what_was_accepted_and_takes_nothing_more() {
    let mut house = house(LaneSettings::default()).await;
    house.store.shut();
    let mut calls = Vec::new();
    for n in 0..10 {
        calls.push(house.claims(&n.to_string(), n + 1));
        if n == 0 {
            house.arrival().await;
        }
    }
    until(|| house.lanes.queues[0].callers.capacity() <= 4_096 - 9).await;
    let closing = {
        let lanes = house.lanes.clone();
        tokio::spawn(async move { lanes.close().await })
    };
    tokio::task::yield_now().await;
    house.store.reopen();
    timeout(SOON, closing).await.unwrap().unwrap();
    for call in calls {
        assert!(matches!(call.await.unwrap(), Ok(ClaimReply::Claimed(_))));
    }
    let late = house.lanes.claim(id("late"), house.claim(99), None).await;
    assert_eq!(late, Err(LaneError::ShuttingDown));
}

#[tokio::test]
async fn a_worker_that_dies_of_a_bug_is_told_and_nobody_waits_for_ever() {
    let house = house(LaneSettings::default()).await;
    house.store.plan(Fault::Panics);
    let call = house.lanes.claim(id("k"), house.claim(1), None);
    let answer = timeout(SOON, call).await.unwrap();
    assert!(
        matches!(answer, Err(LaneError::StoreUnavailable(_))),
        "{answer:?}"
    );
    timeout(SOON, house.lanes.broken()).await.unwrap();
}

#[tokio::test]
async fn commands_on_one_key_are_decided_in_their_order() {
    let mut house = house(LaneSettings::default()).await;
    let grant = house.claimed("k", 1).await;
    house.arrival().await;
    house.store.shut();
    let first = {
        let lanes = house.lanes.clone();
        tokio::spawn(async move { lanes.call(id("k"), release(grant.token)).await })
    };
    house.arrival().await;
    let second = {
        let lanes = house.lanes.clone();
        tokio::spawn(async move { lanes.call(id("k"), complete(grant.token, "late")).await })
    };
    until(|| house.lanes.queues[0].holders.capacity() < 4_096).await;
    house.store.reopen();
    assert!(matches!(
        first.await.unwrap(),
        Ok(Reply::Fail { repeat: false, .. })
    ));
    let refused = second.await.unwrap().unwrap_err();
    let LaneError::Refused(crate::key::transition::Refusal::AlreadySettled { as_what, .. }) =
        refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!(as_what, "retryable");
}

#[tokio::test]
async fn large_payloads_are_bounded_in_bytes() {
    let mut house = house(LaneSettings {
        payload_bytes: 100 * 1024,
        ..LaneSettings::default()
    })
    .await;
    let delivery = |house: &House, n: u8| {
        let mut claim = house.claim(n);
        claim.delivery = Some(vec![0; 60 * 1024].into());
        claim
    };
    house.store.shut();
    let first = {
        let (lanes, claim) = (house.lanes.clone(), delivery(&house, 1));
        tokio::spawn(async move { lanes.claim(id("a"), claim, None).await })
    };
    house.arrival().await;
    let second = house.lanes.claim(id("b"), delivery(&house, 2), None).await;
    assert_eq!(second, Err(LaneError::QueueFull));
    house.store.reopen();
    first.await.unwrap().unwrap();
    // The bytes are given back.
    assert!(
        house
            .lanes
            .claim(id("b"), delivery(&house, 2), None)
            .await
            .is_ok()
    );
}
