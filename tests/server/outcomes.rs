//! What a Claim and a Lookup answer, state by state.

use std::time::Duration;

use semel_proto::v1::{self, FailureKind, claim_response::Outcome, lookup_response};

use crate::support::*;

const NAMESPACES: &str = r#"
[namespaces.orders]
backoff_initial = "40s"
backoff_jitter = 0
attempts = 2
"#;

#[tokio::test]
async fn a_first_claim_is_granted_with_token_fence_attempt_and_lease() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let request = v1::ClaimRequest {
        lease: millis(10_000),
        ..claim("k", 1)
    };
    let granted = claimed(&mut client, request).await;
    assert!((1..=64).contains(&granted.token.len()));
    assert!(granted.fence > 0);
    assert_eq!(granted.attempt, 1);
    assert_eq!(granted.checkpoint, None);
    assert_eq!(granted.last_error, "");
    assert_eq!(length(granted.lease), Duration::from_secs(10));
    let granted = claimed(&mut client, claim("other", 1)).await;
    assert_eq!(
        length(granted.lease),
        Duration::from_secs(30),
        "the default"
    );
}

#[tokio::test]
async fn the_same_claim_again_gets_the_same_token_and_what_is_left_of_the_lease() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let first = claimed(&mut client, claim("k", 1)).await;
    let again = claimed(&mut host.client().await, claim("k", 1)).await;
    assert_eq!(again.token, first.token);
    assert_eq!(again.fence, first.fence);
    assert_eq!(again.attempt, 1);
    assert!(length(again.lease) < length(first.lease));
}

#[tokio::test]
async fn a_key_in_progress_shows_its_holder_and_when_to_come_again() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    let Outcome::InProgress(shown) = outcome(&mut client, claim("k", 2)).await else {
        panic!("not in progress")
    };
    assert_eq!(shown.owner, "worker-1");
    assert_eq!((shown.fence, shown.attempt), (granted.fence, 1));
    assert!(length(shown.lease) <= Duration::from_secs(30));
    let sensible = Duration::from_millis(10)..=Duration::from_secs(1);
    assert!(sensible.contains(&length(shown.retry_after)));
}

#[tokio::test]
async fn a_lookup_shows_all_that_is_known_of_a_key_in_progress() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let request = v1::ClaimRequest {
        fingerprint: vec![0xfe; 64].into(),
        ..claim("k", 1)
    };
    claimed(&mut client, request).await;
    let shown = looked_up(&mut client, "k").await;
    assert!(matches!(
        shown.outcome,
        Some(lookup_response::Outcome::InProgress(_))
    ));
    assert_eq!(shown.owner, "worker-1");
    assert_eq!(shown.fingerprint, vec![0xfe; 64]);
    assert_eq!(shown.created_at, shown.claimed_at);
    assert!(
        shown
            .created_at
            .is_some_and(|at| at.seconds > 1_700_000_000)
    );
    assert_eq!(shown.retention, None, "it has no end yet");
    assert_eq!(shown.checkpoint, None);
    assert_eq!(shown.delivery, None);
}

#[tokio::test]
async fn a_completed_key_gives_its_result_to_every_later_claim_byte_for_byte() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    let result: Vec<u8> = (0..=255).collect();
    let request = complete("k", &granted.token, &result);
    let completed = client.complete(request).await.unwrap().into_inner();
    assert!(!completed.repeat);
    for attempt in [1, 2, 3] {
        let Outcome::Completed(shown) = outcome(&mut client, claim("k", attempt)).await else {
            panic!("not completed")
        };
        assert_eq!(shown.result, result);
        assert_eq!(shown.completed_at, completed.completed_at);
        assert_eq!((shown.fence, shown.attempt), (granted.fence, 1));
    }
    let shown = looked_up(&mut client, "k").await;
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    let left = length(shown.retention);
    assert!(
        left <= week && left > week - Duration::from_secs(60),
        "{left:?}"
    );
}

#[tokio::test]
async fn a_failed_attempt_rests_and_hands_error_and_checkpoint_to_the_next() {
    let host = Host::start(NAMESPACES).await;
    let mut client = host.client().await;
    let first = claimed(&mut client, claim("k", 1)).await;
    client
        .checkpoint(checkpoint("k", &first.token, b"page 7"))
        .await
        .unwrap();
    let request = fail("k", &first.token, FailureKind::Retryable);
    let answer = client.fail(request).await.unwrap().into_inner();
    assert!(!answer.repeat);
    let Outcome::BackingOff(shown) = outcome(&mut client, claim("k", 2)).await else {
        panic!("not backing off")
    };
    assert_eq!((shown.attempts, shown.last_error.as_str()), (1, "boom"));
    let rest = length(shown.retry_after);
    assert!(
        rest > Duration::ZERO && rest <= Duration::from_secs(40),
        "{rest:?}"
    );

    let second = claimed(&mut client, claim("free", 1)).await;
    client
        .checkpoint(checkpoint("free", &second.token, b"page 8"))
        .await
        .unwrap();
    let at_once = v1::FailRequest {
        retry_after: millis(0),
        ..fail("free", &second.token, FailureKind::Retryable)
    };
    client.fail(at_once).await.unwrap();
    let lookup_response::Outcome::BackingOff(shown) = stands(&mut client, "free").await else {
        panic!("not backing off")
    };
    assert_eq!(
        length(shown.retry_after),
        Duration::ZERO,
        "it can be claimed now"
    );
    let third = claimed(&mut client, claim("free", 2)).await;
    assert_eq!(third.attempt, 2);
    assert!(third.fence > second.fence);
    assert_eq!(third.checkpoint.as_deref(), Some(&b"page 8"[..]));
    assert_eq!(third.last_error, "boom");
}

