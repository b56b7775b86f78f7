//! Answering at once, and working afterwards.
//!
//! Who is answered 2xx does not send again. So from there on it is this process that sees to it that the
//! work is done: it tries again where an attempt fails, by the namespace's backoff, until the key is
//! settled or its attempts are used up. If the process ends before that, the lease lapses, and nothing
//! happens until the delivery comes again, to whatever process: that one then looks after the key. Or
//! somebody does: the last attempt, and where they are kept the delivery, are in Semel.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use tokio::{sync::Semaphore, task::JoinHandle, time::sleep};
use tracing::Instrument as _;

use super::{
    Body, IDEMPOTENT_REPLAYED, Settings, body,
    handler::{Answered, Call, Work},
    problem::Problem,
    service::Handler,
    standing,
};
use crate::{Claim, ClaimOutcome, Error, FailOutcome, Run};

/// What runs after it was answered.
pub(super) struct Background {
    places: Arc<Semaphore>,
    /// Keys that are looked after here.
    keys: Mutex<HashSet<String>>,
}

impl Background {
    pub fn new(most: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            keys: Mutex::default(),
        }
    }

    fn keys(&self) -> MutexGuard<'_, HashSet<String>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a key into care; `None` where it is already.
    fn take_in(self: &Arc<Self>, key: &str) -> Option<Care> {
        self.keys().insert(key.to_owned()).then(|| Care {
            background: self.clone(),
            key: key.to_owned(),
        })
    }
}

/// A key that is looked after, until this is dropped.
struct Care {
    background: Arc<Background>,
    key: String,
}

impl Drop for Care {
    fn drop(&mut self) {
        self.background.keys().remove(&self.key);
    }
}

/// Between two attempts to reach a Semel that is away.
const AWAY: Duration = Duration::from_secs(5);

/// Claims, answers, and leaves the handler to run.
pub(super) async fn accept(
    settings: Arc<Settings>,
    background: Arc<Background>,
    handler: Handler,
    claim: Claim,
    call: Call,
) -> Response<Body> {
    if settings.stopping.is_cancelled() {
        // Nobody would look after it.
        let detail = "the service is about to end";
        return Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            "The service is stopping",
            detail,
        )
        .retry_after(AWAY)
        .into_response();
    }
    let Ok(place) = background.places.clone().try_acquire_owned() else {
        return Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too-much-work",
            "There is too much work",
            "as many deliveries are being handled as may be",
        )
        .retry_after(AWAY)
        .into_response();
    };
    // Nobody has to wait for what is answered at once.
    let claim = claim.wait(Duration::ZERO);
    let (next, key) = (claim.fresh(), claim.key().to_owned());
    let run = settings.once(claim);
    let work = Work {
        settings: settings.clone(),
        handler,
        call,
        answered: Answered::default(),
    };
    let (step, is_duplicate) = match run.ask().await {
        Ok(ClaimOutcome::Claimed(claimed)) => {
            let work = work.clone();
            // In a task of its own, as a handler may panic.
            let attempt =
                async move { run.run_claimed(claimed, |context| work.run(context)).await };
            (
                Step::Attempt(tokio::spawn(attempt.in_current_span())),
                false,
            )
        }
        // It was accepted before, and the same is said for ever, whatever has become of it since.
        Ok(ClaimOutcome::InProgress(busy)) => (Step::Wait(busy.lease.max(busy.retry_after)), true),
        Ok(ClaimOutcome::BackingOff(resting)) => (Step::Wait(resting.retry_after), true),
        Ok(ClaimOutcome::Completed(_) | ClaimOutcome::Failed(_)) => return accepted(true),
        Ok(ClaimOutcome::Dead(dead)) => return standing::dead(&dead),
        Ok(ClaimOutcome::Uncertain(_)) => return standing::uncertain(),
        Err(error) if standing::is_outage(&error) && settings.handles_when_away => {
            standing::warn_of_handling(&error);
            settings.handlers.spawn(async move {
                let _place = place;
                let request = work.call.into_request();
                if let Err(error) = work.handler.call(request).await {
                    tracing::error!(error, "a handler failed");
                }
            });
            return accepted(false);
        }
        Err(error) if standing::is_away(&error) => return standing::away(&error),
        Err(error) => return standing::of_error(error, &Answered::default()),
    };
    let care = background.take_in(&key);
    // A duplicate of what another process has accepted, which may have ended since, is looked after
    // here as well.
    if !is_duplicate || care.is_some() {
        let looking_after = async move {
            let _taken = (place, care);
            look_after(step, work, &next).await;
        };
        settings.handlers.spawn(looking_after.in_current_span());
    }
    accepted(is_duplicate)
}

fn accepted(is_duplicate: bool) -> Response<Body> {
    let mut response = Response::new(body::full(Bytes::new()));
    *response.status_mut() = StatusCode::ACCEPTED;
    if is_duplicate {
        let replayed = HeaderValue::from_static("true");
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, replayed);
    }
    response
}

/// What comes next for a key.
enum Step {
    Attempt(JoinHandle<Result<Run, Error>>),
    Wait(Duration),
}

/// Makes attempt after attempt until the key is settled or its attempts are used up.
async fn look_after(mut step: Step, work: Work, claim: &Claim) {
    let settings = work.settings.clone();
    loop {
        step = match step {
            Step::Attempt(attempt) => match wait_after(attempt.await.ok()) {
                Some(wait) => Step::Wait(wait),
                None => return,
            },
            Step::Wait(wait) => {
                let waited = settings.stopping.run_until_cancelled(sleep(wait)).await;
                if waited.is_none() {
                    tracing::warn!("accepted work is left for its delivery to come again");
                    return;
                }
                let (run, work) = (settings.once(claim.fresh()), work.clone());
                let attempt = async move { run.run(|context| work.run(context)).await };
                Step::Attempt(tokio::spawn(attempt.in_current_span()))
            }
        };
    }
}

/// How long to wait after an attempt, which panicked where it is `None`; or that it was the last.
fn wait_after(attempt: Option<Result<Run, Error>>) -> Option<Duration> {
    match attempt {
        // What was recorded for a panic is found out by asking.
        None => Some(Duration::ZERO),
        Some(Ok(
            Run::BackingOff(resting)
            | Run::Failed {
                outcome: FailOutcome::BackingOff(resting),
                ..
            },
        )) => Some(resting.retry_after),
        // Another process, or a lease of ours whose end could not be recorded.
        Some(Ok(Run::InProgress(busy))) => Some(busy.lease.max(busy.retry_after)),
        Some(Ok(Run::Dead(_) | Run::Uncertain(_) | Run::Failed { .. })) => {
            tracing::error!("accepted work has failed, and no more attempts are made");
            None
        }
        Some(Ok(_)) => None,
        Some(Err(
            error @ (Error::NotRecorded { .. }
            | Error::TakenOver { .. }
            | Error::FingerprintMismatch
            | Error::EventTooOld),
        )) => {
            tracing::error!(%error, "accepted work may not have been done, or done twice");
            None
        }
        // It was accepted, so whatever is in the way now has to be got over.
        Some(Err(error)) => {
            tracing::warn!(%error, "accepted work has to wait");
            Some(AWAY)
        }
    }
}
