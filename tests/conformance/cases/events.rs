//! Event time: "never seen" must not be mistaken for "forgotten".

use super::*;

semel_tests::cases!(events:
    an_event_younger_than_the_retention_is_claimed,
    an_event_as_old_as_the_retention_is_too_old,
    an_event_from_the_future_is_claimed,
    an_old_event_whose_key_stands_is_answered_with_what_stands,
    an_old_event_whose_key_is_forgotten_is_too_old_purged_or_not,
    an_event_that_grows_old_while_its_key_is_in_progress_can_be_taken_over,
    an_event_that_was_too_old_stays_so_after_the_clock_went_on,
    without_an_event_time_nothing_is_too_old,
);

async fn event(server: &Server, id: &KeyId, n: u128, time: Timestamp) -> &'static str {
    let claim = Claim {
        event_time: Some(time),
        ..server.draft(id, n)
    };
    word(&server.ask(id, claim).await)
}

pub async fn an_event_younger_than_the_retention_is_claimed(house: House) {
    assert_eq!(
        event(&house, &order("k"), 1, at(-1_000) + TICK).await,
        "claimed"
    );
}

pub async fn an_event_as_old_as_the_retention_is_too_old(house: House) {
    let id = order("k");
    let refused = house
        .writing_nothing(event(&house, &id, 1, at(-1_000)))
        .await;
    assert_eq!(refused, "EVENT_TOO_OLD");
    assert_eq!(house.record(&id).await, None);
}

pub async fn an_event_from_the_future_is_claimed(house: House) {
    assert_eq!(event(&house, &order("a"), 1, at(86_400)).await, "claimed");
    assert_eq!(
        event(&house, &order("b"), 1, Timestamp::MAX).await,
        "claimed"
    );
    assert_eq!(
        event(&house, &order("c"), 1, Timestamp::MIN).await,
        "EVENT_TOO_OLD"
    );
}

pub async fn an_old_event_whose_key_stands_is_answered_with_what_stands(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    assert_eq!(event(&house, &id, 2, at(-9_999)).await, "in progress");
    house.word(&id, complete(token, "r")).await;
    assert_eq!(event(&house, &id, 2, at(-9_999)).await, "completed");
}

pub async fn an_old_event_whose_key_is_forgotten_is_too_old_purged_or_not(house: House) {
    let ids = [order("a"), order("b")];
    for id in &ids {
        assert_eq!(event(&house, id, 1, at(0)).await, "claimed");
        let token = house.standing(id).await.token();
        house.word(id, complete(token, "r")).await;
    }
    house.clock.set(at(5_000));
    assert_eq!(event(&house, &ids[0], 2, at(0)).await, "EVENT_TOO_OLD");
    assert_eq!(house.purge().await, 2);
    assert_eq!(event(&house, &ids[1], 2, at(0)).await, "EVENT_TOO_OLD");
}

pub async fn an_event_that_grows_old_while_its_key_is_in_progress_can_be_taken_over(house: House) {
    let id = order("k");
    assert_eq!(event(&house, &id, 1, at(0)).await, "claimed");
    house.clock.set(at(5_000));
    assert_eq!(event(&house, &id, 2, at(0)).await, "claimed");
    assert_eq!(house.standing(&id).await.attempt, 2);
}

pub async fn an_event_that_was_too_old_stays_so_after_the_clock_went_on(house: House) {
    for step in 0..5 {
        house.clock.set(at(1_001 + step));
        assert_eq!(event(&house, &order("k"), 1, at(0)).await, "EVENT_TOO_OLD");
    }
}

pub async fn without_an_event_time_nothing_is_too_old(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    house.word(&id, complete(token, "r")).await;
    house.clock.set(at(1_000_000));
    assert_eq!(house.claim_word(&id, 2).await, "claimed");
}
