//! Every way in which a delivery can end counts as one result, and as one only.
//!
//! Each test has a namespace of its own, because the meter provider is the process's.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::Method;
use http_body_util::Full;
use opentelemetry::global;
use opentelemetry_sdk::metrics::{
    InMemoryMetricExporter, PeriodicReader, SdkMeterProvider,
    data::{AggregatedMetrics, Metric, MetricData},
};
use semel_client::{
    Claim, ClaimOutcome, Client, Context, Failure,
    webhook::{
        Preset, Receiver,
        receiver::Finality,
        signature::{Scheme, Verifier},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
};

use crate::support::*;

const KEY: [(&str, &str); 1] = [("idempotency-key", "k")];

struct Meters {
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

/// The process's, from the first test on that wants it.
fn meters() -> &'static Meters {
    static METERS: OnceLock<Meters> = OnceLock::new();
    METERS.get_or_init(|| {
        let exporter = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(exporter.clone()).build();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        global::set_meter_provider(provider.clone());
        Meters { provider, exporter }
    })
}

/// A receiver of plain keys in a namespace of its own.
fn receiver(client: Client, namespace: &str) -> Receiver {
    meters();
    Receiver::new(client, namespace, Preset::idempotency_key())
}

/// The results that have been counted in the namespace, and how often.
fn results(namespace: &str) -> BTreeMap<String, u64> {
    let Meters { provider, exporter } = meters();
    provider.force_flush().expect("it exports into memory");
    let exports = exporter.get_finished_metrics().expect("it is in memory");
    let Some(newest) = exports.last() else {
        return BTreeMap::new();
    };
    newest
        .scope_metrics()
        .filter(|scope| scope.scope().name() == "semel-client")
        .flat_map(|scope| scope.metrics())
        .filter(|metric| metric.name() == "semel.webhook.deliveries")
        .flat_map(|metric| in_namespace(metric, namespace))
        .collect()
}

fn in_namespace(metric: &Metric, namespace: &str) -> Vec<(String, u64)> {
    let AggregatedMetrics::U64(MetricData::Sum(sum)) = metric.data() else {
        panic!("no counter of whole numbers: {metric:?}");
    };
    assert!(sum.is_monotonic());
    let points = sum.data_points().filter_map(|point| {
        let mut labels: BTreeMap<_, _> = point
            .attributes()
            .map(|label| (label.key.as_str(), label.value.to_string()))
            .collect();
        let of = labels.remove("namespace").expect("a namespace");
        let result = labels.remove("result").expect("a result");
        assert!(labels.is_empty(), "nothing else: {labels:?}");
        (of == namespace).then_some((result, point.value()))
    });
    points.collect()
}

#[track_caller]
fn assert_counted<const N: usize>(namespace: &str, expected: [(&str, u64); N]) {
    let expected = expected.map(|(result, times)| (result.to_owned(), times));
    assert_eq!(results(namespace), BTreeMap::from(expected));
}

#[tokio::test]
async fn what_ran_here_is_handled_and_its_duplicates_are_replayed() {
    let semel = Semel::start("").await;
    let namespace = "metrics-handled";
    let receiver = receiver(semel.client(), namespace).answer_limit(10);
    let service = Service::start(receiver, |n, _, _| match n {
        0 => say(201, "made"),
        1 => say(404, "no such"),
        _ => say(200, "done, and too long to be kept"),
    })
    .await;
    let caller = Caller::new();
    for (key, times) in [("a", 1), ("b", 2), ("c", 3)] {
        for _ in 0..times {
            let headers = [("idempotency-key", key)];
            caller.post(&service.url(), &headers, "").await;
        }
    }
    // A failure that somebody stored by hand is an outcome like any other.
    let claim = Claim::new(namespace, "d");
    let ClaimOutcome::Claimed(claimed) = semel.client().claim(&claim).await.unwrap() else {
        panic!("not claimed")
    };
    let failure = Failure::terminal("by hand", "no");
    semel.client().fail(&claimed.held, &failure).await.unwrap();
    let headers = [("idempotency-key", "d")];
    let replayed = caller.post(&service.url(), &headers, "").await;
    assert!(replayed.is_replayed());
    assert_counted(namespace, [("handled", 3), ("replayed", 4)]);
}

#[tokio::test]
async fn a_delivery_is_counted_when_it_has_ended_and_another_meanwhile_is_in_progress() {
    let semel = Semel::start("").await;
    let namespace = "metrics-in-progress";
    let gate = Arc::new(Semaphore::new(0));
    let service = gated(receiver(semel.client(), namespace), &gate).await;
    let first = begin(&service, &KEY).await;
    let busy = Caller::new().post(&service.url(), &KEY, "").await;
    assert_eq!(busy.problem(), "in-progress");
    assert_counted(namespace, [("in_progress", 1)]);
    gate.add_permits(1);
    within(first).await.unwrap();
    assert_counted(namespace, [("handled", 1), ("in_progress", 1)]);
}

#[tokio::test]
async fn a_client_that_hangs_up_has_its_delivery_counted_all_the_same() {
    let semel = Semel::start("").await;
    let namespace = "metrics-hangs-up";
    let gate = Arc::new(Semaphore::new(0));
    let service = gated(receiver(semel.client(), namespace), &gate).await;
    begin(&service, &KEY).await.abort();
    gate.add_permits(1);
    within(service.receiver.drain()).await;
    assert_counted(namespace, [("handled", 1)]);
    // And one that does so before all of its body is there has sent no delivery.
    let mut socket = TcpStream::connect(service.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: x\r\nidempotency-key: l\r\ncontent-length: 9\r\n\r\nx";
    socket.write_all(head.as_bytes()).await.unwrap();
    drop(socket);
    until("it is counted", || results(namespace).len() == 2).await;
    assert_counted(namespace, [("handled", 1), ("invalid", 1)]);
}

#[tokio::test]
async fn a_handler_that_fails_has_failed_and_what_comes_too_early_is_backing_off() {
    let namespace = "metrics-failed";
    let toml = format!("[namespaces.{namespace}]\nbackoff_initial = \"40s\"\n");
    let semel = Semel::start(&toml).await;
    let service = Service::start(receiver(semel.client(), namespace), |n, _, _| match n {
        0 => say(503, "not now"),
        _ => panic!("the second time"),
    })
    .await;
    let caller = Caller::new();
    for (key, problem) in [
        ("a", None),
        ("a", Some("backing-off")),
        ("b", Some("handler-panicked")),
    ] {
        let answer = caller
            .post(&service.url(), &[("idempotency-key", key)], "")
            .await;
        assert_eq!(problem.map(|_| answer.problem()).as_deref(), problem);
    }
    assert_counted(namespace, [("backing_off", 1), ("failed", 2)]);
}

#[tokio::test]
async fn a_key_whose_attempts_are_used_up_is_dead() {
    let namespace = "metrics-dead";
    let semel = Semel::start(&format!("[namespaces.{namespace}]\nattempts = 1\n")).await;
    let plain = receiver(semel.client(), namespace);
    let at_once = receiver(semel.client(), namespace).accept_at_once(1);
    let service = Service::start(plain, |_, _, _| say(500, "")).await;
    let accepting = Service::start(at_once, |_, _, _| say(500, "")).await;
    let caller = Caller::new();
    caller.post(&service.url(), &KEY, "").await;
    for service in [&service, &accepting] {
        let answer = caller.post(&service.url(), &KEY, "").await;
        assert_eq!(answer.problem(), "dead");
    }
    assert_counted(namespace, [("dead", 2), ("failed", 1)]);
}

#[tokio::test]
async fn a_key_that_nobody_knows_about_is_uncertain() {
    let semel = Semel::start("").await;
    let namespace = "metrics-uncertain";
    let plain = receiver(semel.client(), namespace).finality(|_| Finality::Unknown);
    let at_once = receiver(semel.client(), namespace).accept_at_once(1);
    let service = Service::start(plain, |_, _, _| say(200, "")).await;
    let accepting = Service::start(at_once, |_, _, _| say(200, "")).await;
    let caller = Caller::new();
    caller.post(&service.url(), &KEY, "").await;
    for service in [&service, &accepting] {
        let answer = caller.post(&service.url(), &KEY, "").await;
        assert_eq!(answer.problem(), "uncertain");
    }
    assert_counted(namespace, [("failed", 1), ("uncertain", 2)]);
}

#[tokio::test]
async fn only_a_signature_that_does_not_verify_is_unauthenticated() {
    let semel = Semel::start("").await;
    let namespace = "metrics-unauthenticated";
    meters();
    let preset = Preset::standard_webhooks(secret());
    let receiver = Receiver::new(semel.client(), namespace, preset);
    let service = Service::start(receiver, |_, _, _| say(200, "")).await;
    let caller = Caller::new();
    let mut forged = signed(&service.url(), "msg_1", "{}");
    *forged.body_mut() = Full::new("{\"forged\":1}".into());
    assert_eq!(caller.send(forged).await.status, 401);
    assert_eq!(caller.post(&service.url(), &[], "{}").await.status, 401);
    let genuine = signed(&service.url(), "msg_1", "{}");
    assert_eq!(caller.send(genuine).await.status, 200);
    assert_counted(namespace, [("handled", 1), ("unauthenticated", 2)]);
}

#[tokio::test]
async fn what_cannot_be_taken_as_it_is_is_invalid() {
    let semel = Semel::start("").await;
    let namespace = "metrics-invalid";
    let receiver = receiver(semel.client(), namespace)
        .principal(|parts| Some(parts.headers.get("x-account")?.to_str().ok()?.to_owned()))
        .body_timeout(Duration::from_millis(200))
        .body_limit(10);
    let service = Service::start(receiver, |_, _, _| say(200, "")).await;
    let caller = Caller::new();
    let account = ("x-account", "a");
    for (headers, body, problem) in [
        (&[account][..], "", "missing-key"),
        (
            &[account, ("idempotency-key", "\"open")],
            "",
            "unusable-key",
        ),
        (&KEY, "", "no-principal"),
        (&[account, KEY[0]], "eleven byte", "body-too-large"),
    ] {
        let answer = caller.post(&service.url(), headers, body).await;
        assert_eq!(answer.problem(), problem);
    }
    assert_counted(namespace, [("invalid", 4)]);
    for (rest, status) in [
        ("content-length: 9\r\n\r\nx", "HTTP/1.1 408"),
        ("transfer-encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400"),
    ] {
        let mut socket = TcpStream::connect(service.address).await.unwrap();
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\nidempotency-key: k\r\n{rest}");
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; status.len()];
        within(socket.read_exact(&mut answer)).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), status);
    }
    assert_counted(namespace, [("invalid", 6)]);
    assert_eq!(service.begun(), 0);
}

