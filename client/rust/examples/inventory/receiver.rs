//! A webhook receiver that takes stock off the shelf once per `Idempotency-Key`.
//!
//! `POST /webhooks` with a header `Idempotency-Key` and a body such as
//! `{"type":"ORDER_PAID","order_id":"o-1","sku":"mug","quantity":2}`.
//!
//! | what happens | answer |
//! | --- | --- |
//! | the order is handled | 200, the remaining stock |
//! | it was handled before | the same status, type and body, and `Idempotent-Replayed: true` |
//! | another request is at it | 409 and `Retry-After` (after [`Receiver::wait`]) |
//! | the key came with another body | 422 |
//! | not enough stock | 409, for good: replayed like a success |
//! | no key, or a body that is no event | 400 |
//! | Semel is away | 503 and `Retry-After`; no stock was taken |
//!
//! Errors are `application/problem+json`. The demo of the server includes this file as it is, with
//! `#[path]`; its two modules lie beside it.

mod answer;
mod stock;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use semel_client::{Claim, Client, Context, Error, Failure, Run};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};

use answer::Answer;
use stock::lock;
pub use stock::{Applied, NotTaken, Stock};

/// The header that names the logical request.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header that marks an answer as the repetition of an earlier one.
pub const REPLAYED: &str = "idempotent-replayed";

/// The receiver: what its handlers share. Cheap to clone; clones are the same receiver.
#[derive(Clone)]
pub struct Receiver {
    semel: Client,
    namespace: String,
    wait: Duration,
    lease: Option<Duration>,
    stock: Stock,
    faults: Faults,
    counters: watch::Sender<Counters>,
}

impl Receiver {
    /// A receiver over `stock` whose keys live in the namespace `webhooks`.
    pub fn new(semel: Client, stock: Stock) -> Self {
        Self {
            semel,
            namespace: "webhooks".to_owned(),
            wait: Duration::ZERO,
            lease: None,
            stock,
            faults: Faults::default(),
            counters: watch::Sender::new(Counters::default()),
        }
    }

    /// The namespace of the keys. Default: `webhooks`.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// How long a duplicate waits for the request that is at it before it is answered 409.
    /// Default: zero, answer at once.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// How long after a crash the next delivery may take over. Default: the namespace's lease.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// The stock that events are taken from.
    pub fn stock(&self) -> &Stock {
        &self.stock
    }

    /// Where to make the next handlers go wrong.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The counts so far, and a way to wait for them to change.
    pub fn counters(&self) -> watch::Receiver<Counters> {
        self.counters.subscribe()
    }

    /// Waits until no handler is at work, also none whose client hung up.
    pub async fn idle(&self) {
        // The sender lives in `self`, so this cannot end in an error.
        let _ = self.counters().wait_for(|now| now.running == 0).await;
    }

    fn count(&self, change: impl FnOnce(&mut Counters)) {
        self.counters.send_modify(change);
    }
}

/// What the receiver did, request by request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Handlers at work now.
    pub running: u64,
    /// Handlers that held a claim and began their work.
    pub entered: u64,
    /// Requests whose work was done here, with success or a final refusal.
    pub handled: u64,
    /// Requests answered with an earlier outcome.
    pub replayed: u64,
    /// Requests that were not acceptable: no key, no event, another body under the same key.
    pub refused: u64,
    /// Requests told to come back because another one is at it, or its backoff is not over.
    pub busy: u64,
    /// Requests told to come back because Semel could not be asked.
    pub unavailable: u64,
    /// Handlers that a fault made crash.
    pub crashed: u64,
}

/// One way in which a handler goes wrong, for demonstrations and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Holds the claim this long before it touches the stock.
    Delay(Duration),
    /// Dies with the claim, before it touches the stock: nothing is settled, and the lease is
    /// extended no more, as if the process had been killed.
    CrashBeforeEffect,
    /// Dies after it took the stock and before that is recorded: the case that no lease can save,
    /// and for which a namespace that handles money keeps lapsed claims on HOLD.
    CrashAfterEffect,
}

/// Faults that are waiting for a handler, one each, first in, first out.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<VecDeque<Fault>>>);

impl Faults {
    /// The next handler that is granted a claim goes wrong like this.
    pub fn inject(&self, fault: Fault) {
        lock(&self.0).push_back(fault);
    }

    fn take(&self) -> Option<Fault> {
        lock(&self.0).pop_front()
    }
}

