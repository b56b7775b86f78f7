//! Claim, rows 9 to 11 of the contract's table: what is settled is told again, byte for byte.

use super::*;

semel_tests::cases!(replay:
    row_09_a_completed_key_replays_its_result_byte_for_byte,
    row_09_an_earlier_attempt_of_a_completed_key_gets_the_result_too,
    row_10_a_key_that_failed_for_good_replays_its_failure_byte_for_byte,
    row_11_a_dead_key_says_what_is_known,
    row_11_an_uncertain_key_says_what_is_known,
    a_duplicate_never_extends_retention,
    a_delivery_is_kept_for_the_next_attempt_and_dropped_with_the_result,
);

pub async fn row_09_a_completed_key_replays_its_result_byte_for_byte(house: House) {
    let all: Bytes = (0..=255).collect::<Vec<u8>>().into();
    for (key, result) in [
        ("all", all),
        ("empty", Bytes::new()),
        ("long", noise(1_024)),
    ] {
        let id = order(key);
        let token = house.claimed(&id, 1).await.token;
        let completed_at = house.clock.now();
        assert_eq!(
            house.word(&id, complete(token, result.clone())).await,
            "stored"
        );
        house.clock.advance(secs(5));
        let expected = Outcome::Completed {
            result,
            completed_at,
            fence: token.fence,
            attempt: 1,
            traceparent: "trace-1".into(),
        };
        assert_eq!(
            standing_of(house.writing_nothing(house.claim(&id, 2)).await),
            expected
        );
    }
}

pub async fn row_09_an_earlier_attempt_of_a_completed_key_gets_the_result_too(house: House) {
    let id = order("k");
    house.claimed(&id, 1).await;
    house.clock.advance(LEASE);
    let second = house.claimed(&id, 2).await;
    house.word(&id, complete(second.token, "r")).await;
    for n in [1, 2] {
        assert_eq!(house.claim_word(&id, n).await, "completed", "attempt {n}");
    }
}

pub async fn row_10_a_key_that_failed_for_good_replays_its_failure_byte_for_byte(house: House) {
    for (key, result) in [("all", noise(1_024)), ("empty", Bytes::new())] {
        let id = order(key);
        let token = house.claimed(&id, 1).await.token;
        house.word(&id, terminal(token, result.clone())).await;
        let expected = Outcome::Failed {
            result,
            error: "boom".into(),
            failed_at: at(0),
            fence: token.fence,
            attempt: 1,
            traceparent: "trace-1".into(),
        };
        for n in [1, 2] {
            let standing = standing_of(house.writing_nothing(house.claim(&id, n)).await);
            assert_eq!(standing, expected, "attempt {n}");
        }
    }
}

pub async fn row_11_a_dead_key_says_what_is_known(house: House) {
    let id = order("k");
    for n in 1..=3 {
        let token = house.claimed(&id, n).await.token;
        house.word(&id, retry_after(token, TICK)).await;
        house.clock.advance(TICK);
    }
    let dead = standing_of(house.writing_nothing(house.claim(&id, 4)).await);
    let expected = Outcome::Dead {
        attempts: 3,
        last_error: "boom".into(),
        dead_at: at(0) + TICK + TICK,
        fence: house.standing(&id).await.fence,
        traceparent: "trace-3".into(),
    };
    assert_eq!(dead, expected);
}

pub async fn row_11_an_uncertain_key_says_what_is_known(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    house.clock.set(at(4));
    assert_eq!(house.word(&id, unknown(token)).await, "uncertain");
    house.clock.advance(secs(100));
    let expected = Outcome::Uncertain {
        owner: "worker-1".into(),
        fence: token.fence,
        attempts: 1,
        since: at(4),
        last_error: "boom".into(),
        traceparent: "trace-1".into(),
    };
    for n in [1, 2] {
        let standing = standing_of(house.writing_nothing(house.claim(&id, n)).await);
        assert_eq!(standing, expected, "attempt {n}");
    }
}

pub async fn a_duplicate_never_extends_retention(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    house.word(&id, complete(token, "r")).await;
    for _ in 0..10 {
        house.clock.advance(secs(99));
        assert_eq!(house.claim_word(&id, 2).await, "completed");
        assert_eq!(house.word(&id, complete(token, "r")).await, "repeat");
    }
    house.clock.set(at(0) + RETENTION);
    assert_eq!(house.claim_word(&id, 2).await, "claimed");
}

pub async fn a_delivery_is_kept_for_the_next_attempt_and_dropped_with_the_result(house: House) {
    let id = bulk("k");
    let first = Claim {
        delivery: Some("POST 1".into()),
        ..house.draft(&id, 1)
    };
    house.ask(&id, first).await.unwrap();
    house.clock.advance(LEASE);
    let second = house.claimed(&id, 2).await;
    assert_eq!(house.look(&id).await.1.delivery, Some("POST 1".into()));
    house.word(&id, complete(second.token, "r")).await;
    assert_eq!(house.look(&id).await.1.delivery, None);
}