#[tokio::test]
async fn an_event_that_is_too_old_is_invalid() {
    let semel = Semel::start("").await;
    let namespace = "metrics-too-old";
    meters();
    let preset = Preset::standard_webhooks(secret());
    let receiver = Receiver::new(semel.client(), namespace, preset);
    let service = Service::start(receiver, |_, _, _| say(200, "")).await;
    let body = r#"{"timestamp": "2020-01-01T00:00:00Z"}"#;
    let answer = Caller::new()
        .send(signed(&service.url(), "msg_1", body))
        .await;
    assert_eq!(answer.problem(), "event-too-old");
    assert_counted(namespace, [("invalid", 1)]);
}

#[tokio::test]
async fn another_payload_under_the_same_key_is_a_mismatch() {
    let semel = Semel::start("").await;
    let namespace = "metrics-mismatch";
    let service = Service::start(receiver(semel.client(), namespace), |_, _, _| say(200, "")).await;
    let caller = Caller::new();
    caller.post(&service.url(), &KEY, "one").await;
    let other = caller.post(&service.url(), &KEY, "two").await;
    assert_eq!(other.problem(), "key-reused");
    assert_counted(namespace, [("handled", 1), ("mismatch", 1)]);
}

#[tokio::test]
async fn with_semel_away_a_delivery_is_unavailable_however_it_is_to_be_answered() {
    let mut semel = Semel::start("").await;
    let namespace = "metrics-away";
    let plain = receiver(semel.impatient_client(), namespace);
    let at_once = receiver(semel.impatient_client(), namespace).accept_at_once(1);
    let service = Service::start(plain, |_, _, _| say(200, "")).await;
    let accepting = Service::start(at_once, |_, _, _| say(200, "")).await;
    semel.stop().await;
    for service in [&service, &accepting] {
        let answer = Caller::new().post(&service.url(), &KEY, "").await;
        assert_eq!(answer.problem(), "unavailable");
    }
    assert_counted(namespace, [("unavailable", 2)]);
}

