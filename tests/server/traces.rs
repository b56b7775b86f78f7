//! The caller's traceparent: kept with the claim and shown to duplicates.

use semel_proto::v1::{self, FailureKind, claim_response::Outcome};
use tonic::{Request, metadata::MetadataValue};

use crate::support::*;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn traced(request: v1::ClaimRequest, traceparent: &str) -> Request<v1::ClaimRequest> {
    let mut request = Request::new(request);
    let value = MetadataValue::try_from(traceparent).expect("visible characters");
    request.metadata_mut().insert("traceparent", value);
    request
}

async fn traceparent_of(client: &mut Client, key: &str) -> String {
    match outcome(client, claim(key, 99)).await {
        Outcome::InProgress(it) => it.traceparent,
        Outcome::Completed(it) => it.traceparent,
        Outcome::Failed(it) => it.traceparent,
        Outcome::Dead(it) => it.traceparent,
        Outcome::Uncertain(it) => it.traceparent,
        other => panic!("has none: {other:?}"),
    }
}

#[tokio::test]
async fn duplicates_are_given_the_originals_trace_in_every_state() {
    let host = Host::start("[defaults]\nattempts = 1").await;
    let mut client = host.client().await;
    for (key, kind) in [
        ("completed", None),
        ("failed", Some(FailureKind::Terminal)),
        ("dead", Some(FailureKind::Retryable)),
        ("uncertain", Some(FailureKind::Unknown)),
    ] {
        let answer = client
            .claim(traced(claim(key, 1), TRACE))
            .await
            .unwrap()
            .into_inner();
        let Some(Outcome::Claimed(granted)) = answer.outcome else {
            panic!("not claimed")
        };
        assert_eq!(traceparent_of(&mut client, key).await, TRACE, "in progress");
        settle(&mut client, key, &granted.token, kind).await;
        assert_eq!(word(&mut client, key).await, key);
        assert_eq!(traceparent_of(&mut client, key).await, TRACE, "{key}");
    }
}

#[tokio::test]
async fn a_missing_or_malformed_trace_never_fails_a_claim() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    claimed(&mut client, claim("none", 1)).await;
    assert_eq!(traceparent_of(&mut client, "none").await, "");
    let long = "0".repeat(129);
    for (n, bad) in ["not a trace", "'; drop table records", &long]
        .iter()
        .enumerate()
    {
        let key = format!("bad-{n}");
        client.claim(traced(claim(&key, 1), bad)).await.unwrap();
        assert_eq!(traceparent_of(&mut client, &key).await, "", "{bad}");
    }
}

#[tokio::test]
async fn the_next_attempts_trace_takes_the_place_of_the_last_ones() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let answer = client
        .claim(traced(claim("k", 1), TRACE))
        .await
        .unwrap()
        .into_inner();
    let Some(Outcome::Claimed(granted)) = answer.outcome else {
        panic!("not claimed")
    };
    let released = v1::FailRequest {
        retry_after: millis(0),
        ..fail("k", &granted.token, FailureKind::Retryable)
    };
    client.fail(released).await.unwrap();
    let next = TRACE.replace("4bf9", "0000");
    client.claim(traced(claim("k", 2), &next)).await.unwrap();
    assert_eq!(traceparent_of(&mut client, "k").await, next);
}
