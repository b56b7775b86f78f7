//! Fields that every request has, and those of a Claim: what is refused, and that nothing came of it.

use semel_proto::v1::{self, FailureKind};
use tonic::Code;

use crate::support::*;

/// Every call, for this namespace and key.
fn all(namespace: &str, key: &str) -> Vec<Call> {
    let token = [1; 33];
    let namespace = || namespace.to_owned();
    vec![
        v1::ClaimRequest {
            namespace: namespace(),
            ..claim(key, 1)
        }
        .into(),
        v1::CompleteRequest {
            namespace: namespace(),
            ..complete(key, &token, b"")
        }
        .into(),
        v1::FailRequest {
            namespace: namespace(),
            ..fail(key, &token, FailureKind::Retryable)
        }
        .into(),
        v1::LookupRequest {
            namespace: namespace(),
            ..lookup(key)
        }
        .into(),
        v1::ExtendRequest {
            namespace: namespace(),
            ..extend(key, &token)
        }
        .into(),
        v1::CheckpointRequest {
            namespace: namespace(),
            ..checkpoint(key, &token, b"")
        }
        .into(),
    ]
}

#[tokio::test]
async fn every_call_refuses_a_malformed_namespace_and_names_it() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    for bad in [
        "",
        "UPPER",
        "a b",
        "a/b",
        "é",
        "a\n",
        "a\0",
        "*",
        &"n".repeat(65),
    ] {
        for call in all(bad, "k") {
            let name = call.name();
            let error = told(call.send(&mut client).await);
            error.expect_field("namespace");
            assert_eq!(error.get("key"), None, "{name} {bad:?}");
        }
    }
}

#[tokio::test]
async fn every_call_refuses_a_malformed_key_and_names_it() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let (long, wide) = ("k".repeat(256), "é".repeat(128));
    for bad in ["", "a\nb", "a\0", "\u{7f}", "\u{85}", &long, &wide] {
        for call in all("orders", bad) {
            told(call.send(&mut client).await).expect_field("key");
        }
    }
}

#[tokio::test]
async fn names_at_their_limits_are_accepted() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let namespaces = ["a", "0.9_z-", &"n".repeat(64)].map(str::to_owned);
    let keys = [" ".to_owned(), "k".repeat(255), "é".repeat(127)];
    for namespace in &namespaces {
        for key in &keys {
            let request = v1::ClaimRequest {
                namespace: namespace.clone(),
                ..claim(key, 1)
            };
            let granted = claimed(&mut client, request).await;
            let done = v1::CompleteRequest {
                namespace: namespace.clone(),
                ..complete(key, &granted.token, key.as_bytes())
            };
            client.complete(done).await.unwrap();
        }
    }
}

fn header(name: &str, value: usize) -> v1::Header {
    v1::Header {
        name: name.into(),
        value: vec![b'v'; value].into(),
    }
}

fn delivered(headers: Vec<v1::Header>, body: usize) -> Option<v1::Delivery> {
    Some(v1::Delivery {
        headers,
        body: vec![b'b'; body].into(),
    })
}

