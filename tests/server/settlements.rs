//! Holders' calls that are accepted, and what they answer.

use std::time::Duration;

use semel_proto::v1::{self, FailureKind, claim_response::Outcome, fail_response};

use crate::support::*;

#[tokio::test]
async fn a_completion_sent_again_is_a_repeat_with_the_first_ones_time() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    let request = complete("k", &granted.token, b"r");
    let first = client.complete(request.clone()).await.unwrap().into_inner();
    let again = client.complete(request).await.unwrap().into_inner();
    assert!(!first.repeat && again.repeat);
    assert_eq!(first.completed_at, again.completed_at);
    assert!(first.completed_at.is_some());
}

#[tokio::test]
async fn a_failure_says_what_the_key_became_and_sent_again_says_it_again() {
    let host = Host::start("[defaults]\nattempts = 2").await;
    let mut client = host.client().await;
    for (kind, expected) in [
        (FailureKind::Retryable, "backing off"),
        (FailureKind::Terminal, "failed"),
        (FailureKind::Unknown, "uncertain"),
    ] {
        let granted = claimed(&mut client, claim(expected, 1)).await;
        for repeat in [false, true] {
            let request = fail(expected, &granted.token, kind);
            let answer = client.fail(request).await.unwrap().into_inner();
            assert_eq!(answer.repeat, repeat, "{expected}");
            let became = match answer.outcome.expect("always set") {
                fail_response::Outcome::BackingOff(it) => (it.attempts, "backing off"),
                fail_response::Outcome::Failed(it) => (it.attempt, "failed"),
                fail_response::Outcome::Uncertain(it) => (it.attempts, "uncertain"),
                fail_response::Outcome::Dead(it) => (it.attempts, "dead"),
            };
            assert_eq!(became, (1, expected));
        }
    }
}

#[tokio::test]
async fn the_last_failure_of_all_attempts_answers_dead() {
    let host = Host::start("[defaults]\nattempts = 1").await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    for repeat in [false, true] {
        let request = fail("k", &granted.token, FailureKind::Retryable);
        let answer = client.fail(request).await.unwrap().into_inner();
        assert_eq!(answer.repeat, repeat);
        let Some(fail_response::Outcome::Dead(dead)) = answer.outcome else {
            panic!("not dead")
        };
        assert_eq!((dead.attempts, dead.fence), (1, granted.fence));
    }
}

#[tokio::test]
async fn a_caller_names_its_own_rest_to_the_longest_of_seven_days() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    let request = v1::FailRequest {
        retry_after: span(7 * 24 * 60 * 60, 0),
        ..fail("k", &granted.token, FailureKind::Retryable)
    };
    let answer = client.fail(request).await.unwrap().into_inner();
    let Some(fail_response::Outcome::BackingOff(rest)) = answer.outcome else {
        panic!("not backing off")
    };
    assert_eq!(length(rest.retry_after), week);
}

#[tokio::test]
async fn an_extension_moves_the_end_of_the_lease_and_never_back() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    let longer = v1::ExtendRequest {
        lease: span(600, 0),
        ..extend("k", &granted.token)
    };
    let answer = client.extend(longer).await.unwrap().into_inner();
    assert_eq!(length(answer.lease), Duration::from_secs(600));
    let hold = length(answer.hold);
    let day = Duration::from_secs(24 * 60 * 60);
    assert!(
        hold <= day && hold > day - Duration::from_secs(60),
        "{hold:?}"
    );
    // The default of 30 seconds would be shorter.
    let answer = client
        .extend(extend("k", &granted.token))
        .await
        .unwrap()
        .into_inner();
    let left = length(answer.lease);
    assert!(
        left > Duration::from_secs(500) && left <= Duration::from_secs(600),
        "{left:?}"
    );
}

#[tokio::test]
async fn the_last_checkpoint_wins() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    for saved in [&b"one"[..], b"two", &[0; 16 * 1024]] {
        client
            .checkpoint(checkpoint("k", &granted.token, saved))
            .await
            .unwrap();
        assert_eq!(
            looked_up(&mut client, "k").await.checkpoint.as_deref(),
            Some(saved)
        );
    }
}

#[tokio::test]
async fn a_wait_ends_with_the_settlement_wherever_it_came_in() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    let waiting = v1::ClaimRequest {
        wait: span(60, 0),
        ..claim("k", 2)
    };
    let mut other = host.client().await;
    let waiting = tokio::spawn(async move { outcome(&mut other, waiting).await });
    client
        .complete(complete("k", &granted.token, b"done"))
        .await
        .unwrap();
    let Outcome::Completed(shown) = within(waiting).await.unwrap() else {
        panic!("not completed")
    };
    assert_eq!(shown.result, &b"done"[..]);
}

#[tokio::test]
async fn of_all_that_wait_for_a_released_key_exactly_one_claims_it() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    let waiting: Vec<_> = (2..10)
        .map(|attempt| {
            let mut client = client.clone();
            let request = v1::ClaimRequest {
                wait: span(60, 0),
                ..claim("k", attempt)
            };
            tokio::spawn(async move {
                let outcome = outcome(&mut client, request).await;
                if let Outcome::Claimed(granted) = &outcome {
                    let request = complete("k", &granted.token, b"done");
                    client.complete(request).await.unwrap();
                }
                matches!(outcome, Outcome::Claimed(_))
            })
        })
        .collect();
    let released = v1::FailRequest {
        retry_after: millis(0),
        ..fail("k", &granted.token, FailureKind::Retryable)
    };
    client.fail(released).await.unwrap();
    let mut winners = 0;
    for waiting in waiting {
        winners += usize::from(within(waiting).await.unwrap());
    }
    assert_eq!(winners, 1);
}

#[tokio::test]
async fn an_empty_result_is_a_result() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    client
        .complete(complete("k", &granted.token, b""))
        .await
        .unwrap();
    let Outcome::Completed(shown) = outcome(&mut client, claim("k", 2)).await else {
        panic!("not completed")
    };
    assert!(shown.result.is_empty());
    let conflict = told(client.complete(complete("k", &granted.token, b"x")).await);
    assert_eq!(conflict.reason, "RESULT_CONFLICT");
}
