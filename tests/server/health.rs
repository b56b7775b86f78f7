//! `grpc.health.v1`: whether the server, and its store, can be used.

use std::time::Duration;

use semel_server::app::Ended;
use semel_test_postgres::Cluster;
use tokio::task::spawn_blocking;
use tonic::{Code, Streaming};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};

use crate::support::*;

/// The server as a whole, and each of its services.
const NAMES: [&str; 3] = ["", "semel.v1.IdempotencyService", "semel.v1.SessionService"];

fn asked(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.into(),
    }
}

fn health(wire: &Wire) -> HealthClient<Wire> {
    HealthClient::with_origin(wire.clone(), wire.origin.clone())
}

async fn check(wire: &Wire, service: &str) -> ServingStatus {
    let answer = within(health(wire).check(asked(service))).await;
    answer.expect("an answer").into_inner().status()
}

/// Watches until the status is the expected one.
async fn becomes(watch: &mut Streaming<HealthCheckResponse>, expected: ServingStatus) {
    let seen = async {
        while let Some(message) = watch.message().await.expect("the stream goes on") {
            if message.status() == expected {
                return;
            }
        }
        panic!("the stream ended before {expected:?}");
    };
    within(seen).await;
}

#[tokio::test]
async fn a_server_that_serves_says_so_under_every_name() {
    let host = Host::start("").await;
    let wire = host.wire().await;
    for service in NAMES {
        until("it has looked at its store", || async {
            let answer = health(&wire).check(asked(service)).await.ok()?;
            (answer.into_inner().status() == ServingStatus::Serving).then_some(())
        })
        .await;
        let mut watch = health(&wire)
            .watch(asked(service))
            .await
            .unwrap()
            .into_inner();
        becomes(&mut watch, ServingStatus::Serving).await;
    }
    let error = health(&wire)
        .check(asked("semel.v1.Nothing"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
}

#[tokio::test]
async fn every_name_is_known_from_the_first_moment() {
    for _ in 0..5 {
        let host = Host::start("").await;
        let wire = host.wire().await;
        for service in NAMES {
            let answer = within(health(&wire).check(asked(service))).await;
            assert!(answer.is_ok(), "{service:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn without_its_store_the_server_says_so_and_comes_back_by_itself() {
    let cluster = spawn_blocking(Cluster::start)
        .await
        .unwrap()
        .expect("a Postgres");
    let host = Host::on_url(&cluster.url("postgres"), "").await;
    let wire = host.wire().await;
    let mut client = wire.client();
    let granted = claimed(&mut client, claim("k", 1)).await;
    let mut watches = Vec::new();
    for service in NAMES {
        let mut watch = health(&wire)
            .watch(asked(service))
            .await
            .unwrap()
            .into_inner();
        becomes(&mut watch, ServingStatus::Serving).await;
        watches.push(watch);
    }

    let cluster = spawn_blocking(move || cluster.stop_fast().map(|()| cluster));
    let cluster = cluster.await.unwrap().expect("it stops");
    for (watch, service) in watches.iter_mut().zip(NAMES) {
        becomes(watch, ServingStatus::NotServing).await;
        assert_eq!(check(&wire, service).await, ServingStatus::NotServing);
    }
    // The server itself is there, and never says "claimed" without its store.
    let calls: [Call; 4] = [
        claim("new", 1).into(),
        claim("k", 1).into(),
        complete("k", &granted.token, b"").into(),
        lookup("k").into(),
    ];
    for call in calls {
        let error = told(call.send(&mut client).await);
        error
            .expect(Code::Unavailable, "STORE_UNAVAILABLE")
            .expect_retry();
        assert!(error.message.contains("may have been applied"), "{error:?}");
        // The cause names hosts and statements, and is for the operator.
        assert!(!error.message.contains("127.0.0.1"), "{error:?}");
    }

    let cluster = spawn_blocking(move || cluster.restart().map(|()| cluster));
    let cluster = cluster.await.unwrap().expect("it starts again");
    for (watch, service) in watches.iter_mut().zip(NAMES) {
        becomes(watch, ServingStatus::Serving).await;
        assert_eq!(check(&wire, service).await, ServingStatus::Serving);
    }
    // A lane whose connection broke makes a new one with its next call.
    client
        .complete(complete("k", &granted.token, b"done"))
        .await
        .expect("safe to send again");
    assert_eq!(word(&mut client, "k").await, "completed");
    drop((client, watches, wire));
    host.stop().await;
    drop(cluster);
}

#[tokio::test]
async fn a_server_that_stops_says_so_and_answers_what_waits() {
    let host = Host::start("drain = \"10s\"").await;
    let wire = host.wire().await;
    let mut client = wire.client();
    claimed(&mut client, claim("k", 1)).await;
    let mut watch = health(&wire).watch(asked("")).await.unwrap().into_inner();
    becomes(&mut watch, ServingStatus::Serving).await;
    let waiting = semel_proto::v1::ClaimRequest {
        wait: span(60, 0),
        ..claim("k", 2)
    };
    let mut waits = tokio::spawn(async move { client.claim(waiting).await });
    let early = tokio::time::timeout(Duration::from_millis(200), &mut waits).await;
    assert!(early.is_err(), "it waits");

    let address = host.address();
    host.ask_to_stop();
    becomes(&mut watch, ServingStatus::NotServing).await;
    let answer = within(waits)
        .await
        .unwrap()
        .expect("no call under way is cut off");
    let outcome = answer.into_inner().outcome;
    assert!(matches!(
        outcome,
        Some(semel_proto::v1::claim_response::Outcome::InProgress(_))
    ));
    until("nobody is let in any more", || async {
        tokio::net::TcpStream::connect(address)
            .await
            .is_err()
            .then_some(())
    })
    .await;
    drop((watch, wire));
    assert_eq!(host.stop().await, Ended::Drained);
}

#[tokio::test]
async fn who_watches_the_health_does_not_hold_up_a_stop() {
    let host = Host::start("drain = \"3s\"").await;
    let wire = host.wire().await;
    let mut watch = health(&wire).watch(asked("")).await.unwrap().into_inner();
    becomes(&mut watch, ServingStatus::Serving).await;
    assert_eq!(host.stop().await, Ended::Drained);
}
