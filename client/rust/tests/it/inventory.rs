//! The example receiver, over HTTP requests that never reach a socket and a fake Semel that does.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use semel_client::Client;
use tower::ServiceExt as _;

use crate::support::{Fake, Fault as NetworkFault, Rpc, ms, quick, soon};

#[allow(dead_code, unused_imports)]
#[path = "../../examples/inventory/receiver.rs"]
mod receiver;

use receiver::{Counters, Fault, IDEMPOTENCY_KEY, REPLAYED, Receiver, Stock};

const TWO_MUGS: &str = r#"{"type":"ORDER_PAID","order_id":"o-1","sku":"mug","quantity":2}"#;

async fn receiver() -> (Fake, Receiver) {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    (fake, with(client))
}

fn with(client: Client) -> Receiver {
    Receiver::new(client, Stock::new([("mug", 10)])).lease(ms(400))
}

async fn post(receiver: &Receiver, key: Option<&str>, body: &str) -> Response<Body> {
    let mut request = Request::post("/webhooks");
    if let Some(key) = key {
        request = request.header(IDEMPOTENCY_KEY, key);
    }
    let request = request.body(Body::from(body.to_owned())).unwrap();
    soon(receiver::router(receiver.clone()).oneshot(request))
        .await
        .unwrap()
}