#[tokio::test]
async fn a_claim_over_a_limit_is_refused_by_its_field_and_leaves_nothing() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let ok = || claim("k", 1);
    let time = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let mut cases: Vec<(&str, v1::ClaimRequest)> = Vec::new();
    for id in [vec![], vec![1; 15], vec![1; 17], vec![0; 16]] {
        cases.push((
            "attempt_id",
            v1::ClaimRequest {
                attempt_id: id.into(),
                ..ok()
            },
        ));
    }
    let fingerprint = vec![1; 65].into();
    cases.push((
        "fingerprint",
        v1::ClaimRequest {
            fingerprint,
            ..ok()
        },
    ));
    for owner in [
        "o".repeat(256),
        "a\nb".into(),
        "\u{1b}[31m".into(),
        "\0".into(),
    ] {
        cases.push(("owner", v1::ClaimRequest { owner, ..ok() }));
    }
    // At least a millisecond, at most the default policy's 15 minutes.
    for lease in [
        span(0, 0),
        span(0, 999_000),
        span(-1, 0),
        span(0, -1),
        span(0, 1_000_000_000),
        span(900, 1),
        span(i64::MAX, 999_999_999),
        span(i64::MIN, 0),
    ] {
        cases.push(("lease", v1::ClaimRequest { lease, ..ok() }));
    }
    for wait in [
        span(-1, 0),
        span(1, -1),
        span(300, 1_000),
        span(i64::MAX, 0),
    ] {
        cases.push(("wait", v1::ClaimRequest { wait, ..ok() }));
    }
    for event_time in [
        time(i64::MIN, 0),
        time(i64::MAX, 0),
        time(253_402_300_800, 0),
        time(0, -1),
        time(0, 1_000_000_000),
    ] {
        cases.push(("event_time", v1::ClaimRequest { event_time, ..ok() }));
    }
    let longest = "n".repeat(256);
    for (field, delivery) in [
        ("delivery.body", delivered(vec![], 1024 * 1024 + 1)),
        ("delivery.headers", delivered(vec![header("a", 1); 129], 0)),
        (
            "delivery.headers",
            delivered(vec![header("a", 32 * 1024)], 0),
        ),
        ("delivery.headers.name", delivered(vec![header("", 1)], 0)),
        (
            "delivery.headers.name",
            delivered(vec![header(&longest, 1)], 0),
        ),
    ] {
        cases.push((field, v1::ClaimRequest { delivery, ..ok() }));
    }
    for (field, request) in cases {
        told(within(client.claim(request)).await).expect_field(field);
        assert_eq!(
            word(&mut client, "k").await,
            "absent",
            "after a bad {field}"
        );
    }
}

#[tokio::test]
async fn a_claim_with_everything_at_its_limit_is_granted() {
    let host = Host::start("[defaults]\nkeep_deliveries = true").await;
    let mut client = host.client().await;
    let mut headers = vec![header(&"n".repeat(255), 1); 127];
    let left = 32 * 1024 - 127 * 256;
    headers.push(header("x", left - 1));
    let request = v1::ClaimRequest {
        fingerprint: vec![1; 64].into(),
        owner: "o".repeat(255),
        lease: span(900, 0),
        wait: span(300, 0),
        event_time: Some(prost_types::Timestamp {
            seconds: 253_402_300_799,
            nanos: 999_999_999,
        }),
        delivery: delivered(headers, 1024 * 1024),
        ..claim("k", 1)
    };
    claimed(&mut client, request.clone()).await;
    let shown = looked_up(&mut client, "k").await;
    assert_eq!(shown.delivery, request.delivery);
    assert_eq!(shown.owner, request.owner);

    let shortest = v1::ClaimRequest {
        lease: span(0, 1_000_000),
        wait: span(0, 0),
        ..claim("short", 1)
    };
    claimed(&mut client, shortest).await;
}

#[tokio::test]
async fn a_namespace_that_requires_fingerprints_refuses_a_first_claim_without() {
    let host = Host::start("[namespaces.orders]\nfingerprint_required = true").await;
    let mut client = host.client().await;
    let error = told(client.claim(claim("k", 1)).await);
    error.expect_field("fingerprint");
    assert_eq!(error.get("key"), Some("k"));
    assert_eq!(word(&mut client, "k").await, "absent");
    let with = |attempt| v1::ClaimRequest {
        fingerprint: vec![1].into(),
        ..claim("k", attempt)
    };
    claimed(&mut client, with(1)).await;
    let error = told(client.claim(claim("k", 2)).await);
    error.expect(Code::FailedPrecondition, "FINGERPRINT_MISMATCH");
}

#[tokio::test]
async fn a_longest_lease_is_the_namespaces_own() {
    let host = Host::start("[namespaces.orders]\ndefault_lease = \"1s\"\nlongest_lease = \"2s\"");
    let host = host.await;
    let mut client = host.client().await;
    let with = |lease| v1::ClaimRequest {
        lease,
        ..claim("k", 1)
    };
    told(client.claim(with(millis(2_001))).await).expect_field("lease");
    let granted = claimed(&mut client, with(millis(2_000))).await;
    let longer = v1::ExtendRequest {
        lease: millis(2_001),
        ..extend("k", &granted.token)
    };
    told(client.extend(longer).await).expect_field("lease");
}