#[tokio::test]
async fn without_room_a_delivery_is_unavailable_too() {
    let semel = Semel::start("").await;
    let namespace = "metrics-room";
    let gate = Arc::new(Semaphore::new(0));
    let plain = receiver(semel.client(), namespace).concurrency(1);
    let service = gated(plain, &gate).await;
    let at_once = receiver(semel.client(), namespace).accept_at_once(1);
    let accepting = gated(at_once, &gate).await;
    let caller = Caller::new();
    let first = begin(&service, &KEY).await;
    let (other, third) = ([("idempotency-key", "l")], [("idempotency-key", "m")]);
    let over = caller.post(&service.url(), &other, "").await;
    assert_eq!(over.problem(), "too-many-deliveries");
    assert_eq!(caller.post(&accepting.url(), &other, "").await.status, 202);
    let over = caller.post(&accepting.url(), &third, "").await;
    assert_eq!(over.problem(), "too-much-work");
    gate.add_permits(2);
    within(first).await.unwrap();
    within(accepting.receiver.drain()).await;
    let late = caller.post(&accepting.url(), &third, "").await;
    assert_eq!(late.problem(), "stopping");
    let expected = [("accepted", 1), ("handled", 1), ("unavailable", 3)];
    assert_counted(namespace, expected);
}

