//! The contract's errors as they stand on the wire: code, reason, domain, what they tell.

use semel_proto::v1::{self, FailureKind};
use tonic::Code;

use crate::support::*;

/// Leases that lapse, so that others can take over.
const SHORT: &str = r#"
[namespaces.orders]
default_lease = "1ms"
"#;

/// Every holder's call with this token.
fn of_a_holder(key: &str, token: &[u8]) -> [Call; 4] {
    [
        complete(key, token, b"late").into(),
        fail(key, token, FailureKind::Retryable).into(),
        extend(key, token).into(),
        checkpoint(key, token, b"late").into(),
    ]
}

#[track_caller]
fn names_the_key(told: &Told, key: &str) {
    assert_eq!(told.get("namespace"), Some(NAMESPACE), "{told:?}");
    assert_eq!(told.get("key"), Some(key), "{told:?}");
}

#[tokio::test]
async fn another_request_under_the_same_key_is_a_fingerprint_mismatch() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let print = |attempt, print: &'static [u8]| v1::ClaimRequest {
        fingerprint: print.into(),
        ..claim("k", attempt)
    };
    let granted = claimed(&mut client, print(1, b"one")).await;
    for when in ["in progress", "completed"] {
        let error = told(client.claim(print(2, b"two")).await);
        error.expect(Code::FailedPrecondition, "FINGERPRINT_MISMATCH");
        names_the_key(&error, "k");
        assert_eq!(error.get("differs"), Some("fingerprint"), "{when}");
        assert_eq!(error.retry_after, None);
        client
            .complete(complete("k", &granted.token, b"private"))
            .await
            .unwrap();
        assert!(!error.message.contains("private"));
    }
}

#[tokio::test]
async fn an_event_older_than_the_memory_is_refused_and_leaves_nothing() {
    let host = Host::start("[defaults]\nretention = \"1s\"").await;
    let mut client = host.client().await;
    let old = v1::ClaimRequest {
        event_time: Some(prost_types::Timestamp {
            seconds: 1_000_000_000,
            nanos: 0,
        }),
        ..claim("k", 1)
    };
    let error = told(client.claim(old.clone()).await);
    error.expect(Code::FailedPrecondition, "EVENT_TOO_OLD");
    names_the_key(&error, "k");
    assert_eq!(word(&mut client, "k").await, "absent");

    // An event that is known is no question of memory.
    claimed(&mut client, claim("k", 2)).await;
    let known = within(client.claim(old)).await;
    assert!(known.is_ok(), "{known:?}");
}

#[tokio::test]
async fn a_superseded_holder_is_told_the_current_fence_and_changes_nothing() {
    let host = Host::start(SHORT).await;
    let mut client = host.client().await;
    let first = claimed(&mut client, claim("k", 1)).await;
    let long = v1::ClaimRequest {
        lease: span(60, 0),
        ..claim("k", 2)
    };
    let second = until("the lease lapses", || {
        let (mut client, request) = (client.clone(), long.clone());
        async move {
            match outcome(&mut client, request).await {
                v1::claim_response::Outcome::Claimed(granted) => Some(granted),
                _ => None,
            }
        }
    })
    .await;
    assert!(second.fence > first.fence);
    let before = looked_up(&mut client, "k").await;
    for call in of_a_holder("k", &first.token) {
        let name = call.name();
        let error = told(call.send(&mut client).await);
        error.expect(Code::Aborted, "LEASE_LOST");
        names_the_key(&error, "k");
        let fence = second.fence.to_string();
        assert_eq!(error.get("current_fence"), Some(fence.as_str()), "{name}");
        let after = looked_up(&mut client, "k").await;
        assert_eq!(after.claimed_at, before.claimed_at, "{name}");
        assert_eq!(after.checkpoint, None, "{name}");
        assert!(matches!(
            after.outcome,
            Some(v1::lookup_response::Outcome::InProgress(_))
        ));
    }
    client
        .complete(complete("k", &second.token, b"mine"))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_attempt_that_failed_is_not_granted_again() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    let released = v1::FailRequest {
        retry_after: millis(0),
        ..fail("k", &granted.token, FailureKind::Retryable)
    };
    client.fail(released).await.unwrap();
    let error = told(client.claim(claim("k", 1)).await);
    error.expect(Code::Aborted, "SUPERSEDED");
    names_the_key(&error, "k");
    assert_eq!(
        error.get("current_fence"),
        Some(granted.fence.to_string().as_str())
    );
    assert_eq!(word(&mut client, "k").await, "backing off");
}