/// The receiver's routes: `POST /webhooks`, and `GET /stock` for a look at the shelf.
pub fn router(receiver: Receiver) -> Router {
    Router::new()
        .route("/webhooks", post(webhook))
        .route("/stock", get(shelf))
        .with_state(receiver)
}

async fn shelf(State(receiver): State<Receiver>) -> Response {
    Answer::json(StatusCode::OK, &receiver.stock.to_json()).into_response(false)
}

/// The event that this receiver acts on.
#[derive(Debug, Deserialize)]
struct OrderPaid {
    order_id: String,
    sku: String,
    quantity: u64,
}

async fn webhook(
    State(receiver): State<Receiver>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let (key, body, event) = match accept(&headers, body) {
        Ok(Accepted::Act { key, body, event }) => (key, body, event),
        Ok(Accepted::Ignore) => {
            let ignored = serde_json::json!({ "status": "ignored" });
            return Answer::json(StatusCode::OK, &ignored).into_response(false);
        }
        Err(problem) => {
            receiver.count(|n| n.refused += 1);
            return problem.into_response(false);
        }
    };
    // In a task of its own: a client that hangs up must not stop the work half way.
    let mut work = {
        let receiver = receiver.clone();
        tokio::spawn(async move { receiver.handle(key, body, event).await })
    };
    match (&mut work).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, "a handler panicked");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Answer::problem(status, "handler-failed", "the handler failed").into_response(false)
        }
    }
}

enum Accepted {
    Act {
        key: String,
        body: Bytes,
        event: OrderPaid,
    },
    Ignore,
}

