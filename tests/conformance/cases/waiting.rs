//! Claims that wait while the key is in progress, on this server and on another.

use std::time::Duration;

use semel_server::lanes::Wait;
use tokio::time::Instant;

use super::*;

semel_tests::cases!(waiting:
    a_waiter_gets_the_result_of_a_completion_through_its_own_server,
    a_waiter_gets_the_result_of_a_completion_through_another_server,
    a_waiter_gets_the_failure_of_its_holder,
    a_waiter_learns_that_the_key_is_uncertain,
    after_a_release_exactly_one_waiter_on_two_servers_claims,
    a_waiter_takes_over_when_the_lease_lapses,
    a_waiter_on_money_learns_of_the_lapse,
    a_wait_that_ends_early_answers_in_progress,
    a_waiter_that_leaves_loses_nothing,
    what_is_settled_is_answered_without_waiting,
);

/// Lets the waiter look at least once: it stands in the line when its first Claim was answered.
async fn settle_down(server: &Server) {
    // Another key's Claim behind it in every lane.
    for id in orders("barrier", 40) {
        server.claim(&id, 1).await.expect("answers");
    }
}

async fn answer(waiter: tokio::task::JoinHandle<Answer>) -> Answer {
    within(waiter).await.expect("no panic")
}

async fn result(waiter: tokio::task::JoinHandle<Answer>) -> Bytes {
    match standing_of(answer(waiter).await) {
        Outcome::Completed { result, .. } | Outcome::Failed { result, .. } => result,
        other => panic!("no result: {other:?}"),
    }
}

pub async fn a_waiter_gets_the_result_of_a_completion_through_its_own_server(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    let waiters: Vec<_> = (2..6).map(|n| house.waits(&id, n)).collect();
    settle_down(&house).await;
    assert!(
        waiters.iter().all(|waiter| !waiter.is_finished()),
        "one did not wait"
    );
    house.word(&id, complete(token, "r")).await;
    for waiter in waiters {
        assert_eq!(result(waiter).await, "r");
    }
}

pub async fn a_waiter_gets_the_result_of_a_completion_through_another_server(house: House) {
    let other = house.another_server().await;
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    let waiter = house.waits(&id, 2);
    settle_down(&house).await;
    other.word(&id, complete(token, "r")).await;
    assert_eq!(result(waiter).await, "r");
}

pub async fn a_waiter_gets_the_failure_of_its_holder(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    let waiter = house.waits(&id, 2);
    settle_down(&house).await;
    house.word(&id, terminal(token, "declined")).await;
    assert_eq!(result(waiter).await, "declined");
}

pub async fn a_waiter_learns_that_the_key_is_uncertain(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    let waiter = house.waits(&id, 2);
    settle_down(&house).await;
    house.word(&id, unknown(token)).await;
    assert_eq!(word(&answer(waiter).await), "uncertain");
}

pub async fn after_a_release_exactly_one_waiter_on_two_servers_claims(house: House) {
    let other = house.another_server().await;
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    let waiters: Vec<_> = (2..12)
        .map(|n| {
            if n % 2 == 0 {
                house.waits(&id, n)
            } else {
                other.waits(&id, n)
            }
        })
        .collect();
    settle_down(&house).await;
    house.word(&id, retry_after(token, Span::ZERO)).await;

    // The one that claims settles, and only then the others are answered.
    let (done, mut answers) = tokio::sync::mpsc::unbounded_channel();
    for waiter in waiters {
        let done = done.clone();
        tokio::spawn(async move { done.send(answer(waiter).await) });
    }
    let second = grant_of(within(answers.recv()).await.expect("an answer"));
    assert_eq!(second.attempt, 2);
    assert_eq!(other.word(&id, complete(second.token, "r")).await, "stored");
    for _ in 0..9 {
        let replayed = within(answers.recv()).await.expect("an answer");
        assert_eq!(word(&replayed), "completed");
    }
}

pub async fn a_waiter_takes_over_when_the_lease_lapses(house: House) {
    let id = order("k");
    let first = house.claimed(&id, 1).await.token;
    let waiter = house.waits(&id, 2);
    settle_down(&house).await;
    house.clock.advance(LEASE);
    let second = grant_of(answer(waiter).await);
    assert_eq!(
        (second.attempt, second.token.fence > first.fence),
        (2, true)
    );
}

pub async fn a_waiter_on_money_learns_of_the_lapse(house: House) {
    let id = money("k");
    house.claimed(&id, 1).await;
    let waiter = house.waits(&id, 2);
    settle_down(&house).await;
    house.clock.advance(LEASE);
    assert_eq!(word(&answer(waiter).await), "uncertain");
}

pub async fn a_wait_that_ends_early_answers_in_progress(house: House) {
    let id = order("k");
    house.claimed(&id, 1).await;
    for millis in [0, 1, 30] {
        let wait = Wait {
            until: Instant::now() + Duration::from_millis(millis),
        };
        let reply = within(
            house
                .lanes
                .claim(id.clone(), house.draft(&id, 2), Some(wait)),
        )
        .await;
        assert_eq!(word(&reply.map(Reply::Claim)), "in progress", "{millis} ms");
    }
}

pub async fn a_waiter_that_leaves_loses_nothing(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    let waiter = house.waits(&id, 2);
    settle_down(&house).await;
    waiter.abort();
    assert!(waiter.await.expect_err("it was aborted").is_cancelled());
    house.word(&id, retry_after(token, Span::ZERO)).await;
    // Its attempt id is as good as any: the claim was never granted to it.
    assert_eq!(house.claimed(&id, 2).await.attempt, 2);
}

pub async fn what_is_settled_is_answered_without_waiting(house: House) {
    let id = order("k");
    let token = house.claimed(&id, 1).await.token;
    house.word(&id, retryable(token)).await;
    // Backing off is no progress that could be waited for.
    assert_eq!(word(&answer(house.waits(&id, 2)).await), "backing off");
    house.clock.advance(BACKOFF);
    let second = grant_of(answer(house.waits(&id, 2)).await);
    house.word(&id, complete(second.token, "r")).await;
    assert_eq!(result(house.waits(&id, 3)).await, "r");
    assert_eq!(
        grant_of(answer(house.waits(&order("absent"), 1)).await).attempt,
        1
    );
}
