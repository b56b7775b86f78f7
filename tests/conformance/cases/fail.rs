//! Fail: its rows of the contract's settling table.

use super::*;

semel_tests::cases!(fail:
    fail_retryable_releases_the_key_not_before_its_backoff,
    fail_retryable_rests_longer_each_time_up_to_the_cap,
    fail_retryable_may_name_its_own_rest,
    fail_retryable_with_the_attempts_used_up_is_dead,
    fail_terminal_is_kept_like_a_success,
    fail_unknown_is_uncertain_and_may_be_resolved_by_its_holder,
    fail_after_complete_is_already_settled_and_never_erases_the_result,
    fail_with_a_superseded_token_has_lost_its_lease_and_changes_nothing,
    fail_sent_twice_with_the_same_kind_is_a_repeat,
    fail_sent_again_with_another_kind_is_already_settled,
);

pub async fn fail_retryable_releases_the_key_not_before_its_backoff(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    house.clock.set(at(2));
    let outcome = Outcome::BackingOff {
        retry_after: BACKOFF,
        attempts: 1,
        last_error: "boom".into(),
    };
    let answer = house.call(&id, retryable(token)).await;
    assert_eq!(
        answer,
        Ok(Reply::Fail {
            repeat: false,
            outcome
        })
    );
}

pub async fn fail_retryable_rests_longer_each_time_up_to_the_cap(house: House) {
    let namespace = Namespace::new("patient").unwrap();
    let patient = policy(PolicySettings {
        attempts: 10,
        ..settings()
    });
    let text = patient.canonical_text();
    house.store.put_policy(patient.id(), &text).await.unwrap();
    house
        .store
        .put_namespace(&namespace, patient.id(), None)
        .await
        .unwrap();
    house.policies.renew(&house.store).await.unwrap();
    let id = key_in("patient", "k");
    for (n, rest) in (1..).zip([20, 40, 80, 100, 100]) {
        let token = house.claimed(&id, n).await.token;
        house.word(&id, retryable(token)).await;
        house
            .clock
            .advance(Span::from_micros(secs(rest).as_micros() - 1));
        assert_eq!(
            house.claim_word(&id, n + 1).await,
            "backing off",
            "attempt {n}"
        );
        house.clock.advance(TICK);
    }
}

pub async fn fail_retryable_may_name_its_own_rest(house: House) {
    for (key, rest) in [
        ("none", Span::ZERO),
        ("short", secs(1)),
        ("long", secs(86_400)),
    ] {
        let id = order(key);
        let token = house.claimed(&id, 1).await.token;
        house.word(&id, retry_after(token, rest)).await;
        if !rest.is_zero() {
            assert_eq!(house.claim_word(&id, 2).await, "backing off", "{key}");
        }
        house.clock.advance(rest);
        assert_eq!(house.claim_word(&id, 2).await, "claimed", "{key}");
        assert_eq!(
            house.standing(&id).await.attempt,
            2,
            "{key}: a second attempt, no new life"
        );
    }
}

pub async fn fail_retryable_with_the_attempts_used_up_is_dead(house: House) {
    let id = order("k");
    for n in 1..=2 {
        let token = house.claimed(&id, n).await.token;
        assert_eq!(
            house.word(&id, retry_after(token, Span::ZERO)).await,
            "backing off"
        );
    }
    let last = house.claimed(&id, 3).await.token;
    assert_eq!(house.word(&id, retry_after(last, Span::ZERO)).await, "dead");
    assert_eq!(
        house.word(&id, retry_after(last, Span::ZERO)).await,
        "repeat"
    );
    assert_eq!(house.claim_word(&id, 4).await, "dead");
    house.clock.advance(RETENTION);
    assert_eq!(house.claim_word(&id, 4).await, "claimed");
}

pub async fn fail_terminal_is_kept_like_a_success(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    assert_eq!(house.word(&id, terminal(token, "declined")).await, "failed");
    house.clock.set(at(0) + RETENTION - TICK);
    assert!(
        matches!(house.look(&id).await.0, Outcome::Failed { result, .. } if result == "declined")
    );
    house.clock.advance(TICK);
    assert_eq!(house.claim_word(&id, 2).await, "claimed");
}

pub async fn fail_unknown_is_uncertain_and_may_be_resolved_by_its_holder(house: House) {
    let ways: [(&str, HolderCall); 3] = [
        ("stored", |token| complete(token, "it was")),
        ("backing off", retryable),
        ("failed", |token| terminal(token, "it was not")),
    ];
    for (resolved, way) in ways {
        let id = order(resolved);
        let token = house.claimed(&id, 1).await.token;
        assert_eq!(house.word(&id, unknown(token)).await, "uncertain");
        house.clock.advance(secs(1_000));
        assert_eq!(house.claim_word(&id, 2).await, "uncertain");
        assert_eq!(house.word(&id, way(token)).await, resolved);
    }
}

pub async fn fail_after_complete_is_already_settled_and_never_erases_the_result(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    house.word(&id, complete(token, "r")).await;
    for failure in [retryable(token), terminal(token, "r"), unknown(token)] {
        let refused = house.writing_nothing(house.word(&id, failure)).await;
        assert_eq!(refused, "ALREADY_SETTLED");
    }
    assert!(matches!(house.look(&id).await.0, Outcome::Completed { result, .. } if result == "r"));
}

pub async fn fail_with_a_superseded_token_has_lost_its_lease_and_changes_nothing(house: House) {
    let (id, first, _) = superseded(&house, "k").await;
    for late in calls(first) {
        let refused = house.writing_nothing(house.word(&id, late.clone())).await;
        assert_eq!(refused, "LEASE_LOST", "{late:?}");
    }
}

pub async fn fail_sent_twice_with_the_same_kind_is_a_repeat(house: House) {
    let kinds: [HolderCall; 3] = [retryable, |token| terminal(token, "no"), unknown];
    for (n, failure) in kinds.into_iter().enumerate() {
        let id = order(&n.to_string());
        let token = house.claimed(&id, 1).await.token;
        let first = house.call(&id, failure(token)).await;
        house.clock.advance(secs(1));
        let again = house.writing_nothing(house.call(&id, failure(token))).await;
        assert_eq!(word(&again), "repeat", "{first:?} {again:?}");
    }
}

pub async fn fail_sent_again_with_another_kind_is_already_settled(house: House) {
    let id = order("retryable");
    let token = house.claimed(&id, 1).await.token;
    house.word(&id, retryable(token)).await;
    for other in [terminal(token, "no"), unknown(token), extend(token, None)] {
        assert_eq!(
            house.writing_nothing(house.word(&id, other)).await,
            "ALREADY_SETTLED"
        );
    }
    let id = order("terminal");
    let token = house.claimed(&id, 1).await.token;
    house.word(&id, terminal(token, "no")).await;
    for other in [retryable(token), unknown(token), checkpoint(token, "x")] {
        assert_eq!(
            house.writing_nothing(house.word(&id, other)).await,
            "ALREADY_SETTLED"
        );
    }
}