#[tokio::test]
async fn what_is_accepted_at_once_counts_as_that_whatever_comes_of_it() {
    let namespace = "metrics-accepted";
    let toml = format!("[namespaces.{namespace}]\nbackoff_initial = \"1ms\"\n");
    let semel = Semel::start(&toml).await;
    let gate = Arc::new(Semaphore::new(0));
    let at_once = receiver(semel.client(), namespace).accept_at_once(8);
    let service = Service::start(at_once, {
        let gate = gate.clone();
        move |n, _, _| Told {
            gate: Some(gate.clone()),
            ..say(if n == 0 { 500 } else { 200 }, "")
        }
    })
    .await;
    let caller = Caller::new();
    for is_replayed in [false, true] {
        let answer = caller.post(&service.url(), &KEY, "").await;
        assert_eq!((answer.status, answer.is_replayed()), (202, is_replayed));
    }
    gate.add_permits(2);
    until("the second attempt has ended", || {
        service.ended.load(std::sync::atomic::Ordering::SeqCst) == 2
    })
    .await;
    within(service.receiver.drain()).await;
    assert_counted(namespace, [("accepted", 1), ("replayed", 1)]);
}

#[tokio::test]
async fn what_is_handled_without_a_claim_counts_as_what_its_handler_says() {
    let mut semel = Semel::start("").await;
    let namespace = "metrics-unclaimed";
    let client = semel.impatient_client();
    let plain = receiver(client.clone(), namespace).handle_when_away();
    let at_once = receiver(client, namespace)
        .handle_when_away()
        .accept_at_once(1);
    semel.stop().await;
    for open in [plain, at_once] {
        let service = Service::start(open, |n, _, _| match n {
            0 => say(200, ""),
            1 => say(500, ""),
            _ => panic!("the third time"),
        })
        .await;
        for status in [200, 500, 500] {
            let answer = Caller::new().post(&service.url(), &KEY, "").await;
            assert_eq!(answer.status, status);
        }
    }
    assert_counted(namespace, [("failed", 4), ("handled", 2)]);
}

#[tokio::test]
async fn what_was_handled_and_could_not_be_recorded_was_handled_and_what_failed_has_failed() {
    for (status, namespace, result) in [
        (200, "metrics-unrecorded", "handled"),
        (500, "metrics-unrecorded-failure", "failed"),
    ] {
        let mut semel = Semel::start("").await;
        let gate = Arc::new(Semaphore::new(0));
        let receiver =
            receiver(semel.client(), namespace).settle_deadline(Duration::from_millis(300));
        let service = Service::start(receiver, {
            let gate = gate.clone();
            move |_, _, _| Told {
                gate: Some(gate.clone()),
                ..say(status, "")
            }
        })
        .await;
        let first = begin(&service, &KEY).await;
        semel.stop().await;
        gate.add_permits(1);
        assert_eq!(within(first).await.unwrap().status, status);
        assert_counted(namespace, [(result, 1)]);
    }
}

#[tokio::test]
async fn a_handler_whose_key_was_settled_by_another_has_failed() {
    let semel = Semel::start("").await;
    let namespace = "metrics-overtaken";
    let client = semel.client();
    let handler = move |axum::Extension(work): axum::Extension<Context>| async move {
        // By somebody who has the token, such as an operator.
        let settled = client.complete(work.held(), "the operator's").await;
        settled.unwrap();
        "the handler's"
    };
    let route = axum::routing::post(handler).route_layer(receiver(semel.client(), namespace));
    let app = axum::Router::new().route("/", route);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let answer = Caller::new().post(&url, &KEY, "").await;
    assert_eq!(answer.problem(), "taken-over");
    assert_counted(namespace, [("failed", 1)]);
    server.abort();
}

#[tokio::test]
async fn a_claim_that_semel_refuses_has_failed() {
    let semel = Semel::start("").await;
    let namespace = "metrics no namespace";
    let service = Service::start(receiver(semel.client(), namespace), |_, _, _| say(200, "")).await;
    let answer = Caller::new().post(&service.url(), &KEY, "").await;
    assert_eq!(answer.problem(), "not-claimed");
    assert_counted(namespace, [("failed", 1)]);
}

#[tokio::test]
async fn what_is_handed_on_is_no_delivery() {
    let semel = Semel::start("").await;
    let namespace = "metrics-handed-on";
    let open = receiver(semel.client(), namespace);
    let preset = Preset::idempotency_key().verified_by(Verifier::new(Scheme::Standard, secret()));
    let verified = Receiver::new(semel.client(), namespace, preset);
    let caller = Caller::new();
    for receiver in [open, verified] {
        let service = Service::start(receiver, |_, _, _| say(200, "")).await;
        let mut request = signed(&service.url(), "msg_1", "");
        *request.method_mut() = Method::PUT;
        assert_eq!(caller.send(request).await.status, 200);
        assert_counted(namespace, []);
    }
}
