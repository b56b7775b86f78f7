//! Claim, rows 1 to 4 of the contract's table: absent, another request, the same attempt, held.

use super::*;

semel_tests::cases!(claim:
    row_01_an_absent_key_is_claimed_as_attempt_1,
    row_01_a_key_past_its_retention_is_claimed_as_attempt_1_of_a_new_life,
    row_02_another_fingerprint_is_a_mismatch_in_every_state,
    row_02_a_mismatch_comes_before_everything_else,
    row_02_one_empty_side_is_no_mismatch_where_fingerprints_are_optional,
    row_02_one_empty_side_is_a_mismatch_where_fingerprints_are_required,
    row_02_where_fingerprints_are_required_a_first_claim_without_one_is_invalid,
    row_02_the_first_fingerprint_counts_when_a_later_attempt_sends_none,
    row_03_the_same_attempt_gets_its_claim_again_with_what_is_left_of_the_lease,
    row_03_the_same_attempt_gets_its_claim_again_after_the_lease_lapsed,
    row_04_a_live_lease_answers_in_progress,
    row_04_a_lease_is_live_to_its_last_microsecond,
    a_claim_may_ask_for_its_own_lease,
);

/// Brings a key of `orders` with the fingerprint "a" into each state, by its name.
async fn in_every_state(house: &House) -> Vec<(&'static str, KeyId)> {
    let mut keys = Vec::new();
    for state in [
        "in progress",
        "completed",
        "failed",
        "backing off",
        "dead",
        "uncertain",
    ] {
        let id = order(state);
        let claim = Claim {
            fingerprint: print("a"),
            ..house.draft(&id, 1)
        };
        let token = grant_of(house.ask(&id, claim).await).token;
        let settled = match state {
            "in progress" => None,
            "completed" => Some(complete(token, "secret")),
            "failed" => Some(terminal(token, "secret")),
            "uncertain" => Some(unknown(token)),
            _ => Some(retry_after(token, Span::ZERO)),
        };
        if let Some(command) = settled {
            house.call(&id, command).await.expect("settles");
        }
        for n in 2..=3 {
            if state == "dead" {
                let token = house.claimed(&id, n).await.token;
                house
                    .call(&id, retry_after(token, Span::ZERO))
                    .await
                    .expect("fails");
            }
        }
        assert_eq!(house.lookup_word(&id).await, state);
        keys.push((state, id));
    }
    keys
}

pub async fn row_01_an_absent_key_is_claimed_as_attempt_1(house: House) {
    let grant = house.claimed(&order("k"), 1).await;
    let fence = Fence::from_i64(at(0).as_micros());
    assert_eq!(
        (grant.token.attempt_id, grant.token.fence),
        (attempt(1), fence)
    );
    assert_eq!((grant.attempt, grant.lease), (1, LEASE));
    assert_eq!((grant.checkpoint, grant.last_error), (None, String::new()));
}

pub async fn row_01_a_key_past_its_retention_is_claimed_as_attempt_1_of_a_new_life(house: House) {
    let id = order("k");
    let first = house.claimed(&id, 1).await;
    house.word(&id, checkpoint(first.token, "page 7")).await;
    house.word(&id, complete(first.token, "r")).await;
    house.clock.advance(RETENTION);
    // The same attempt id, even: what it did is forgotten.
    let second = house.claimed(&id, 1).await;
    assert_eq!((second.attempt, second.checkpoint), (1, None));
    assert!(second.token.fence > first.token.fence);
    assert_eq!(house.standing(&id).await.created_at, at(0) + RETENTION);
}

pub async fn row_02_another_fingerprint_is_a_mismatch_in_every_state(house: House) {
    for (state, id) in in_every_state(&house).await {
        let claim = Claim {
            fingerprint: print("b"),
            ..house.draft(&id, 9)
        };
        let answer = house.writing_nothing(house.ask(&id, claim)).await;
        // Nothing but the word and the public fence: no stored bytes, not even the state.
        let current_fence = house.standing(&id).await.fence;
        let mismatch = Err(LaneError::Refused(Refusal::FingerprintMismatch {
            current_fence,
        }));
        assert_eq!(answer, mismatch, "{state}");
    }
}

pub async fn row_02_a_mismatch_comes_before_everything_else(house: House) {
    let id = order("k");
    let claim = |n, text| Claim {
        fingerprint: print(text),
        ..house.draft(&id, n)
    };
    let token = grant_of(house.ask(&id, claim(1, "a")).await).token;
    // Before "the same attempt", before "the lease has lapsed", before "the rest is over".
    assert_eq!(
        word(&house.ask(&id, claim(1, "b")).await),
        "FINGERPRINT_MISMATCH"
    );
    house.clock.advance(LEASE);
    assert_eq!(
        word(&house.ask(&id, claim(2, "b")).await),
        "FINGERPRINT_MISMATCH"
    );
    house.word(&id, retryable(token)).await;
    assert_eq!(
        word(&house.ask(&id, claim(2, "b")).await),
        "FINGERPRINT_MISMATCH"
    );
    house.clock.advance(BACKOFF);
    assert_eq!(
        word(&house.ask(&id, claim(1, "b")).await),
        "FINGERPRINT_MISMATCH"
    );
    // Not before "past its retention": then nothing stands that could differ.
    house.clock.advance(RETENTION);
    assert_eq!(word(&house.ask(&id, claim(2, "b")).await), "claimed");
}

