//! Sends webhooks so that a receiver can tell duplicates: one id for each event, however often it is
//! sent, signed as in [Standard Webhooks](https://www.standardwebhooks.com/).
//!
//! ```no_run
//! # async fn example(order: &str) -> Result<(), Box<dyn std::error::Error>> {
//! use semel_client::webhook::{sender::{Event, Sender, http_client}, signature::Secret};
//!
//! let sender = Sender::new(http_client())
//!     .secret(Secret::standard("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?)
//!     .on_dead_letter(async |letter| eprintln!("not delivered: {letter:?}"));
//! let event = Event::derived(["order", order, "paid"], r#"{"type":"order.paid"}"#);
//! sender.send("https://shop.example/hooks".parse()?, event).await?;
//! # Ok(()) }
//! ```
//!
//! # What is sent again
//! Whatever was not answered, or answered with 3xx, 5xx, 408, 409, 425 or 429, by the [`Schedule`], and
//! not before the receiver's `Retry-After`. A 2xx is the end; so is 410, and every other 4xx: the
//! receiver has said that it will never take the event. What was not delivered in the end is a
//! [`DeadLetter`], with all that is needed to look at it and to send it again.
//!
//! # Metrics
//! With the feature `opentelemetry`, which is on by default, each attempt is counted when it has ended, as
//! `semel.webhook.attempts` with the label `result`, in the scope `semel-client` of the process's global
//! meter provider, which has to be set before the first attempt: `delivered`; `retried`, where another one
//! is to be made; `dead`, where none is.
//!
//! # What is not promised
//! Events live in memory. A program that ends while an event waits for its next attempt has to send it
//! again from where events are kept; under the same id that is always safe.

mod attempt;
mod dead_letter;
mod event;
mod http_client;
mod schedule;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use tokio::{sync::Semaphore, task::JoinHandle, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{BoxError, Service};

use super::{
    metrics::{ATTEMPTS, Counter, RESULT},
    signature::Secret,
};
use attempt::Verdict;

pub use attempt::{Answer, Attempt};
pub use dead_letter::{DeadLetter, Reason};
pub use event::{BadId, Event};
pub use http_client::{HttpClient, http_client};
pub use schedule::Schedule;

type Bury = dyn Fn(DeadLetter) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// See the [module](self). Cheap to clone, and all clones share their bounds.
#[derive(Clone)]
pub struct Sender<H> {
    http: H,
    secrets: Vec<Secret>,
    schedule: Schedule,
    patience: Duration,
    bury: Option<Arc<Bury>>,
    requests: Arc<Semaphore>,
    pending: Arc<Semaphore>,
    stopping: CancellationToken,
    tasks: TaskTracker,
    counted: Counter,
}

impl<H> std::fmt::Debug for Sender<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("secrets", &self.secrets.len())
            .field("schedule", &self.schedule)
            .finish_non_exhaustive()
    }
}

/// An event that a receiver has taken.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Delivered {
    /// What it answered.
    pub answer: Answer,
    /// How many attempts it took.
    pub attempts: usize,
}

impl<H> Sender<H> {
    /// A sender over an HTTP client: [`http_client`], or any that is a [`tower::Service`].
    pub fn new(http: H) -> Self {
        Self {
            http,
            secrets: Vec::new(),
            schedule: Schedule::default(),
            patience: Duration::from_secs(15),
            bury: None,
            requests: Arc::new(Semaphore::new(64)),
            pending: Arc::new(Semaphore::new(10_000)),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            counted: Counter::new(ATTEMPTS),
        }
    }

    /// Signs with this secret too. With two, each event bears two signatures, so that receivers can
    /// change over from one to the other at their leisure. Default: none, and no signature.
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// When to try again. Default: [`Schedule::default`].
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// How long an attempt may take. Default: 15 seconds.
    pub fn timeout(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Most requests at once; an attempt waits for its turn. At least 1. Default: 64.
    pub fn concurrency(mut self, requests: usize) -> Self {
        self.requests = Arc::new(Semaphore::new(requests.clamp(1, Semaphore::MAX_PERMITS)));
        self
    }

    /// Most events that [`Sender::spawn`] has under way, those that wait for their next attempt
    /// included. At least 1. Default: 10,000.
    pub fn pending(mut self, events: usize) -> Self {
        self.pending = Arc::new(Semaphore::new(events.clamp(1, Semaphore::MAX_PERMITS)));
        self
    }

    /// What to do with an event that was not delivered, such as to write it down. It is waited for.
    /// Default: nothing but what [`Sender::send`] gives back.
    pub fn on_dead_letter<F, W>(mut self, bury: F) -> Self
    where
        F: Fn(DeadLetter) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        self.bury = Some(Arc::new(move |letter| Box::pin(bury(letter))));
        self
    }

