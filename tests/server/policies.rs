//! Namespaces' policies, from the configuration file to what callers see.

use std::{sync::Arc, time::Duration};

use semel_proto::v1::{self, FailureKind, claim_response::Outcome};
use semel_tests::Postgres;
use tonic::Code;

use crate::support::*;

/// Waits until a Lookup finds this.
async fn comes_to(client: &Client, key: &str, expected: &str) {
    until(expected, || {
        let mut client = client.clone();
        async move { (word(&mut client, key).await == expected).then_some(()) }
    })
    .await;
}

#[tokio::test]
async fn a_lapsed_claim_is_held_or_given_away_as_the_namespace_says() {
    let host = Host::start(
        r#"
        [defaults]
        default_lease = "1ms"
        [namespaces.money]
        on_lapse = "hold"
        "#,
    )
    .await;
    let mut client = host.client().await;
    let money = |attempt| v1::ClaimRequest {
        namespace: "money".into(),
        ..claim("k", attempt)
    };
    claimed(&mut client, money(1)).await;
    claimed(&mut client, claim("k", 1)).await;
    let second = until("the lease lapses", || {
        let mut client = client.clone();
        async move {
            match outcome(&mut client, claim("k", 2)).await {
                Outcome::Claimed(granted) => Some(granted),
                _ => None,
            }
        }
    })
    .await;
    assert_eq!(second.attempt, 2);
    // The other one, which is as old, has lapsed as well.
    let Outcome::Uncertain(held) = outcome(&mut client, money(2)).await else {
        panic!("not uncertain")
    };
    assert_eq!((held.attempts, held.last_error.as_str()), (1, ""));
}

#[tokio::test]
async fn an_outcome_is_forgotten_after_the_namespaces_retention() {
    let host = Host::start("[namespaces.orders]\nretention = \"1s\"").await;
    let mut client = host.client().await;
    let first = claimed(&mut client, claim("k", 1)).await;
    client
        .complete(complete("k", &first.token, b"r"))
        .await
        .unwrap();
    assert!(length(looked_up(&mut client, "k").await.retention) <= Duration::from_secs(1));
    comes_to(&client, "k", "absent").await;
    let again = claimed(&mut client, claim("k", 2)).await;
    assert_eq!(again.attempt, 1);
    assert!(again.fence > first.fence);
    assert_eq!(again.last_error, "");
}

#[tokio::test]
async fn attempts_and_backoff_are_the_namespaces_own() {
    let host = Host::start(
        r#"
        [namespaces.orders]
        attempts = 3
        backoff_initial = "100s"
        backoff_cap = "150s"
        backoff_factor = 2
        backoff_jitter = 0
        "#,
    )
    .await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    let answer = client
        .fail(fail("k", &granted.token, FailureKind::Retryable))
        .await
        .unwrap();
    let Some(v1::fail_response::Outcome::BackingOff(rest)) = answer.into_inner().outcome else {
        panic!("not backing off")
    };
    assert_eq!(length(rest.retry_after), Duration::from_secs(100));
}

#[tokio::test]
async fn a_changed_configuration_touches_new_claims_only() {
    let scratch = Scratch::new();
    let before = "[namespaces.orders]\non_lapse = \"hold\"\ndefault_lease = \"1ms\"\nattempts = 1";
    let host = Host::on(&scratch, before).await;
    let mut client = host.client().await;
    let old = claimed(&mut client, claim("old", 1)).await;
    let other = claimed(&mut client, claim("other", 1)).await;
    drop(client);
    host.stop().await;

    let after = r#"
        [namespaces.orders]
        on_lapse = "reclaim"
        default_lease = "2ms"
        attempts = 2
        fingerprint_required = true
    "#;
    let host = Host::on(&scratch, after).await;
    let mut client = host.client().await;
    // Old keys go by what they were claimed under: held, one attempt, no fingerprint.
    comes_to(&client, "old", "uncertain").await;
    let held = outcome(&mut client, claim("old", 2)).await;
    assert!(matches!(held, Outcome::Uncertain(_)), "{held:?}");
    client
        .fail(fail("other", &other.token, FailureKind::Retryable))
        .await
        .unwrap();
    assert_eq!(word(&mut client, "other").await, "dead");
    // New keys go by the new one.
    told(client.claim(claim("new", 1)).await).expect_field("fingerprint");
    let printed = |attempt| v1::ClaimRequest {
        fingerprint: vec![1].into(),
        ..claim("new", attempt)
    };
    claimed(&mut client, printed(1)).await;
    until("the new key lapses and is given away", || {
        let mut client = client.clone();
        async move {
            matches!(outcome(&mut client, printed(2)).await, Outcome::Claimed(_)).then_some(())
        }
    })
    .await;
    client
        .complete(complete("old", &old.token, b"done"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_namespace_that_is_no_longer_configured_keeps_its_policy() {
    let scratch = Scratch::new();
    let host = Host::on(&scratch, "[namespaces.orders]\nfingerprint_required = true").await;
    host.stop().await;
    let host = Host::on(&scratch, "").await;
    let mut client = host.client().await;
    told(client.claim(claim("k", 1)).await).expect_field("fingerprint");
}

#[tokio::test]
async fn another_server_learns_a_namespaces_policy_within_its_renewal() {
    on_postgres(|database: Arc<Postgres>| async move {
        let first = Host::on_url(&database.url(), "").await;
        let mut on_first = first.client().await;
        claimed(&mut on_first, claim("before", 1)).await;

        let strict = "[namespaces.orders]\nfingerprint_required = true\nattempts = 1";
        let second = Host::on_url(&database.url(), strict).await;
        let mut on_second = second.client().await;
        told(on_second.claim(claim("k", 1)).await).expect_field("fingerprint");
        let printed = v1::ClaimRequest {
            fingerprint: vec![1].into(),
            ..claim("shared", 1)
        };
        let granted = claimed(&mut on_second, printed).await;
        // A claim under a policy that the first server has not heard of is still settled there.
        let request = fail("shared", &granted.token, FailureKind::Retryable);
        on_first.fail(request).await.unwrap();
        assert_eq!(word(&mut on_first, "shared").await, "dead");

        let learned = tokio::time::timeout(Duration::from_secs(10), async {
            for n in 0.. {
                let error = match on_first.claim(claim(&format!("k{n}"), 1)).await {
                    Ok(_) => {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                    Err(error) => Told::of(&error),
                };
                error
                    .expect(Code::InvalidArgument, "INVALID_FIELD")
                    .expect_field("fingerprint");
                return;
            }
        });
        learned.await.expect("a renewal takes five seconds");
        drop((on_first, on_second));
        first.stop().await;
        second.stop().await;
    })
    .await;
}
