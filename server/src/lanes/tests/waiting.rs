//! Claims that wait.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::*;

const LONG: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(10);

fn wait_for(
    house: &House,
    key: &'static str,
    attempt: u8,
    wait: Duration,
) -> tokio::task::JoinHandle<Result<ClaimReply, LaneError>> {
    let (lanes, claim) = (house.lanes.clone(), house.claim(attempt));
    tokio::spawn(async move {
        lanes
            .claim(
                id(key),
                claim,
                Some(Wait {
                    until: Instant::now() + wait,
                }),
            )
            .await
    })
}

async fn until_waiting(house: &House, count: usize) {
    until(|| house.lanes.waiters.count() == count).await;
}

#[tokio::test]
async fn a_waiter_is_handed_the_result_when_the_holder_completes() {
    let house = house(LaneSettings::default()).await;
    let grant = house.claimed("k", 1).await;
    let waiter = wait_for(&house, "k", 2, LONG);
    until_waiting(&house, 1).await;
    house
        .lanes
        .call(id("k"), complete(grant.token, "r"))
        .await
        .unwrap();
    let reply = timeout(SOON, waiter).await.unwrap().unwrap().unwrap();
    assert!(
        matches!(reply, ClaimReply::Standing(Outcome::Completed { .. })),
        "{reply:?}"
    );
    assert_eq!(house.lanes.waiters.count(), 0);
}

#[tokio::test]
async fn after_a_release_exactly_one_waiter_claims() {
    let house = house(LaneSettings::default()).await;
    let grant = house.claimed("k", 1).await;
    let waiters: Vec<_> = (2..12).map(|n| wait_for(&house, "k", n, LONG)).collect();
    until_waiting(&house, 10).await;
    house
        .lanes
        .call(id("k"), release(grant.token))
        .await
        .unwrap();

    let (done, mut claimed) = mpsc::unbounded_channel();
    for waiter in waiters {
        let done = done.clone();
        tokio::spawn(async move { done.send(waiter.await.unwrap().unwrap()) });
    }
    let ClaimReply::Claimed(second) = timeout(SOON, claimed.recv()).await.unwrap().unwrap() else {
        panic!("the first answer after a release is a claim")
    };
    assert_eq!(second.attempt, 2);
    // The other nine go on waiting until the new holder is done.
    until_waiting(&house, 9).await;
    house
        .lanes
        .call(id("k"), complete(second.token, "r"))
        .await
        .unwrap();
    for _ in 0..9 {
        let reply = timeout(SOON, claimed.recv()).await.unwrap().unwrap();
        assert!(
            matches!(reply, ClaimReply::Standing(Outcome::Completed { .. })),
            "{reply:?}"
        );
    }
}

#[tokio::test]
async fn a_wait_that_ends_early_answers_in_progress() {
    let house = house(LaneSettings::default()).await;
    house.claimed("k", 1).await;
    let reply = wait_for(&house, "k", 2, Duration::from_millis(30))
        .await
        .unwrap()
        .unwrap();
    assert!(
        matches!(reply, ClaimReply::Standing(Outcome::InProgress { .. })),
        "{reply:?}"
    );
}

#[tokio::test]
async fn a_waiter_takes_over_when_the_lease_lapses() {
    let house = house(LaneSettings::default()).await;
    house.claimed("k", 1).await;
    let waiter = wait_for(&house, "k", 2, LONG);
    until_waiting(&house, 1).await;
    house.clock.advance(Span::from_secs(31));
    let reply = timeout(SOON, waiter).await.unwrap().unwrap().unwrap();
    assert!(
        matches!(reply, ClaimReply::Claimed(ClaimGrant { attempt: 2, .. })),
        "{reply:?}"
    );
}

#[tokio::test]
async fn a_waiter_that_leaves_loses_nothing_and_frees_its_place() {
    let house = house(LaneSettings::default()).await;
    let grant = house.claimed("k", 1).await;
    let waiter = wait_for(&house, "k", 2, LONG);
    until_waiting(&house, 1).await;
    waiter.abort();
    assert!(waiter.await.unwrap_err().is_cancelled());
    assert_eq!(house.lanes.waiters.count(), 0);
    house
        .lanes
        .call(id("k"), release(grant.token))
        .await
        .unwrap();
    assert_eq!(house.claimed("k", 3).await.attempt, 2);
}

#[tokio::test]
async fn where_all_places_are_taken_a_claim_answers_at_once() {
    let house = house(LaneSettings {
        waiters: 1,
        ..LaneSettings::default()
    })
    .await;
    let grant = house.claimed("k", 1).await;
    let first = wait_for(&house, "k", 2, LONG);
    until_waiting(&house, 1).await;
    let reply = timeout(SOON, wait_for(&house, "k", 3, LONG))
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(
        matches!(reply, ClaimReply::Standing(Outcome::InProgress { .. })),
        "{reply:?}"
    );
    house
        .lanes
        .call(id("k"), complete(grant.token, "r"))
        .await
        .unwrap();
    first.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_ends_every_wait_with_what_stands() {
    let house = house(LaneSettings::default()).await;
    house.claimed("k", 1).await;
    let waiter = wait_for(&house, "k", 2, LONG);
    until_waiting(&house, 1).await;
    house.lanes.release_waiters();
    let reply = timeout(SOON, waiter).await.unwrap().unwrap().unwrap();
    assert!(
        matches!(reply, ClaimReply::Standing(Outcome::InProgress { .. })),
        "{reply:?}"
    );
}