    /// Makes no more attempts: events that wait for one become dead letters with
    /// [`Reason::Stopped`], so that none is lost without a word, and attempts under way are ended
    /// first. Waits until all that was spawned has ended.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// An attempt, by what came of it: the label `result` of the metric `semel.webhook.attempts`.
    fn count(&self, result: &'static str) {
        self.counted.add([(RESULT, result.into())]);
    }
}

impl<H, R> Sender<H>
where
    H: Service<Request<Full<Bytes>>, Response = Response<R>> + Clone + Send + Sync + 'static,
    H::Error: Into<BoxError>,
    H::Future: Send,
    R: http_body::Body + Unpin + Send + 'static,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    /// Sends an event, again and again where need be: with the default schedule this takes up to an
    /// hour and a quarter. Dropping it makes no more attempts.
    ///
    /// # Errors
    /// The event, when it was not delivered; it has been handed to [`Sender::on_dead_letter`].
    pub async fn send(&self, to: Uri, event: Event) -> Result<Delivered, Box<DeadLetter>> {
        let mut attempts = 0;
        let mut last = None;
        let reason = loop {
            let Some(attempt) = self.attempt(&to, &event).await else {
                break Reason::Stopped;
            };
            attempts += 1;
            let verdict = attempt.verdict();
            tracing::debug!(event = event.id(), attempts, ?verdict, "an event was sent");
            let asked = match (verdict, attempt) {
                (Verdict::Delivered, Attempt::Answered(answer)) => {
                    self.count("delivered");
                    return Ok(Delivered { answer, attempts });
                }
                (verdict, attempt) => {
                    last = Some(attempt);
                    match verdict {
                        Verdict::Gone => break Reason::Gone,
                        Verdict::Refused => break Reason::Refused,
                        Verdict::Again(asked) => asked,
                        Verdict::Delivered => None,
                    }
                }
            };
            let Some(wait) = self.schedule.after(attempts, asked) else {
                break Reason::AttemptsUsedUp;
            };
            self.count("retried");
            let _ = self.stopping.run_until_cancelled(sleep(wait)).await;
        };
        // A sender that is stopped has made no attempt that is not counted yet.
        if reason != Reason::Stopped {
            self.count("dead");
        }
        let letter = DeadLetter {
            to,
            event,
            reason,
            attempts,
            last,
        };
        tracing::warn!(%letter, "an event was not delivered");
        if let Some(bury) = self.bury.clone() {
            let letter = letter.clone();
            // In a task of its own: should it panic, the letter is given back all the same.
            if let Err(error) = tokio::spawn(async move { bury(letter).await }).await {
                tracing::error!(%error, "a dead letter was not taken care of");
            }
        }
        Err(Box::new(letter))
    }

    /// Sends an event in a task of its own. Waits for a place among those that are
    /// [pending](Sender::pending) first, so that a flood of events is held back where it comes from.
    pub async fn spawn(
        &self,
        to: Uri,
        event: Event,
    ) -> JoinHandle<Result<Delivered, Box<DeadLetter>>> {
        let place = self.pending.clone().acquire_owned().await;
        let sender = self.clone();
        self.tasks.spawn(async move {
            let _place = place;
            sender.send(to, event).await
        })
    }

    /// `None` once the sender is to stop.
    async fn attempt(&self, to: &Uri, event: &Event) -> Option<Attempt> {
        let turn = self.requests.acquire();
        let _turn = self.stopping.run_until_cancelled(turn).await?;
        let now = std::time::SystemTime::now();
        let request = attempt::request(to, event, &self.secrets, now);
        Some(attempt::make(self.http.clone(), request, self.patience).await)
    }
}
