//! Raw deliveries: kept where the namespace keeps them, until the key completes.

use semel_proto::v1::{self, FailureKind};

use crate::support::*;

const KEEPING: &str = r#"
[namespaces.orders]
keep_deliveries = true
attempts = 1
"#;

fn delivery() -> Option<v1::Delivery> {
    let header = |name: &str, value: &[u8]| v1::Header {
        name: name.into(),
        value: value.to_vec().into(),
    };
    Some(v1::Delivery {
        // In their order, twice the same name, and bytes that are no text.
        headers: vec![
            header("X-Signature", b"\xff\x00"),
            header("accept", b"a"),
            header("accept", b""),
        ],
        body: b"{\"id\": 1}\n\xfe".to_vec().into(),
    })
}

fn delivered(key: &str, attempt: u8) -> v1::ClaimRequest {
    v1::ClaimRequest {
        delivery: delivery(),
        ..claim(key, attempt)
    }
}

async fn kept(client: &mut Client, key: &str, include_delivery: bool) -> Option<v1::Delivery> {
    let request = v1::LookupRequest {
        include_delivery,
        ..lookup(key)
    };
    client.lookup(request).await.unwrap().into_inner().delivery
}

#[tokio::test]
async fn a_delivery_is_kept_byte_for_byte_and_shown_only_when_asked_for() {
    let host = Host::start(KEEPING).await;
    let mut client = host.client().await;
    claimed(&mut client, delivered("k", 1)).await;
    assert_eq!(kept(&mut client, "k", true).await, delivery());
    assert_eq!(kept(&mut client, "k", false).await, None);
}

#[tokio::test]
async fn a_namespace_that_keeps_none_ignores_it() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    claimed(&mut client, delivered("k", 1)).await;
    assert_eq!(kept(&mut client, "k", true).await, None);
}

#[tokio::test]
async fn a_completion_drops_it_and_a_dead_letter_keeps_it() {
    let host = Host::start(KEEPING).await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, delivered("done", 1)).await;
    client
        .complete(complete("done", &granted.token, b""))
        .await
        .unwrap();
    assert_eq!(kept(&mut client, "done", true).await, None);

    let granted = claimed(&mut client, delivered("dead", 1)).await;
    let request = fail("dead", &granted.token, FailureKind::Retryable);
    client.fail(request).await.unwrap();
    assert_eq!(word(&mut client, "dead").await, "dead");
    assert_eq!(kept(&mut client, "dead", true).await, delivery());
}

#[tokio::test]
async fn an_empty_delivery_is_told_from_none() {
    let host = Host::start(KEEPING).await;
    let mut client = host.client().await;
    claimed(&mut client, claim("none", 1)).await;
    assert_eq!(kept(&mut client, "none", true).await, None);
    let empty = Some(v1::Delivery::default());
    let request = v1::ClaimRequest {
        delivery: empty.clone(),
        ..claim("empty", 1)
    };
    claimed(&mut client, request).await;
    assert_eq!(kept(&mut client, "empty", true).await, empty);
}
