//! Limits are checked before anything changes.

use super::*;

semel_tests::cases!(limits_hold:
    a_result_at_its_limit_is_stored,
    an_oversized_result_is_invalid_and_leaves_the_claim_standing,
    an_oversized_failure_is_invalid_and_leaves_the_claim_standing,
    the_limit_of_the_claims_policy_counts,
    a_4_mib_result_is_replayed_byte_for_byte,
    a_4_mib_failure_is_replayed_byte_for_byte,
    many_large_results_at_once_are_all_stored,
    an_oversized_repeat_is_a_conflict_and_no_other_error,
);

pub async fn a_result_at_its_limit_is_stored(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    assert_eq!(
        house.word(&id, complete(token, noise(1_024))).await,
        "stored"
    );
}

pub async fn an_oversized_result_is_invalid_and_leaves_the_claim_standing(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    let refused = house
        .writing_nothing(house.call(&id, complete(token, noise(1_025))))
        .await;
    let Err(LaneError::Refused(Refusal::Invalid(invalid))) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(invalid.field, "result");
    assert_eq!(house.claim_word(&id, 2).await, "in progress");
    assert_eq!(house.word(&id, complete(token, "shorter")).await, "stored");
}

pub async fn an_oversized_failure_is_invalid_and_leaves_the_claim_standing(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    let refused = house
        .writing_nothing(house.word(&id, terminal(token, noise(1_025))))
        .await;
    assert_eq!(refused, "INVALID");
    assert_eq!(
        house.word(&id, terminal(token, noise(1_024))).await,
        "failed"
    );
}

pub async fn the_limit_of_the_claims_policy_counts(house: House) {
    let (small, large) = (order("k"), bulk("k"));
    let small_token = house.claimed(&small, 1).await.token;
    let large_token = house.claimed(&large, 1).await.token;
    // A forged policy does not lift the limit: the guard misses, and the rules go by the record.
    let forged = Token {
        policy_id: large_token.policy_id,
        ..small_token
    };
    assert_eq!(
        house.word(&small, complete(forged, noise(5_000))).await,
        "INVALID"
    );
    assert_eq!(
        house
            .word(&large, complete(large_token, noise(5_000)))
            .await,
        "stored"
    );
}

pub async fn a_4_mib_result_is_replayed_byte_for_byte(house: House) {
    let id = bulk("k");
    let token = house.claimed(&id, 1).await.token;
    let result = noise(limits::RESULT_BYTES);
    assert_eq!(
        house.word(&id, complete(token, result.clone())).await,
        "stored"
    );
    assert_eq!(
        house.word(&id, complete(token, result.clone())).await,
        "repeat"
    );
    let standing = standing_of(house.claim(&id, 2).await);
    assert!(matches!(standing, Outcome::Completed { result: replayed, .. } if replayed == result));
}

pub async fn a_4_mib_failure_is_replayed_byte_for_byte(house: House) {
    let id = bulk("k");
    let token = house.claimed(&id, 1).await.token;
    let result = noise(limits::RESULT_BYTES);
    assert_eq!(
        house.word(&id, terminal(token, result.clone())).await,
        "failed"
    );
    let standing = standing_of(house.claim(&id, 2).await);
    assert!(matches!(standing, Outcome::Failed { result: replayed, .. } if replayed == result));
}

pub async fn many_large_results_at_once_are_all_stored(house: House) {
    let ids: Vec<_> = (0..12).map(|n| bulk(&format!("k{n}"))).collect();
    let mut calls = Vec::new();
    for (n, id) in (0..).zip(&ids) {
        let token = house.claimed(id, 1).await.token;
        let (server, id) = (Server::clone(&house), id.clone());
        let result = noise(1_000_000 + n);
        calls.push(tokio::spawn(async move {
            server.word(&id, complete(token, result)).await
        }));
    }
    for call in calls {
        assert_eq!(within(call).await.unwrap(), "stored");
    }
    for (n, id) in (0..).zip(&ids) {
        let (standing, _) = house.look(id).await;
        let expected = noise(1_000_000 + n);
        assert!(matches!(standing, Outcome::Completed { result, .. } if result == expected));
    }
}

pub async fn an_oversized_repeat_is_a_conflict_and_no_other_error(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    house.word(&id, complete(token, "r")).await;
    assert_eq!(
        house.word(&id, complete(token, noise(1_025))).await,
        "RESULT_CONFLICT"
    );
}