pub async fn row_02_one_empty_side_is_no_mismatch_where_fingerprints_are_optional(house: House) {
    for (key, stored, sent) in [("a", "", "print"), ("b", "print", ""), ("c", "", "")] {
        let id = order(key);
        let claim = |n, text| Claim {
            fingerprint: print(text),
            ..house.draft(&id, n)
        };
        house.ask(&id, claim(1, stored)).await.unwrap();
        assert_eq!(
            word(&house.ask(&id, claim(2, sent)).await),
            "in progress",
            "{stored}/{sent}"
        );
    }
}

pub async fn row_02_one_empty_side_is_a_mismatch_where_fingerprints_are_required(house: House) {
    let id = strict("k");
    let claim = |n, text| Claim {
        fingerprint: print(text),
        ..house.draft(&id, n)
    };
    house.ask(&id, claim(1, "print")).await.unwrap();
    assert_eq!(
        word(&house.ask(&id, claim(2, "")).await),
        "FINGERPRINT_MISMATCH"
    );
    assert_eq!(
        word(&house.ask(&id, claim(2, "print")).await),
        "in progress"
    );
}

pub async fn row_02_where_fingerprints_are_required_a_first_claim_without_one_is_invalid(
    house: House,
) {
    let id = strict("k");
    let refused = house.writing_nothing(house.claim(&id, 1)).await;
    let Err(LaneError::Refused(Refusal::Invalid(invalid))) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(invalid.field, "fingerprint");
    assert_eq!(house.lookup_word(&id).await, "NOT_FOUND");
}

pub async fn row_02_the_first_fingerprint_counts_when_a_later_attempt_sends_none(house: House) {
    let id = order("k");
    let claim = |n, text| Claim {
        fingerprint: print(text),
        ..house.draft(&id, n)
    };
    house.ask(&id, claim(1, "a")).await.unwrap();
    house.clock.advance(LEASE);
    house.claimed(&id, 2).await;
    assert_eq!(
        word(&house.ask(&id, claim(3, "b")).await),
        "FINGERPRINT_MISMATCH"
    );
}

pub async fn row_03_the_same_attempt_gets_its_claim_again_with_what_is_left_of_the_lease(
    house: House,
) {
    let id = order("k");
    let first = house.claimed(&id, 1).await;
    house.clock.advance(secs(4));
    let again = house.writing_nothing(house.claimed(&id, 1)).await;
    assert_eq!(
        again,
        ClaimGrant {
            lease: secs(6),
            ..first
        }
    );
}

pub async fn row_03_the_same_attempt_gets_its_claim_again_after_the_lease_lapsed(house: House) {
    for id in [order("k"), money("k")] {
        let first = house.claimed(&id, 1).await;
        house.clock.advance(LEASE);
        let again = house.claimed(&id, 1).await;
        assert_eq!(
            again,
            ClaimGrant {
                lease: Span::ZERO,
                ..first
            }
        );
    }
}

pub async fn row_04_a_live_lease_answers_in_progress(house: House) {
    let id = order("k");
    let grant = house.claimed(&id, 1).await;
    house.clock.advance(secs(3));
    let standing = standing_of(house.writing_nothing(house.claim(&id, 2)).await);
    let expected = Outcome::InProgress {
        owner: "worker-1".into(),
        lease: secs(7),
        retry_after: limits::RETRY_HINT.1,
        fence: grant.token.fence,
        attempt: 1,
        traceparent: "trace-1".into(),
    };
    assert_eq!(standing, expected);
}

pub async fn row_04_a_lease_is_live_to_its_last_microsecond(house: House) {
    let id = order("k");
    house.claimed(&id, 1).await;
    house.clock.set(at(10) - TICK);
    assert_eq!(house.claim_word(&id, 2).await, "in progress");
    house.clock.advance(TICK);
    assert_eq!(house.claim_word(&id, 2).await, "claimed");
}

pub async fn a_claim_may_ask_for_its_own_lease(house: House) {
    let id = order("k");
    let claim = Claim {
        lease: secs(25),
        ..house.draft(&id, 1)
    };
    assert_eq!(grant_of(house.ask(&id, claim).await).lease, secs(25));
    house.clock.set(at(25) - TICK);
    assert_eq!(house.claim_word(&id, 2).await, "in progress");
    house.clock.advance(TICK);
    assert_eq!(house.claim_word(&id, 2).await, "claimed");
}