#[tokio::test]
async fn another_result_for_a_completed_claim_is_a_conflict_and_the_first_stands() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    client
        .complete(complete("k", &granted.token, b"first"))
        .await
        .unwrap();
    let error = told(
        client
            .complete(complete("k", &granted.token, b"second"))
            .await,
    );
    error.expect(Code::AlreadyExists, "RESULT_CONFLICT");
    names_the_key(&error, "k");
    assert_eq!(error.get("differs"), Some("result"));
    assert_eq!(
        error.get("current_fence"),
        Some(granted.fence.to_string().as_str())
    );
    let v1::lookup_response::Outcome::Completed(shown) = stands(&mut client, "k").await else {
        panic!("not completed")
    };
    assert_eq!(shown.result, &b"first"[..]);
}

#[tokio::test]
async fn a_settled_claim_is_not_settled_in_another_way() {
    let host = Host::start("[defaults]\nattempts = 1").await;
    let mut client = host.client().await;
    let settled_as = [
        ("completed", None),
        ("failed", Some(FailureKind::Terminal)),
        ("dead", Some(FailureKind::Retryable)),
    ];
    for (as_what, kind) in settled_as {
        let granted = claimed(&mut client, claim(as_what, 1)).await;
        let token = &granted.token;
        let (done, others): (Call, Vec<Call>) = match kind {
            None => (
                complete(as_what, token, b"r").into(),
                vec![
                    fail(as_what, token, FailureKind::Retryable).into(),
                    fail(as_what, token, FailureKind::Terminal).into(),
                    fail(as_what, token, FailureKind::Unknown).into(),
                ],
            ),
            Some(kind) => (
                fail(as_what, token, kind).into(),
                vec![
                    complete(as_what, token, b"r").into(),
                    fail(as_what, token, FailureKind::Unknown).into(),
                ],
            ),
        };
        done.send(&mut client).await.unwrap();
        let after: Vec<Call> = vec![
            extend(as_what, token).into(),
            checkpoint(as_what, token, b"c").into(),
        ];
        for call in others.into_iter().chain(after) {
            let name = call.name();
            let error = told(call.send(&mut client).await);
            error.expect(Code::AlreadyExists, "ALREADY_SETTLED");
            names_the_key(&error, as_what);
            assert_eq!(error.get("settled_as"), Some(as_what), "{name}");
            let fence = granted.fence.to_string();
            assert_eq!(error.get("current_fence"), Some(fence.as_str()), "{name}");
            assert_eq!(word(&mut client, as_what).await, as_what, "{name}");
        }
    }
}

#[tokio::test]
async fn a_claim_held_as_long_as_allowed_is_not_extended() {
    let host = Host::start(
        r#"
        [namespaces.orders]
        default_lease = "20ms"
        longest_lease = "20ms"
        longest_hold = "20ms"
        "#,
    )
    .await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    let error = until("the longest hold is over", || {
        let (mut client, request) = (client.clone(), extend("k", &granted.token));
        async move { client.extend(request).await.err() }
    })
    .await;
    let error = Told::of(&error);
    error.expect(Code::FailedPrecondition, "HOLD_LIMIT_REACHED");
    names_the_key(&error, "k");
    assert_eq!(
        error.get("current_fence"),
        Some(granted.fence.to_string().as_str())
    );
    // It may still say what came of it.
    client
        .complete(complete("k", &granted.token, b"late but done"))
        .await
        .unwrap();
}

#[tokio::test]
async fn nothing_but_a_claim_makes_a_key() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("other", 1)).await;
    let calls = of_a_holder("unknown", &granted.token);
    for call in calls.into_iter().chain([lookup("unknown").into()]) {
        let name = call.name();
        let error = told(call.send(&mut client).await);
        error.expect(Code::NotFound, "KEY_NOT_FOUND");
        names_the_key(&error, "unknown");
        assert_eq!(error.get("current_fence"), None, "{name}");
    }
    assert_eq!(word(&mut client, "unknown").await, "absent");
}
