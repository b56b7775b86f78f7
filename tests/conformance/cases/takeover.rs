//! Claim, rows 5 to 8 of the contract's table: lapsed, and failed for now.

use super::*;

semel_tests::cases!(takeover:
    row_05_a_lapsed_lease_is_reclaimed_with_a_higher_fence,
    row_05_the_last_checkpoint_is_handed_over,
    row_05_with_its_attempts_used_up_a_lapsed_key_is_dead,
    row_05_a_holder_that_comes_back_after_dead_was_answered_has_lost_its_lease,
    row_06_under_hold_a_lapsed_key_is_uncertain_until_its_holder_comes_back,
    row_06_under_hold_no_other_attempt_is_ever_granted,
    row_07_a_retryable_key_is_claimed_when_its_rest_is_over,
    row_07_the_attempt_that_just_failed_is_superseded,
    row_08_a_retryable_key_rests_until_its_not_before_time,
);

/// Lets every attempt at a key of `orders` lapse, and gives back the last one's token.
async fn exhaust(house: &House, id: &KeyId) -> Token {
    let mut token = None;
    for n in 1..=3 {
        token = Some(house.claimed(id, n).await.token);
        house.clock.advance(LEASE);
    }
    token.expect("there were three")
}

pub async fn row_05_a_lapsed_lease_is_reclaimed_with_a_higher_fence(house: House) {
    let id = order("k");
    let first = house.claimed(&id, 1).await;
    house.clock.advance(LEASE);
    let second = house.claimed(&id, 2).await;
    assert!(second.token.fence > first.token.fence);
    assert_eq!((second.attempt, second.lease), (2, LEASE));
    assert_eq!(second.token.attempt_id, attempt(2));
    let record = house.standing(&id).await;
    assert_eq!((record.created_at, record.claimed_at), (at(0), at(10)));
    assert_eq!(record.owner, "worker-2");
}

pub async fn row_05_the_last_checkpoint_is_handed_over(house: House) {
    let id = order("k");
    let first = house.claimed(&id, 1).await;
    assert_eq!(
        house.word(&id, checkpoint(first.token, "page 1")).await,
        "saved"
    );
    assert_eq!(
        house.word(&id, checkpoint(first.token, "page 2")).await,
        "saved"
    );
    house.clock.advance(LEASE);
    assert_eq!(
        house.claimed(&id, 2).await.checkpoint,
        Some("page 2".into())
    );
    // And on, when the second attempt saves none.
    house.clock.advance(LEASE);
    assert_eq!(
        house.claimed(&id, 3).await.checkpoint,
        Some("page 2".into())
    );
}

pub async fn row_05_with_its_attempts_used_up_a_lapsed_key_is_dead(house: House) {
    let id = order("k");
    exhaust(&house, &id).await;
    for n in 4..6 {
        let Outcome::Dead {
            attempts, dead_at, ..
        } = standing_of(house.claim(&id, n).await)
        else {
            panic!("not dead")
        };
        // The first who asked found it dead, and it stays so since then.
        assert_eq!((attempts, dead_at), (3, at(30)));
        house.clock.advance(secs(1));
    }
    assert_eq!(house.lookup_word(&id).await, "dead");
}

pub async fn row_05_a_holder_that_comes_back_after_dead_was_answered_has_lost_its_lease(
    house: House,
) {
    let id = order("k");
    let token = exhaust(&house, &id).await;
    assert_eq!(house.claim_word(&id, 4).await, "dead");
    assert_eq!(house.word(&id, complete(token, "late")).await, "LEASE_LOST");
    assert_eq!(house.word(&id, retryable(token)).await, "LEASE_LOST");
    assert_eq!(house.claim_word(&id, 5).await, "dead");
}

pub async fn row_06_under_hold_a_lapsed_key_is_uncertain_until_its_holder_comes_back(house: House) {
    let id = money("k");
    let grant = house.claimed(&id, 1).await;
    house.clock.advance(secs(500));
    let standing = standing_of(house.writing_nothing(house.claim(&id, 2)).await);
    let expected = Outcome::Uncertain {
        owner: "worker-1".into(),
        fence: grant.token.fence,
        attempts: 1,
        since: at(10),
        last_error: String::new(),
        traceparent: "trace-1".into(),
    };
    assert_eq!(standing, expected);
    assert_eq!(
        house.word(&id, complete(grant.token, "paid")).await,
        "stored"
    );
    assert_eq!(house.claim_word(&id, 2).await, "completed");
}

pub async fn row_06_under_hold_no_other_attempt_is_ever_granted(house: House) {
    let id = money("k");
    house.claimed(&id, 1).await;
    for year in [1, 3, 20] {
        house.clock.set(at(year * 31_536_000));
        house.purge().await;
        assert_eq!(
            house.claim_word(&id, 2).await,
            "uncertain",
            "after {year} years"
        );
    }
}

pub async fn row_07_a_retryable_key_is_claimed_when_its_rest_is_over(house: House) {
    let id = order("k");
    let first = house.claimed(&id, 1).await;
    house.word(&id, checkpoint(first.token, "page 7")).await;
    house.word(&id, retryable(first.token)).await;
    house.clock.advance(BACKOFF);
    let second = house.claimed(&id, 2).await;
    assert!(second.token.fence > first.token.fence);
    assert_eq!((second.attempt, second.last_error.as_str()), (2, "boom"));
    assert_eq!(second.checkpoint, Some("page 7".into()));
}

pub async fn row_07_the_attempt_that_just_failed_is_superseded(house: House) {
    let id = order("k");
    let first = house.claimed(&id, 1).await;
    house.word(&id, retryable(first.token)).await;
    house.clock.advance(BACKOFF);
    let refused = house.writing_nothing(house.claim(&id, 1)).await;
    let current_fence = first.token.fence;
    assert_eq!(
        refused,
        Err(LaneError::Refused(Refusal::Superseded { current_fence }))
    );
    assert_eq!(house.claimed(&id, 2).await.attempt, 2);
}

pub async fn row_08_a_retryable_key_rests_until_its_not_before_time(house: House) {
    let id = order("k");
    let first = house.claimed(&id, 1).await;
    house.word(&id, retryable(first.token)).await;
    house.clock.set(at(20) - TICK);
    let standing = standing_of(house.writing_nothing(house.claim(&id, 2)).await);
    let last_error = "boom".into();
    assert_eq!(
        standing,
        Outcome::BackingOff {
            retry_after: TICK,
            attempts: 1,
            last_error
        }
    );
    // The attempt that failed is told the same.
    assert_eq!(house.claim_word(&id, 1).await, "backing off");
    house.clock.advance(TICK);
    assert_eq!(house.claim_word(&id, 2).await, "claimed");
}
