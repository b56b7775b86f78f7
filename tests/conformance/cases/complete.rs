//! Complete: its rows of the contract's settling table.

use super::*;

semel_tests::cases!(complete:
    complete_by_the_holder_is_stored_and_retention_starts,
    complete_after_the_lease_lapsed_is_stored_while_nobody_took_over,
    complete_of_an_uncertain_key_is_stored,
    complete_sent_twice_with_the_same_result_is_a_repeat,
    complete_with_another_result_is_a_conflict_and_the_first_stands,
    complete_with_a_superseded_token_has_lost_its_lease_and_changes_nothing,
    complete_after_a_failure_is_already_settled,
);

pub async fn complete_by_the_holder_is_stored_and_retention_starts(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    house.clock.set(at(7));
    let stored = house.call(&id, complete(token, "r")).await;
    assert_eq!(
        stored,
        Ok(Reply::Complete {
            repeat: false,
            completed_at: at(7)
        })
    );
    house.clock.set(at(7) + RETENTION - TICK);
    assert_eq!(house.lookup_word(&id).await, "completed");
    house.clock.advance(TICK);
    assert_eq!(house.lookup_word(&id).await, "NOT_FOUND");
}

pub async fn complete_after_the_lease_lapsed_is_stored_while_nobody_took_over(house: House) {
    for id in [order("k"), money("k")] {
        let token = house.claimed(&id, 1).await.token;
        house.clock.advance(secs(900));
        assert_eq!(house.word(&id, complete(token, "late")).await, "stored");
    }
}

pub async fn complete_of_an_uncertain_key_is_stored(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    house.word(&id, unknown(token)).await;
    assert_eq!(
        house.word(&id, complete(token, "it was done")).await,
        "stored"
    );
    assert_eq!(house.claim_word(&id, 2).await, "completed");
}

pub async fn complete_sent_twice_with_the_same_result_is_a_repeat(house: House) {
    for (key, result) in [
        ("short", Bytes::from("r")),
        ("empty", Bytes::new()),
        ("long", noise(1_024)),
    ] {
        let id = order(key);
        let token = house.claimed(&id, 1).await.token;
        let completed_at = house.clock.now();
        house
            .call(&id, complete(token, result.clone()))
            .await
            .unwrap();
        house.clock.advance(secs(3));
        let again = house
            .writing_nothing(house.call(&id, complete(token, result)))
            .await;
        assert_eq!(
            again,
            Ok(Reply::Complete {
                repeat: true,
                completed_at
            })
        );
    }
}

pub async fn complete_with_another_result_is_a_conflict_and_the_first_stands(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    house.word(&id, complete(token, "first")).await;
    for other in ["second", "", "firs", "first\0"] {
        let refused = house
            .writing_nothing(house.word(&id, complete(token, other)))
            .await;
        assert_eq!(refused, "RESULT_CONFLICT", "{other:?}");
    }
    assert!(
        matches!(house.look(&id).await.0, Outcome::Completed { result, .. } if result == "first")
    );
}

pub async fn complete_with_a_superseded_token_has_lost_its_lease_and_changes_nothing(house: House) {
    let (id, first, second) = superseded(&house, "k").await;
    let late = complete(first, "stale");
    assert_eq!(
        house.writing_nothing(house.word(&id, late.clone())).await,
        "LEASE_LOST"
    );
    house.word(&id, complete(second, "r")).await;
    // Also with the very result that the new holder stored.
    for result in ["stale", "r"] {
        let refused = house
            .writing_nothing(house.word(&id, complete(first, result)))
            .await;
        assert_eq!(refused, "LEASE_LOST");
    }
    assert!(matches!(house.look(&id).await.0, Outcome::Completed { result, .. } if result == "r"));
}

pub async fn complete_after_a_failure_is_already_settled(house: House) {
    let kinds: [HolderCall; 2] = [retryable, |token| terminal(token, "no")];
    for (n, failure) in kinds.into_iter().enumerate() {
        let id = order(&n.to_string());
        let token = house.claimed(&id, 1).await.token;
        house.call(&id, failure(token)).await.unwrap();
        let refused = house
            .writing_nothing(house.word(&id, complete(token, "r")))
            .await;
        assert_eq!(refused, "ALREADY_SETTLED");
    }
}
