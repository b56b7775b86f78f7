//! A delivery is in the trace of whoever has sent it, unless a span is active where it is received.

use std::sync::{Arc, Mutex};

use axum::{Extension, Router, http::StatusCode, routing::post};
use opentelemetry::Context;
use opentelemetry::trace::{FutureExt as _, SpanId, TraceContextExt as _};
use semel_client::webhook::{Preset, Receiver};
use semel_client::{Client, Context as Work};
use tower::ServiceExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::support::spans::{Spans, remote, traceparent};
use crate::support::{Fake, Received, Rpc, quick, soon};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN_ID: &str = "00f067aa0ba902b7";
const SENDER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A service behind a receiver, which saves a checkpoint and remembers in what context it ran; of its
/// first runs as many fail.
struct Service {
    router: Router,
    ran_in: Arc<Mutex<Vec<Context>>>,
}

impl Service {
    fn new(receiver: Receiver, failures: usize) -> Self {
        let ran_in = Arc::new(Mutex::new(Vec::new()));
        let handler = {
            let ran_in = ran_in.clone();
            async move |Extension(work): Extension<Work>| {
                ran_in.lock().unwrap().push(Context::current());
                work.checkpoint("half").await.unwrap();
                match ran_in.lock().unwrap().len() > failures {
                    true => StatusCode::OK,
                    false => StatusCode::SERVICE_UNAVAILABLE,
                }
            }
        };
        let route = post(handler).route_layer(receiver);
        let router = Router::new().route("/", route);
        Self { router, ran_in }
    }

    async fn deliver(&self, headers: &[(&str, &str)]) -> StatusCode {
        let mut request = axum::http::Request::post("/").header("idempotency-key", "k");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(axum::body::Body::empty()).unwrap();
        let answer = soon(self.router.clone().oneshot(request)).await;
        answer.unwrap().status()
    }

    /// `traceparent` of what was active while the handler ran.
    fn ran_in(&self) -> Vec<String> {
        self.ran_in
            .lock()
            .unwrap()
            .iter()
            .map(traceparent)
            .collect()
    }
}

fn receiver(client: Client) -> Receiver {
    Receiver::new(client, "api", Preset::idempotency_key())
}

async fn fake() -> (Fake, Client) {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    (fake, client)
}

fn received(fake: &Fake) -> Vec<Received> {
    let all = [Rpc::Claim, Rpc::Checkpoint, Rpc::Complete, Rpc::Fail];
    all.iter().flat_map(|rpc| fake.received(*rpc)).collect()
}

#[track_caller]
fn assert_carried(calls: &[Received], traceparent: &str) {
    assert!(!calls.is_empty());
    for call in calls {
        assert_eq!(call.traceparent(), Some(traceparent), "{:?}", call.rpc);
    }
}

#[tokio::test]
async fn what_the_sender_names_is_carried_on_and_is_there_for_the_handler() {
    let later = format!("cc-{TRACE_ID}-{SPAN_ID}-03-what-comes-later");
    for (header, carried) in [
        (SENDER, SENDER),
        (
            &SENDER.replace("-01", "-00")[..],
            &SENDER.replace("-01", "-00")[..],
        ),
        (&later[..], SENDER),
    ] {
        let (fake, client) = fake().await;
        let service = Service::new(receiver(client), 0);
        let status = service.deliver(&[("traceparent", header)]).await;
        assert_eq!(status, 200, "{header}");
        let calls = received(&fake);
        assert_eq!(calls.len(), 3);
        assert_carried(&calls, carried);
        assert_eq!(service.ran_in(), [carried]);
    }
}

#[tokio::test]
async fn the_senders_tracestate_goes_along_in_one_piece() {
    let fake = Fake::start().await;
    let alone = quick().transport(semel_client::Transport::Unary);
    let service = Service::new(receiver(alone.connect(fake.address()).unwrap()), 0);
    let headers = [
        ("traceparent", SENDER),
        ("tracestate", "a=1"),
        ("tracestate", "b=2"),
    ];
    assert_eq!(service.deliver(&headers).await, 200);
    for call in received(&fake) {
        assert_eq!(call.tracestate(), Some("a=1,b=2"), "{:?}", call.rpc);
    }
    let ran_in = service.ran_in.lock().unwrap()[0].clone();
    assert_eq!(
        ran_in.span().span_context().trace_state().get("b"),
        Some("2")
    );
}