#[tokio::test]
async fn an_empty_checkpoint_is_told_from_none() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    for (key, saved) in [("none", None), ("empty", Some(&b""[..]))] {
        let first = claimed(&mut client, claim(key, 1)).await;
        if let Some(saved) = saved {
            client
                .checkpoint(checkpoint(key, &first.token, saved))
                .await
                .unwrap();
        }
        assert_eq!(
            looked_up(&mut client, key).await.checkpoint.as_deref(),
            saved,
            "{key}"
        );
        let at_once = v1::FailRequest {
            retry_after: millis(0),
            ..fail(key, &first.token, FailureKind::Retryable)
        };
        client.fail(at_once).await.unwrap();
        let second = claimed(&mut client, claim(key, 2)).await;
        assert_eq!(second.checkpoint.as_deref(), saved, "{key}");
    }
}

#[tokio::test]
async fn a_terminal_failure_is_replayed_with_its_result() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    let request = v1::FailRequest {
        result: b"card declined".to_vec().into(),
        ..fail("k", &granted.token, FailureKind::Terminal)
    };
    client.fail(request).await.unwrap();
    let Outcome::Failed(shown) = outcome(&mut client, claim("k", 2)).await else {
        panic!("not failed")
    };
    assert_eq!(shown.result, &b"card declined"[..]);
    assert_eq!((shown.error.as_str(), shown.attempt), ("boom", 1));
    assert_eq!(shown.fence, granted.fence);
    assert!(shown.failed_at.is_some());
}

#[tokio::test]
async fn a_key_whose_attempts_are_used_up_is_dead() {
    let host = Host::start(NAMESPACES).await;
    let mut client = host.client().await;
    for attempt in [1, 2] {
        let granted = claimed(&mut client, claim("k", attempt)).await;
        let request = v1::FailRequest {
            retry_after: millis(0),
            ..fail("k", &granted.token, FailureKind::Retryable)
        };
        client.fail(request).await.unwrap();
    }
    let Outcome::Dead(shown) = outcome(&mut client, claim("k", 3)).await else {
        panic!("not dead")
    };
    assert_eq!((shown.attempts, shown.last_error.as_str()), (2, "boom"));
    assert!(shown.dead_at.is_some());
    assert_eq!(word(&mut client, "k").await, "dead");
}

#[tokio::test]
async fn a_holder_that_does_not_know_leaves_the_key_uncertain() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    let request = fail("k", &granted.token, FailureKind::Unknown);
    client.fail(request).await.unwrap();
    let Outcome::Uncertain(shown) = outcome(&mut client, claim("k", 2)).await else {
        panic!("not uncertain")
    };
    assert_eq!(
        (shown.owner.as_str(), shown.last_error.as_str()),
        ("worker-1", "boom")
    );
    assert_eq!((shown.fence, shown.attempts), (granted.fence, 1));
    assert!(shown.uncertain_since.is_some());
    client
        .complete(complete("k", &granted.token, b"it was done"))
        .await
        .unwrap();
    assert_eq!(word(&mut client, "k").await, "completed");
}

#[tokio::test]
async fn keys_are_told_apart_by_byte_and_by_namespace() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    for key in [
        "a",
        "A",
        "a ",
        "\u{e9}",
        "e\u{301}",
        "日本",
        "a/b?c=d&e#f",
        "'; --",
    ] {
        let granted = claimed(&mut client, claim(key, 1)).await;
        assert_eq!(granted.attempt, 1, "{key}");
        client
            .complete(complete(key, &granted.token, key.as_bytes()))
            .await
            .unwrap();
    }
    let elsewhere = v1::ClaimRequest {
        namespace: "elsewhere".into(),
        ..claim("a", 2)
    };
    claimed(&mut client, elsewhere).await;
    let Outcome::Completed(shown) = outcome(&mut client, claim("e\u{301}", 2)).await else {
        panic!("not completed")
    };
    assert_eq!(shown.result, "e\u{301}".as_bytes());
}