async fn bytes(response: Response<Body>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

fn type_of(response: &Response<Body>) -> &str {
    response.headers()[header::CONTENT_TYPE].to_str().unwrap()
}

fn seconds_to_wait(response: &Response<Body>) -> u64 {
    let value = response.headers()[header::RETRY_AFTER].to_str().unwrap();
    value.parse().unwrap()
}

async fn until(receiver: &Receiver, reached: impl FnMut(&Counters) -> bool) {
    let mut counters = receiver.counters();
    soon(counters.wait_for(reached)).await.unwrap();
}

#[tokio::test]
async fn an_order_takes_stock_once_and_its_answer_is_replayed_verbatim() {
    let (_fake, receiver) = receiver().await;

    let first = post(&receiver, Some("evt-1"), TWO_MUGS).await;
    let second = post(&receiver, Some("evt-1"), TWO_MUGS).await;

    assert_eq!(first.status(), StatusCode::OK);
    assert!(!first.headers().contains_key(REPLAYED));
    assert_eq!(second.headers()[REPLAYED], "true");
    assert_eq!(first.status(), second.status());
    assert_eq!(type_of(&first), type_of(&second));
    assert_eq!(bytes(first).await, bytes(second).await);
    assert_eq!(receiver.stock().level("mug"), 8);
    let applied = receiver.stock().applied("o-1");
    assert_eq!(applied.len(), 1);
    assert_eq!((applied[0].fence, &*applied[0].key), (1, "evt-1"));
    let counters = *receiver.counters().borrow();
    assert_eq!((counters.handled, counters.replayed), (1, 1));
}

#[tokio::test]
async fn a_request_that_cannot_be_meant_uses_no_key_up() {
    let (fake, receiver) = receiver().await;
    for (key, body) in [
        (None, TWO_MUGS),
        (Some(""), TWO_MUGS),
        (Some("evt-1"), "not json"),
        (Some("evt-1"), r#"{"type":"ORDER_PAID","order_id":"o-1"}"#),
    ] {
        let refused = post(&receiver, key, body).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{key:?} {body}");
        assert_eq!(type_of(&refused), "application/problem+json");
    }
    let ignored = post(&receiver, Some("evt-1"), r#"{"type":"ORDER_SEEN"}"#).await;
    assert_eq!(ignored.status(), StatusCode::OK);
    assert!(fake.received(Rpc::Claim).is_empty());
}

#[tokio::test]
async fn the_same_key_with_another_body_is_refused() {
    let (_fake, receiver) = receiver().await;
    post(&receiver, Some("evt-1"), TWO_MUGS).await;
    let other = TWO_MUGS.replace("o-1", "o-2");
    let refused = post(&receiver, Some("evt-1"), &other).await;
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(receiver.stock().level("mug"), 8);
}

#[tokio::test]
async fn a_duplicate_of_a_request_in_progress_is_told_when_to_come_back_or_waits() {
    let (_fake, receiver) = receiver().await;
    receiver.faults().inject(Fault::Delay(ms(600)));
    let first = {
        let receiver = receiver.clone();
        tokio::spawn(async move { post(&receiver, Some("evt-1"), TWO_MUGS).await })
    };
    until(&receiver, |n| n.entered == 1).await;

    let busy = post(&receiver, Some("evt-1"), TWO_MUGS).await;
    assert_eq!(busy.status(), StatusCode::CONFLICT);
    assert!(seconds_to_wait(&busy) >= 1);

    let waiting = receiver.clone().wait(Duration::from_secs(10));
    let replayed = post(&waiting, Some("evt-1"), TWO_MUGS).await;
    assert_eq!(replayed.status(), StatusCode::OK);
    assert_eq!(replayed.headers()[REPLAYED], "true");
    assert_eq!(soon(first).await.unwrap().status(), StatusCode::OK);
    assert_eq!(receiver.stock().applied("o-1").len(), 1);
}

#[tokio::test]
async fn too_little_stock_is_a_final_answer() {
    let (_fake, receiver) = receiver().await;
    let many = TWO_MUGS.replace(":2}", ":11}");
    let first = post(&receiver, Some("evt-1"), &many).await;
    let second = post(&receiver, Some("evt-1"), &many).await;
    assert_eq!(first.status(), StatusCode::CONFLICT);
    assert!(!first.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(second.headers()[REPLAYED], "true");
    assert_eq!(type_of(&second), "application/problem+json");
    assert_eq!(bytes(first).await, bytes(second).await);
    assert!(receiver.stock().times_applied().is_empty());
}

#[tokio::test]
async fn without_semel_nothing_is_done() {
    let fake = Fake::start().await;
    let client = quick().deadline(ms(200)).connect(fake.address()).unwrap();
    let receiver = with(client);
    fake.always(Rpc::Claim, NetworkFault::unavailable());
    let away = post(&receiver, Some("evt-1"), TWO_MUGS).await;
    assert_eq!(away.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(seconds_to_wait(&away) >= 1);
    assert_eq!(receiver.stock().level("mug"), 10);
}

#[tokio::test]
async fn after_a_crash_before_the_effect_the_next_delivery_takes_over() {
    let (fake, receiver) = receiver().await;
    receiver.faults().inject(Fault::CrashBeforeEffect);
    let crashed = post(&receiver, Some("evt-1"), TWO_MUGS).await;
    assert_eq!(crashed.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(fake.received(Rpc::Fail).is_empty());

    let patient = receiver.clone().wait(Duration::from_secs(10));
    let next = post(&patient, Some("evt-1"), TWO_MUGS).await;
    assert_eq!(next.status(), StatusCode::OK);
    assert!(!next.headers().contains_key(REPLAYED));
    let applied = receiver.stock().applied("o-1");
    assert_eq!(applied.len(), 1);
    assert_eq!(applied[0].fence, 2);
}

#[tokio::test]
async fn a_crash_after_the_effect_is_what_the_audit_log_shows() {
    let (_fake, receiver) = receiver().await;
    receiver.faults().inject(Fault::CrashAfterEffect);
    post(&receiver, Some("evt-1"), TWO_MUGS).await;
    let patient = receiver.clone().wait(Duration::from_secs(10));
    post(&patient, Some("evt-1"), TWO_MUGS).await;
    assert_eq!(receiver.stock().times_applied()["o-1"], 2);
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_stop_the_work() {
    let (_fake, receiver) = receiver().await;
    receiver.faults().inject(Fault::Delay(ms(100)));
    let request = {
        let receiver = receiver.clone();
        tokio::spawn(async move { post(&receiver, Some("evt-1"), TWO_MUGS).await })
    };
    until(&receiver, |n| n.entered == 1).await;
    request.abort();

    soon(receiver.idle()).await;
    assert_eq!(receiver.stock().level("mug"), 8);
    assert_eq!(receiver.counters().borrow().handled, 1);
}
