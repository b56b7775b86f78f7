//! Fields of the calls that only a holder makes: what is refused, and that the claim stands.

use semel_proto::v1::{self, FailureKind, LookupResponse, lookup_response};

use crate::support::*;

const POLICY: &str = "[defaults]\nlargest_result_bytes = 1000";

/// What a Lookup shows, without what runs by itself.
fn without_time(mut shown: LookupResponse) -> LookupResponse {
    shown.retention = None;
    if let Some(lookup_response::Outcome::InProgress(it)) = &mut shown.outcome {
        it.lease = None;
        it.retry_after = None;
    }
    shown
}

/// Every call with a token.
fn all_with(token: &[u8]) -> Vec<Call> {
    vec![
        complete("k", token, b"r").into(),
        fail("k", token, FailureKind::Terminal).into(),
        extend("k", token).into(),
        checkpoint("k", token, b"c").into(),
    ]
}

/// Sends calls that have to be refused by their fields while a claim stands, and checks that it
/// goes on to stand as it did.
async fn are_refused(cases: impl FnOnce(&[u8]) -> Vec<(&'static str, Call)>) {
    let host = Host::start(POLICY).await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    client
        .checkpoint(checkpoint("k", &granted.token, b"saved"))
        .await
        .unwrap();
    let before = without_time(looked_up(&mut client, "k").await);
    for (field, call) in cases(&granted.token) {
        let name = call.name();
        told(call.send(&mut client).await).expect_field(field);
        let after = without_time(looked_up(&mut client, "k").await);
        assert_eq!(after, before, "{name} with a bad {field}");
    }
    let done = client
        .complete(complete("k", &granted.token, &[7; 1_000]))
        .await;
    assert!(!done.unwrap().into_inner().repeat);
}

#[tokio::test]
async fn a_malformed_token_is_refused_and_the_claim_stands() {
    are_refused(|token| {
        let mut other_version = token.to_vec();
        other_version[0] = 2;
        let longer = [token, &[0]].concat();
        let bad = [
            &[][..],
            &token[..token.len() - 1],
            &longer,
            &other_version,
            &[0xff; 33],
        ];
        let calls = bad.into_iter().flat_map(all_with);
        calls.map(|call| ("token", call)).collect()
    })
    .await;
}

#[tokio::test]
async fn an_oversized_result_is_refused_and_the_claim_stands() {
    are_refused(|token| {
        let failed = |kind, len: usize| v1::FailRequest {
            result: vec![1; len].into(),
            ..fail("k", token, kind)
        };
        vec![
            // Over the namespace's limit, and over everybody's.
            ("result", complete("k", token, &[1; 1_001]).into()),
            (
                "result",
                complete("k", token, &vec![1; 4 * 1024 * 1024 + 1]).into(),
            ),
            ("result", failed(FailureKind::Terminal, 1_001).into()),
            (
                "result",
                failed(FailureKind::Terminal, 4 * 1024 * 1024 + 1).into(),
            ),
        ]
    })
    .await;
}

#[tokio::test]
async fn a_failures_fields_have_to_fit_its_kind() {
    are_refused(|token| {
        let failed = |kind| fail("k", token, kind);
        let with = |kind: i32| v1::FailRequest {
            kind,
            ..failed(FailureKind::Unknown)
        };
        let resulting = |kind| v1::FailRequest {
            result: vec![1].into(),
            ..failed(kind)
        };
        let resting = |kind, retry_after| v1::FailRequest {
            retry_after,
            ..failed(kind)
        };
        let saying = |error: String| v1::FailRequest {
            error,
            ..failed(FailureKind::Unknown)
        };
        let retryable = FailureKind::Retryable;
        vec![
            ("kind", with(0).into()),
            ("kind", with(99).into()),
            ("kind", with(-1).into()),
            ("result", resulting(retryable).into()),
            ("result", resulting(FailureKind::Unknown).into()),
            (
                "retry_after",
                resting(FailureKind::Terminal, millis(1)).into(),
            ),
            (
                "retry_after",
                resting(FailureKind::Unknown, millis(0)).into(),
            ),
            ("retry_after", resting(retryable, span(-1, 0)).into()),
            ("retry_after", resting(retryable, span(0, -1)).into()),
            (
                "retry_after",
                resting(retryable, span(0, 1_000_000_000)).into(),
            ),
            (
                "retry_after",
                resting(retryable, span(7 * 86_400, 1_000)).into(),
            ),
            ("retry_after", resting(retryable, span(i64::MAX, 0)).into()),
            ("error", saying("e".repeat(4 * 1024 + 1)).into()),
            ("error", saying("a\0b".into()).into()),
        ]
    })
    .await;
}

#[tokio::test]
async fn an_extension_over_a_limit_is_refused_and_the_claim_stands() {
    are_refused(|token| {
        let leases = [
            span(0, 0),
            span(0, 999_000),
            span(-1, 0),
            span(0, -1),
            span(0, 1_000_000_000),
            span(900, 1_000),
            span(i64::MAX, 0),
        ];
        let calls = leases.map(|lease| v1::ExtendRequest {
            lease,
            ..extend("k", token)
        });
        calls
            .into_iter()
            .map(|call| ("lease", call.into()))
            .collect()
    })
    .await;
}

#[tokio::test]
async fn an_oversized_checkpoint_is_refused_and_the_last_one_stands() {
    are_refused(|token| {
        let large = vec![1; 16 * 1024 + 1];
        vec![("checkpoint", checkpoint("k", token, &large).into())]
    })
    .await;
}

#[tokio::test]
async fn the_largest_result_and_the_longest_error_are_accepted_and_given_back() {
    let host = Host::start("[defaults]\nlargest_result_bytes = 4194304").await;
    let mut client = host.client().await;
    let large = vec![0xa5; 4 * 1024 * 1024];
    let granted = claimed(&mut client, claim("done", 1)).await;
    within(client.complete(complete("done", &granted.token, &large)))
        .await
        .unwrap();
    let lookup_response::Outcome::Completed(shown) = stands(&mut client, "done").await else {
        panic!("not completed")
    };
    assert!(shown.result == large);

    let granted = claimed(&mut client, claim("failed", 1)).await;
    let request = v1::FailRequest {
        result: large.clone().into(),
        error: "e".repeat(4 * 1024),
        ..fail("failed", &granted.token, FailureKind::Terminal)
    };
    within(client.fail(request)).await.unwrap();
    let lookup_response::Outcome::Failed(shown) = stands(&mut client, "failed").await else {
        panic!("not failed")
    };
    assert!(shown.result == large);
    assert_eq!(shown.error.len(), 4 * 1024);
}
