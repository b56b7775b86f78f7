//! What peers got wrong, each by its name.

use super::*;

semel_tests::cases!(peers:
    diom_a_stale_holders_complete_does_not_overwrite,
    diom_an_abort_does_not_delete_a_completed_result,
    diom_a_complete_without_a_claim_makes_no_record,
    diom_a_key_with_another_request_behind_it_is_told_apart,
    svix_a_late_first_owner_does_not_overwrite_the_seconds_entry,
    svix_a_slow_handler_can_renew_its_lease,
    svix_a_large_body_is_kept_whole,
    powertools_1038_an_orphaned_claim_is_free_after_its_lease,
    powertools_8049_expiry_does_not_run_a_withdrawal_again,
    powertools_2944_a_success_can_still_be_recorded_after_the_lease,
    express_32_a_crashed_handler_does_not_block_a_key_for_days,
    outpost_670_a_manual_replay_under_a_new_key_is_not_deduplicated,
    idempot_183_a_mismatch_beats_in_progress,
    graphile_580_under_contention_every_claim_is_answered,
);

async fn stored_result(house: &House, id: &KeyId) -> Bytes {
    match house.look(id).await.0 {
        Outcome::Completed { result, .. } => result,
        other => panic!("not completed: {other:?}"),
    }
}

pub async fn diom_a_stale_holders_complete_does_not_overwrite(house: House) {
    let id = order("k");
    let stale = house.claimed(&id, 1).await.token;
    house.clock.advance(LEASE);
    let holder = house.claimed(&id, 2).await.token;
    assert_eq!(
        house.word(&id, complete(stale, "stale")).await,
        "LEASE_LOST"
    );
    house.word(&id, complete(holder, "fresh")).await;
    assert_eq!(
        house.word(&id, complete(stale, "stale")).await,
        "LEASE_LOST"
    );
    assert_eq!(stored_result(&house, &id).await, "fresh");
}

pub async fn diom_an_abort_does_not_delete_a_completed_result(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    house.word(&id, complete(token, "paid")).await;
    assert_eq!(
        house.word(&id, retry_after(token, Span::ZERO)).await,
        "ALREADY_SETTLED"
    );
    assert_eq!(stored_result(&house, &id).await, "paid");
    assert_eq!(house.claim_word(&id, 2).await, "completed");
}

pub async fn diom_a_complete_without_a_claim_makes_no_record(house: House) {
    let token = house.claimed(&order("claimed"), 1).await.token;
    assert_eq!(
        house.word(&order("k"), complete(token, "r")).await,
        "NOT_FOUND"
    );
    assert_eq!(house.claim_word(&order("k"), 1).await, "claimed");
}

pub async fn diom_a_key_with_another_request_behind_it_is_told_apart(house: House) {
    let id = order("k");
    let claim = |n, text| Claim {
        fingerprint: print(text),
        ..house.draft(&id, n)
    };
    let token = grant_of(house.ask(&id, claim(1, "pay 10")).await).token;
    house.word(&id, complete(token, "paid 10")).await;
    assert_eq!(
        word(&house.ask(&id, claim(2, "pay 99")).await),
        "FINGERPRINT_MISMATCH"
    );
}

pub async fn svix_a_late_first_owner_does_not_overwrite_the_seconds_entry(house: House) {
    let id = order("k");
    let first = house.claimed(&id, 1).await.token;
    house.clock.advance(LEASE);
    let second = house.claimed(&id, 2).await.token;
    for late in [
        complete(first, "late"),
        terminal(first, "late"),
        retryable(first),
        unknown(first),
    ] {
        assert_eq!(house.word(&id, late).await, "LEASE_LOST");
    }
    assert_eq!(house.standing(&id).await.token(), second);
    assert_eq!(house.claim_word(&id, 3).await, "in progress");
}

pub async fn svix_a_slow_handler_can_renew_its_lease(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    for _ in 0..5 {
        house.clock.advance(secs(9));
        assert_eq!(house.claim_word(&id, 2).await, "in progress");
        assert_eq!(house.word(&id, extend(token, None)).await, "extended");
    }
    assert_eq!(house.word(&id, complete(token, "r")).await, "stored");
}