/// Checks what can be checked without Semel, so that a bad request uses no key up.
fn accept(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<Accepted, Answer> {
    let bad = |kind, detail: &str| Answer::problem(StatusCode::BAD_REQUEST, kind, detail);
    let key = headers
        .get(IDEMPOTENCY_KEY)
        .ok_or_else(|| bad("key-missing", "the header Idempotency-Key is missing"))?;
    let key = key
        .to_str()
        .ok()
        .filter(|key| !key.is_empty())
        .ok_or_else(|| {
            bad(
                "key-invalid",
                "the header Idempotency-Key is not visible ASCII",
            )
        })?;
    let body = body.map_err(|error| Answer::problem(error.status(), "body", &error.body_text()))?;
    let event: serde_json::Value =
        serde_json::from_slice(&body).map_err(|error| bad("not-json", &error.to_string()))?;
    if event.get("type").and_then(|kind| kind.as_str()) != Some("ORDER_PAID") {
        return Ok(Accepted::Ignore);
    }
    let event =
        serde_json::from_value(event).map_err(|error| bad("not-an-event", &error.to_string()))?;
    Ok(Accepted::Act {
        key: key.to_owned(),
        body,
        event,
    })
}

impl Receiver {
    async fn handle(self, key: String, body: Bytes, event: OrderPaid) -> Response {
        let _running = Running::start(&self);
        let mut claim = Claim::new(&self.namespace, &key)
            .fingerprint(Sha256::digest(&body).to_vec())
            .wait(self.wait);
        if let Some(lease) = self.lease {
            claim = claim.lease(lease);
        }
        // The sending half goes into the work, so the channel also closes when the work ends.
        let (crash, mut crashed) = mpsc::channel(1);
        let work = |context| self.work(context, &key, &event, crash);
        tokio::select! {
            biased;
            // Dropping the run is what a killed process looks like from outside.
            Some(()) = crashed.recv() => {
                self.count(|n| n.crashed += 1);
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Answer::problem(status, "crashed", "a fault killed the handler").into_response(false)
            }
            run = self.semel.run_once(claim, work) => self.respond(run),
        }
    }

    /// The work that must be done once. What it returns is the answer to store.
    async fn work(
        &self,
        context: Context,
        key: &str,
        event: &OrderPaid,
        crash: mpsc::Sender<()>,
    ) -> Result<Bytes, Failure> {
        self.count(|n| n.entered += 1);
        let fault = self.faults.take();
        match fault {
            Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(Fault::CrashBeforeEffect) => die(&crash).await,
            Some(Fault::CrashAfterEffect) | None => {}
        }
        let taken = self.stock.take(key, context.fence().get(), event);
        if fault == Some(Fault::CrashAfterEffect) {
            die(&crash).await;
        }
        match taken {
            Ok(remaining) => {
                let answer = serde_json::json!({
                    "status": "handled",
                    "order_id": event.order_id,
                    "sku": event.sku,
                    "remaining": remaining,
                });
                Ok(Answer::json(StatusCode::OK, &answer).to_bytes())
            }
            Err(NotTaken::Insufficient { available }) => {
                // Final: the same order must not succeed by chance after a restock, when the
                // sender has long been told no. A new decision is a new key.
                let detail = format!("{available} of {} are left", event.sku);
                let no = Answer::problem(StatusCode::CONFLICT, "insufficient-stock", &detail);
                Err(Failure::terminal("insufficient stock", no.to_bytes()))
            }
            Err(NotTaken::Stale) => Err(Failure::retryable("a later holder was here already")),
        }
    }

    fn respond(&self, run: Result<Run, Error>) -> Response {
        match run {
            Ok(Run::Ran { result, .. }) => {
                self.count(|n| n.handled += 1);
                Answer::stored(&result).into_response(false)
            }
            Ok(Run::Failed {
                failure: Failure::Terminal { result, .. },
                ..
            }) => {
                self.count(|n| n.handled += 1);
                Answer::stored(&result).into_response(false)
            }
            Ok(Run::Replayed(stored)) => self.replay(&stored.result),
            Ok(Run::ReplayedFailure(stored)) => self.replay(&stored.result),
            Ok(Run::InProgress(busy)) => {
                self.count(|n| n.busy += 1);
                let status = StatusCode::CONFLICT;
                Answer::problem(status, "in-progress", "another request is at it")
                    .retry_after(busy.retry_after)
                    .into_response(false)
            }
            Ok(Run::BackingOff(busy)) => {
                self.count(|n| n.busy += 1);
                Answer::come_back("backing-off", "the last attempt failed")
                    .retry_after(busy.retry_after)
                    .into_response(false)
            }
            Ok(Run::Failed { failure, .. }) => {
                self.count(|n| n.busy += 1);
                tracing::warn!(%failure, "an attempt failed");
                Answer::come_back("failed", "this attempt failed").into_response(false)
            }
            Ok(other) => {
                tracing::error!(?other, "a key waits for somebody to resolve it");
                self.count(|n| n.refused += 1);
                let status = StatusCode::CONFLICT;
                Answer::problem(
                    status,
                    "unresolved",
                    "this event has to be looked at by a person",
                )
                .into_response(false)
            }
            Err(error) => self.respond_error(error),
        }
    }

    fn replay(&self, stored: &Bytes) -> Response {
        self.count(|n| n.replayed += 1);
        Answer::stored(stored).into_response(true)
    }

    fn respond_error(&self, error: Error) -> Response {
        match error {
            Error::FingerprintMismatch => {
                self.count(|n| n.refused += 1);
                let detail = "the key was used with another body";
                Answer::problem(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", detail)
                    .into_response(false)
            }
            Error::InvalidArgument { message, .. } => {
                self.count(|n| n.refused += 1);
                Answer::problem(StatusCode::BAD_REQUEST, "key-invalid", &message)
                    .into_response(false)
            }
            // The stock is taken: say so, whatever became of the record. Asking for another
            // delivery would only invite a second effect.
            Error::NotRecorded { result, source, .. } => {
                tracing::error!(%source, "handled, but not recorded");
                self.count(|n| n.handled += 1);
                Answer::stored(&result).into_response(false)
            }
            Error::TakenOver { result, fence, .. } => {
                tracing::error!(%fence, "handled, but another delivery took over");
                self.count(|n| n.handled += 1);
                Answer::stored(&result).into_response(false)
            }
            error => {
                tracing::warn!(%error, "semel could not be asked, or not be told of a failure");
                self.count(|n| n.unavailable += 1);
                Answer::come_back("unavailable", "the deduplication service cannot be asked")
                    .retry_after(error.retry_after().unwrap_or_default())
                    .into_response(false)
            }
        }
    }
}

/// Never returns: the caller drops this future together with its claim.
async fn die(crash: &mpsc::Sender<()>) -> ! {
    let _ = crash.send(()).await;
    std::future::pending().await
}

/// Counts a handler for as long as it lives, however it ends.
struct Running(watch::Sender<Counters>);

impl Running {
    fn start(receiver: &Receiver) -> Self {
        receiver.count(|n| n.running += 1);
        Self(receiver.counters.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|n| n.running -= 1);
    }
}
