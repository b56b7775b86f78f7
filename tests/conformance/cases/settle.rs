//! What holds for every call of a holder.

use super::*;

semel_tests::cases!(settle:
    nothing_is_ever_upserted,
    a_key_past_its_retention_is_absent_to_every_call,
    a_token_with_one_wrong_part_settles_nothing,
    a_refusal_names_the_current_fence,
    a_settlement_of_one_key_touches_no_other,
);

pub async fn nothing_is_ever_upserted(house: House) {
    let token = house.claimed(&order("other"), 1).await.token;
    for call in calls(token) {
        let refused = house
            .writing_nothing(house.word(&order("absent"), call.clone()))
            .await;
        assert_eq!(refused, "NOT_FOUND", "{call:?}");
    }
    assert_eq!(house.record(&order("absent")).await, None);
}

pub async fn a_key_past_its_retention_is_absent_to_every_call(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    house.word(&id, complete(token, "late")).await;
    house.clock.advance(RETENTION);
    for call in calls(token).into_iter().chain([Command::Lookup]) {
        let refused = house.writing_nothing(house.word(&id, call.clone())).await;
        assert_eq!(refused, "NOT_FOUND", "{call:?}");
    }
}

pub async fn a_token_with_one_wrong_part_settles_nothing(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    let fence = Fence::from_i64(token.fence.as_i64() + 1);
    let forged = [
        Token { fence, ..token },
        Token {
            attempt_id: attempt(2),
            ..token
        },
    ];
    for token in forged {
        for call in calls(token) {
            let refused = house.writing_nothing(house.word(&id, call.clone())).await;
            assert_eq!(refused, "LEASE_LOST", "{call:?}");
        }
    }
    // A policy that is not the record's gives no other retention: the record's own counts.
    let other = Token {
        policy_id: policy(hold()).id(),
        ..token
    };
    assert_eq!(house.word(&id, complete(other, "r")).await, "stored");
    let expires_at = house.standing(&id).await.settled().unwrap().expires_at;
    assert_eq!(expires_at, at(0) + RETENTION);
}

pub async fn a_refusal_names_the_current_fence(house: House) {
    let (id, first, second) = superseded(&house, "k").await;
    let current_fence = second.fence;
    let lost = Err(LaneError::Refused(Refusal::LeaseLost { current_fence }));
    assert_eq!(house.call(&id, complete(first, "r")).await, lost);
    house.word(&id, complete(second, "r")).await;
    let conflict = Err(LaneError::Refused(Refusal::ResultConflict {
        current_fence,
    }));
    assert_eq!(house.call(&id, complete(second, "x")).await, conflict);
    let as_what = "completed";
    let settled = Err(LaneError::Refused(Refusal::AlreadySettled {
        current_fence,
        as_what,
    }));
    assert_eq!(house.call(&id, retryable(second)).await, settled);
}

pub async fn a_settlement_of_one_key_touches_no_other(house: House) {
    // One attempt id for three keys, claimed at one time: the tokens are the same but for the key.
    let ids = neighbours();
    let mut tokens = Vec::new();
    for id in &ids {
        tokens.push(house.claimed(id, 1).await.token);
    }
    assert_eq!(tokens[0], tokens[1]);
    house.word(&ids[0], complete(tokens[0], "r")).await;
    assert_eq!(house.lookup_word(&ids[1]).await, "in progress");
    assert_eq!(house.lookup_word(&ids[2]).await, "in progress");
}
