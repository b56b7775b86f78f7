//! Bounds on what the server takes on: calls, queues, waits, messages.

use std::{sync::Arc, time::Duration};

use semel_proto::v1::{self, claim_response::Outcome};
use semel_tests::Postgres;
use sqlx::{Connection as _, Executor as _};
use tokio::task::JoinSet;
use tonic::Code;

use crate::support::*;

fn waiting(key: &str, attempt: u8) -> v1::ClaimRequest {
    v1::ClaimRequest {
        wait: span(60, 0),
        ..claim(key, attempt)
    }
}

#[tokio::test]
async fn over_the_budget_of_calls_claims_are_refused_and_holders_get_through() {
    let host = Host::start("max_calls = 1").await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    // On another connection: the budget is one for all of them.
    let mut other = host.client().await;
    let waits = tokio::spawn(async move { outcome(&mut other, waiting("k", 2)).await });
    let error = until("the waiting claim takes the only place", || {
        let mut client = client.clone();
        async move { client.lookup(lookup("k")).await.err() }
    })
    .await;
    Told::of(&error)
        .expect(Code::ResourceExhausted, "TOO_MANY_REQUESTS")
        .expect_retry();
    let error = told(client.claim(claim("new", 1)).await);
    error
        .expect(Code::ResourceExhausted, "TOO_MANY_REQUESTS")
        .expect_retry();

    client
        .checkpoint(checkpoint("k", &granted.token, b"c"))
        .await
        .unwrap();
    client.extend(extend("k", &granted.token)).await.unwrap();
    client
        .complete(complete("k", &granted.token, b"done"))
        .await
        .unwrap();
    assert!(matches!(
        within(waits).await.unwrap(),
        Outcome::Completed(_)
    ));
    // Its place is free again, and nothing came of what was refused.
    until("the place is given back", || {
        let mut client = client.clone();
        async move {
            client
                .lookup(lookup("new"))
                .await
                .err()
                .filter(|e| e.code() == Code::NotFound)
        }
    })
    .await;
}

#[tokio::test]
async fn where_all_places_to_wait_are_taken_a_claim_is_answered_at_once() {
    let host = Host::start("max_waiters = 1").await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    let mut others = JoinSet::new();
    for attempt in [2, 3] {
        let mut client = client.clone();
        others.spawn(async move { outcome(&mut client, waiting("k", attempt)).await });
    }
    // One of the two has the place, so the other one comes back while the key is in progress.
    let first = within(others.join_next()).await.unwrap().unwrap();
    assert!(matches!(first, Outcome::InProgress(_)), "{first:?}");
    client
        .complete(complete("k", &granted.token, b""))
        .await
        .unwrap();
    let second = within(others.join_next()).await.unwrap().unwrap();
    assert!(matches!(second, Outcome::Completed(_)), "{second:?}");
}

#[tokio::test]
async fn a_full_queue_refuses_claims_at_once_and_lets_holders_wait() {
    on_postgres(|database: Arc<Postgres>| async move {
        let toml = "lanes = 1\nmax_queue = 1\nmax_batch = 1\npurge_interval = \"0s\"";
        let host = Host::on_url(&database.url(), toml).await;
        let mut client = host.client().await;
        let granted = claimed(&mut client, claim("held", 1)).await;
        let mut locker = database.connect().await;
        let lock = "BEGIN; LOCK TABLE records IN ACCESS EXCLUSIVE MODE";
        locker.execute(lock).await.unwrap();

        // At most one is with the store and one in the queue; there is no room for the others.
        let mut claims = JoinSet::new();
        for n in 0..8 {
            let mut client = client.clone();
            claims.spawn(async move { client.claim(claim(&format!("k{n}"), 1)).await });
        }
        for _ in 0..6 {
            let error = told(within(claims.join_next()).await.unwrap().unwrap());
            error
                .expect(Code::ResourceExhausted, "QUEUE_FULL")
                .expect_retry();
            assert!(
                error.get("key").is_some_and(|key| key.starts_with('k')),
                "{error:?}"
            );
        }
        let settling: JoinSet<_> = (0..4)
            .map(|_| {
                let (mut client, token) = (client.clone(), granted.token.clone());
                async move { client.complete(complete("held", &token, b"done")).await }
            })
            .collect();
        locker.execute("ROLLBACK").await.unwrap();
        for settled in within(settling.join_all()).await {
            settled.expect("no holder's call is shed");
        }
        let queued = within(claims.join_all()).await;
        assert!(
            queued.iter().any(Result::is_ok),
            "what was queued is carried out: {queued:?}"
        );
        locker.close().await.unwrap();
        drop(client);
        host.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_message_over_every_limit_is_refused_without_harm_to_claim_or_connection() {
    let host = Host::start("").await;
    let wire = host.wire().await;
    let mut client = wire.client();
    let granted = claimed(&mut client, claim("k", 1)).await;
    let request = complete("k", &granted.token, &vec![1; 6 * 1024 * 1024]);
    let error = told(within(client.complete(request)).await);
    // Refused by its length, before anything of it was read.
    error.expect(Code::InvalidArgument, "MALFORMED_MESSAGE");
    assert_eq!(word(&mut client, "k").await, "in progress");
    assert!(!wire.is_closed());
    client
        .complete(complete("k", &granted.token, b"smaller"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_call_that_the_server_does_not_have_is_unimplemented() {
    let host = Host::start("").await;
    let wire = host.wire().await;
    let request = http::Request::post(format!("{}semel.v1.IdempotencyService/Forget", wire.origin))
        .version(http::Version::HTTP_2)
        .header("content-type", "application/grpc")
        .body(tonic::body::Body::empty())
        .unwrap();
    let response = within(tower::ServiceExt::oneshot(wire.clone(), request))
        .await
        .unwrap();
    let status = &response.headers()["grpc-status"];
    assert_eq!(status, &(Code::Unimplemented as i32).to_string());
    assert!(matches!(
        outcome(&mut wire.client(), claim("k", 1)).await,
        Outcome::Claimed(_)
    ));
}

#[tokio::test]
async fn a_caller_that_leaves_while_it_waits_gives_its_place_back() {
    let host = Host::start("max_calls = 1").await;
    let mut client = host.client().await;
    claimed(&mut client, claim("k", 1)).await;
    let leaving = host.wire().await;
    let mut left = leaving.client();
    let waits = tokio::spawn(async move { outcome(&mut left, waiting("k", 2)).await });
    until("it waits", || {
        let mut client = client.clone();
        async move { client.lookup(lookup("k")).await.err() }
    })
    .await;
    waits.abort();
    drop(leaving);
    until("its place is free", || {
        let mut client = client.clone();
        async move { client.lookup(lookup("k")).await.ok() }
    })
    .await;
    // Nothing was claimed in its name.
    assert_eq!(
        length(match stands(&mut client, "k").await {
            v1::lookup_response::Outcome::InProgress(it) => {
                assert_eq!((it.owner.as_str(), it.attempt), ("worker-1", 1));
                it.retry_after
            }
            other => panic!("not in progress: {other:?}"),
        }),
        Duration::from_secs(1)
    );
}
