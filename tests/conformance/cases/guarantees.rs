//! The guarantees of the contract, over whole stories.

use super::*;

semel_tests::cases!(guarantees:
    g1_over_lapse_failure_purge_and_restart_no_fence_is_given_twice,
    g1_two_holders_never_both_may_settle,
    g2_every_later_answer_has_the_first_outcomes_bytes,
    g3_only_the_current_holders_token_changes_anything,
    g4_keys_are_independent,
    g5_every_call_of_a_story_may_be_sent_again,
    g5_a_claim_whose_answer_was_lost_is_found_again_after_a_restart,
    g6_what_was_acknowledged_survives_a_restart,
    g8_a_store_that_is_away_is_unavailable_and_never_claimed,
    g9_a_token_of_one_namespace_is_worth_nothing_in_another,
);

pub async fn g1_over_lapse_failure_purge_and_restart_no_fence_is_given_twice(mut house: House) {
    let id = order("k");
    let mut fences = Vec::new();
    for n in 1..=12 {
        let token = house.claimed(&id, n).await.token;
        fences.push(token.fence);
        match n % 3 {
            1 => {
                house.word(&id, retry_after(token, Span::ZERO)).await;
            }
            2 => {
                house.word(&id, complete(token, "r")).await;
                // After a new life the clock goes back to before it.
                let back = house.clock.now();
                house.clock.advance(secs(5_000));
                assert_eq!(house.purge().await, 1);
                house.clock.set(back - secs(100));
            }
            _ => {
                house.restart().await;
                house.clock.advance(LEASE);
            }
        }
    }
    assert!(fences.is_sorted_by(|a, b| a < b), "{fences:?}");
}

pub async fn g1_two_holders_never_both_may_settle(house: House) {
    let id = order("k");
    let mut tokens = Vec::new();
    for n in 1..=3 {
        tokens.push(house.claimed(&id, n).await.token);
        house.clock.advance(LEASE);
    }
    let mut answers = Vec::new();
    for token in tokens {
        answers.push(house.word(&id, complete(token, "r")).await);
    }
    assert_eq!(answers, ["LEASE_LOST", "LEASE_LOST", "stored"]);
}

pub async fn g2_every_later_answer_has_the_first_outcomes_bytes(house: House) {
    let other = house.another_server().await;
    let id = order("k");
    let result = noise(999);
    let token = house.claimed(&id, 1).await.token;
    house.word(&id, complete(token, result.clone())).await;
    for n in 2..40 {
        let server = if n % 2 == 0 { &*house } else { &other };
        // Whatever is tried in between.
        house.word(&id, complete(token, "other")).await;
        other.word(&id, terminal(token, "other")).await;
        house.clock.advance(secs(20));
        let Outcome::Completed {
            result: replayed,
            completed_at,
            ..
        } = standing_of(server.claim(&id, n).await)
        else {
            panic!("not completed")
        };
        assert!(
            replayed == result && completed_at == at(0),
            "answer {n} differs"
        );
    }
}

pub async fn g3_only_the_current_holders_token_changes_anything(house: House) {
    let id = order("k");
    let mut stale = Vec::new();
    for n in 1..=2 {
        stale.push(house.claimed(&id, n).await.token);
        house.clock.advance(LEASE);
    }
    let holder = house.claimed(&id, 3).await.token;
    stale.push(Token {
        attempt_id: attempt(4),
        ..holder
    });
    stale.push(Token {
        fence: Fence::from_i64(i64::MAX),
        ..holder
    });
    house
        .writing_nothing(async {
            for token in stale {
                for command in [
                    complete(token, "r"),
                    retryable(token),
                    unknown(token),
                    extend(token, None),
                ] {
                    assert_eq!(house.word(&id, command).await, "LEASE_LOST");
                }
            }
        })
        .await;
    assert_eq!(house.word(&id, complete(holder, "r")).await, "stored");
}