pub async fn svix_a_large_body_is_kept_whole(house: House) {
    let id = bulk("k");
    let body = noise(limits::DELIVERY_BODY_BYTES);
    let claim = Claim {
        delivery: Some(body.clone()),
        ..house.draft(&id, 1)
    };
    house.ask(&id, claim).await.unwrap();
    assert!(
        house.look(&id).await.1.delivery == Some(body),
        "the body differs"
    );
}

pub async fn powertools_1038_an_orphaned_claim_is_free_after_its_lease(house: House) {
    let id = order("k");
    let claim = Claim {
        lease: secs(1),
        ..house.draft(&id, 1)
    };
    house.ask(&id, claim).await.unwrap();
    house.clock.advance(secs(1));
    assert_eq!(house.claim_word(&id, 2).await, "claimed");
}

pub async fn powertools_8049_expiry_does_not_run_a_withdrawal_again(house: House) {
    let id = money("withdrawal");
    house.claimed(&id, 1).await;
    // Neither after the lease nor after the retention, purge or no purge.
    for seconds in [10, 1_000, 100_000] {
        house.clock.set(at(seconds));
        house.purge().await;
        assert_eq!(house.claim_word(&id, 2).await, "uncertain");
    }
}

pub async fn powertools_2944_a_success_can_still_be_recorded_after_the_lease(house: House) {
    for id in [order("k"), money("k")] {
        let token = house.claimed(&id, 1).await.token;
        house.clock.advance(secs(3_600));
        // The handler has run, and its client keeps trying.
        assert_eq!(house.word(&id, complete(token, "done")).await, "stored");
        assert_eq!(house.claim_word(&id, 2).await, "completed");
    }
}

pub async fn express_32_a_crashed_handler_does_not_block_a_key_for_days(house: House) {
    let id = order("k");
    house.claimed(&id, 1).await;
    // Nobody can hold a key longer by never coming back than by the lease it asked for.
    house.clock.set(at(30));
    assert_eq!(house.claimed(&id, 2).await.attempt, 2);
}

pub async fn outpost_670_a_manual_replay_under_a_new_key_is_not_deduplicated(house: House) {
    let original = order("event-1");
    let token = house.claimed(&original, 1).await.token;
    house.word(&original, complete(token, "sent")).await;
    // A replay on purpose names another operation, and is told what stands if it does not.
    assert_eq!(
        house.claim_word(&order("event-1/replay-1"), 2).await,
        "claimed"
    );
    let told = standing_of(house.claim(&original, 2).await);
    assert!(
        matches!(told, Outcome::Completed { .. }),
        "never silent: {told:?}"
    );
}

pub async fn idempot_183_a_mismatch_beats_in_progress(house: House) {
    let id = order("k");
    let claim = |n, text| Claim {
        fingerprint: print(text),
        ..house.draft(&id, n)
    };
    house.ask(&id, claim(1, "a")).await.unwrap();
    assert_eq!(
        word(&house.ask(&id, claim(2, "b")).await),
        "FINGERPRINT_MISMATCH"
    );
    assert_eq!(word(&house.ask(&id, claim(2, "a")).await), "in progress");
}

pub async fn graphile_580_under_contention_every_claim_is_answered(house: House) {
    let other = house.another_server().await;
    let mut calls = Vec::new();
    for n in 1..=200 {
        let server = if n % 2 == 0 {
            Server::clone(&house)
        } else {
            other.clone()
        };
        let id = order(&format!("k{}", n % 5));
        calls.push(tokio::spawn(async move { server.claim(&id, n).await }));
    }
    let mut granted = 0;
    for call in calls {
        match claim_of(within(call).await.expect("no panic")) {
            ClaimReply::Claimed(_) => granted += 1,
            ClaimReply::Standing(Outcome::InProgress { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(granted, 5);
}
