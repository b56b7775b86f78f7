//! Only the store's clock decides, wherever it goes.

use super::*;

semel_tests::cases!(clock:
    fences_increase_when_the_clock_stands_still,
    fences_increase_when_the_clock_goes_back,
    fences_increase_over_a_new_life_when_the_clock_goes_back,
    a_clock_that_went_back_makes_a_lease_longer_and_never_shorter,
    a_clock_that_went_back_after_a_settlement_changes_no_outcome,
    a_lease_lapses_by_the_stores_clock_and_not_by_time_that_passes_here,
    all_times_of_an_answer_are_the_stores,
);

pub async fn fences_increase_when_the_clock_stands_still(house: House) {
    let id = order("k");
    let mut last = None;
    for n in 1..=3 {
        let token = house.claimed(&id, n).await.token;
        assert!(Some(token.fence) > last, "attempt {n}");
        last = Some(token.fence);
        house.word(&id, retry_after(token, Span::ZERO)).await;
    }
}

pub async fn fences_increase_when_the_clock_goes_back(house: House) {
    let id = order("k");
    let first = house.claimed(&id, 1).await.token;
    house.word(&id, retry_after(first, Span::ZERO)).await;
    house.clock.set(at(-1_000));
    // The rest counts from the time of the failure: the key is not free before.
    assert_eq!(house.claim_word(&id, 2).await, "backing off");
    house.clock.set(at(0));
    let second = house.claimed(&id, 2).await.token;
    assert_eq!(second.fence.as_i64(), first.fence.as_i64() + 1);
}

pub async fn fences_increase_over_a_new_life_when_the_clock_goes_back(house: House) {
    let id = order("k");
    house.clock.set(at(2_000));
    let first = house.claimed(&id, 1).await.token;
    house.clock.set(at(100));
    house.word(&id, complete(first, "r")).await;
    // Forgotten by a clock that still is before the first claim.
    house.clock.set(at(1_100));
    let second = house.claimed(&id, 2).await;
    assert_eq!(second.attempt, 1);
    assert!(second.token.fence > first.fence);
}

pub async fn a_clock_that_went_back_makes_a_lease_longer_and_never_shorter(house: House) {
    let id = order("k");
    house.claimed(&id, 1).await;
    house.clock.set(at(-50));
    let Outcome::InProgress { lease, .. } = standing_of(house.claim(&id, 2).await) else {
        panic!("not in progress")
    };
    assert_eq!(lease, secs(60));
}

pub async fn a_clock_that_went_back_after_a_settlement_changes_no_outcome(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    house.word(&id, complete(token, "r")).await;
    house.clock.set(at(-5_000));
    assert_eq!(house.claim_word(&id, 2).await, "completed");
    assert_eq!(house.word(&id, complete(token, "r")).await, "repeat");
}

pub async fn a_lease_lapses_by_the_stores_clock_and_not_by_time_that_passes_here(house: House) {
    let id = order("k");
    let claim = Claim {
        lease: limits::LEASE_MIN,
        ..house.draft(&id, 1)
    };
    house.ask(&id, claim).await.unwrap();
    // More calls than a millisecond has room for.
    let started = std::time::Instant::now();
    while started.elapsed() < 20 * std::time::Duration::from(limits::LEASE_MIN) {
        assert_eq!(house.claim_word(&id, 2).await, "in progress");
    }
    house.clock.advance(limits::LEASE_MIN);
    assert_eq!(house.claim_word(&id, 2).await, "claimed");
}

pub async fn all_times_of_an_answer_are_the_stores(house: House) {
    // A store whose clock shows the year 1970.
    house.clock.set(Timestamp::from_micros(1_000_000));
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    assert_eq!(token.fence, Fence::from_i64(1_000_000));
    house.clock.set(Timestamp::from_micros(3_000_000));
    house.word(&id, complete(token, "r")).await;
    let (outcome, details) = house.look(&id).await;
    let time = Timestamp::from_micros(3_000_000);
    assert!(matches!(outcome, Outcome::Completed { completed_at, .. } if completed_at == time));
    assert_eq!(details.created_at, Timestamp::from_micros(1_000_000));
}