pub async fn g4_keys_are_independent(house: House) {
    let ids = orders("k", 30);
    for (n, id) in ids.iter().enumerate() {
        let token = house.claimed(id, 1).await.token;
        match n % 3 {
            0 => house.word(id, complete(token, n.to_string())).await,
            1 => house.word(id, retryable(token)).await,
            _ => continue,
        };
    }
    for (n, id) in ids.iter().enumerate() {
        let expected = ["completed", "backing off", "in progress"][n % 3];
        assert_eq!(house.claim_word(id, 2).await, expected, "key {n}");
    }
}

pub async fn g5_every_call_of_a_story_may_be_sent_again(house: House) {
    let id = bulk("k");
    let first = house.claimed(&id, 1).await;
    assert_eq!(house.claimed(&id, 1).await, first);
    let token = first.token;
    for command in [extend(token, None), checkpoint(token, "page")] {
        let answer = house.call(&id, command.clone()).await;
        assert_eq!(house.call(&id, command).await, answer);
    }
    assert_eq!(
        house.word(&id, retry_after(token, Span::ZERO)).await,
        "backing off"
    );
    assert_eq!(
        house.word(&id, retry_after(token, Span::ZERO)).await,
        "repeat"
    );
    let second = house.claimed(&id, 2).await;
    assert_eq!(house.claimed(&id, 2).await, second);
    // A packet of the first attempt that was under way all the time grants nothing.
    assert_eq!(house.claim_word(&id, 1).await, "in progress");
    assert_eq!(
        house.word(&id, retry_after(token, Span::ZERO)).await,
        "LEASE_LOST"
    );
    assert_eq!(house.word(&id, complete(second.token, "r")).await, "stored");
    assert_eq!(house.word(&id, complete(second.token, "r")).await, "repeat");
    // Nor does one of the second after the end.
    assert_eq!(house.claim_word(&id, 2).await, "completed");
}

pub async fn g5_a_claim_whose_answer_was_lost_is_found_again_after_a_restart(mut house: House) {
    let id = order("k");
    let first = house.claimed(&id, 1).await;
    house.restart().await;
    assert_eq!(house.claimed(&id, 1).await, first);
    assert_eq!(house.claim_word(&id, 2).await, "in progress");
}

pub async fn g6_what_was_acknowledged_survives_a_restart(mut house: House) {
    let ids = orders("k", 20);
    for (n, id) in ids.iter().enumerate() {
        let token = house.claimed(id, 1).await.token;
        assert_eq!(
            house.word(id, complete(token, n.to_string())).await,
            "stored"
        );
    }
    house.restart().await;
    for (n, id) in ids.iter().enumerate() {
        let (outcome, _) = house.look(id).await;
        assert!(matches!(outcome, Outcome::Completed { result, .. } if result == n.to_string()));
    }
}

pub async fn g8_a_store_that_is_away_is_unavailable_and_never_claimed(mut house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    house.database.close().await;
    assert_eq!(house.claim_word(&order("new"), 1).await, "UNAVAILABLE");
    assert_eq!(house.claim_word(&id, 1).await, "UNAVAILABLE");
    assert_eq!(house.word(&id, complete(token, "r")).await, "UNAVAILABLE");
    assert_eq!(house.lookup_word(&id).await, "UNAVAILABLE");
    house.restart().await;
    // Sent again, each finds out how it stands.
    assert_eq!(house.word(&id, complete(token, "r")).await, "stored");
    assert_eq!(house.claim_word(&order("new"), 1).await, "claimed");
}

pub async fn g9_a_token_of_one_namespace_is_worth_nothing_in_another(house: House) {
    let (here, there) = (order("k"), money("k"));
    let token = house.claimed(&here, 1).await.token;
    assert_eq!(house.word(&there, complete(token, "r")).await, "NOT_FOUND");
    house.clock.advance(TICK);
    let other = house.claimed(&there, 2).await.token;
    assert_eq!(house.word(&there, complete(token, "r")).await, "LEASE_LOST");
    assert_eq!(house.word(&here, complete(other, "r")).await, "LEASE_LOST");
    assert_eq!(house.lookup_word(&here).await, "in progress");
}