#[tokio::test]
async fn a_malformed_header_is_ignored() {
    let zeros = format!("00-{}-{SPAN_ID}-01", "0".repeat(32));
    let malformed = [
        &[("traceparent", "garbage")][..],
        &[("traceparent", "")],
        &[("traceparent", &zeros)],
        &[("traceparent", "\u{e9}")],
        &[("traceparent", SENDER), ("traceparent", SENDER)],
        &[("tracestate", "a=1")],
    ];
    for headers in malformed {
        let (fake, client) = fake().await;
        let service = Service::new(receiver(client), 0);
        assert_eq!(service.deliver(headers).await, 200, "{headers:?}");
        for call in received(&fake) {
            let carried = (call.traceparent(), call.tracestate());
            assert_eq!(carried, (None, None), "{headers:?} {:?}", call.rpc);
        }
    }
}

#[tokio::test]
async fn a_malformed_tracestate_costs_no_more_than_itself() {
    let fake = Fake::start().await;
    let alone = quick().transport(semel_client::Transport::Unary);
    let service = Service::new(receiver(alone.connect(fake.address()).unwrap()), 0);
    let headers = [("traceparent", SENDER), ("tracestate", "no list")];
    assert_eq!(service.deliver(&headers).await, 200);
    for call in received(&fake) {
        assert_eq!(
            (call.traceparent(), call.tracestate()),
            (Some(SENDER), None)
        );
    }
}

#[tokio::test]
async fn a_span_that_is_active_goes_before_the_header() {
    let (fake, client) = fake().await;
    let service = Service::new(receiver(client), 0);
    let context = Spans::all().context();
    let headers = [("traceparent", SENDER)];
    let delivered = service.deliver(&headers).with_context(context.clone());
    assert_eq!(delivered.await, 200);
    assert_carried(&received(&fake), &traceparent(&context));
    assert_eq!(service.ran_in(), [traceparent(&context)]);
}

#[tokio::test]
async fn the_span_of_a_delivery_is_a_child_of_the_senders_and_parent_of_all_else() {
    let (fake, client) = fake().await;
    let service = Service::new(receiver(client), 0);
    let spans = Spans::all();
    let layer = tracing_opentelemetry::layer().with_tracer(spans.tracer());
    let _default = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    assert_eq!(service.deliver(&[("traceparent", SENDER)]).await, 200);

    let ended = spans.ended();
    let delivery = ended.iter().find(|span| span.name == "delivery");
    let delivery = delivery.expect("it has ended");
    assert_eq!(delivery.span_context.trace_id().to_string(), TRACE_ID);
    assert_eq!(delivery.parent_span_id, SpanId::from_hex(SPAN_ID).unwrap());
    let own = Context::new().with_remote_span_context(delivery.span_context.clone());
    assert_carried(&received(&fake), &traceparent(&own));
    assert_eq!(service.ran_in(), [traceparent(&own)]);
}

#[tokio::test]
async fn work_that_was_accepted_stays_in_its_trace_attempt_after_attempt() {
    let (fake, client) = fake().await;
    let service = Service::new(receiver(client).accept_at_once(8), 1);
    assert_eq!(service.deliver(&[("traceparent", SENDER)]).await, 202);
    fake.has_received(Rpc::Complete, 1).await;
    assert_eq!(fake.received(Rpc::Claim).len(), 2);
    assert_eq!(fake.received(Rpc::Fail).len(), 1);
    assert_carried(&received(&fake), SENDER);
    assert_eq!(service.ran_in(), [SENDER, SENDER]);
    // Nothing of it is left behind in the task that delivered.
    assert!(!Context::current().has_active_span());
    assert_eq!(traceparent(&remote(&[("traceparent", SENDER)])), SENDER);
}
