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
use tokio::{sync::Semaphore, time::sleep};

use super::{
    Body, IDEMPOTENT_REPLAYED, Settings, body,
    ended::Ended,
    flow::{self, Outcome},
    handler::{Answered, Call, Work},
    problem::Problem,
    service::Handler,
    standing,
    trace::carried,
};
use crate::{Claim, ClaimOutcome, Claimed, Error, FailOutcome, InProgress, Once, Run};

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

/// How long another holder is waited for in one call. Its settlement is heard of at once.
const WATCH: Duration = Duration::from_secs(5);

/// Claims, answers, and leaves the handler to run.
pub(super) async fn accept(
    settings: Arc<Settings>,
    background: Arc<Background>,
    handler: Handler,
    claim: Claim,
    call: Call,
) -> Outcome {
    if settings.stopping.is_cancelled() {
        // Nobody would look after it.
        return (stopping(), Ended::Unavailable);
    }
    let Ok(place) = background.places.clone().try_acquire_owned() else {
        return (too_much_work(), Ended::Unavailable);
    };
    // Nobody has to wait for what is answered at once.
    let claim = claim.wait(Duration::ZERO);
    let (again, key) = (claim.fresh(), claim.key().to_owned());
    let run = settings.once(claim);
    let work = Work {
        settings: settings.clone(),
        handler,
        call,
        answered: Answered::default(),
    };
    let (next, is_duplicate) = match run.ask().await {
        Ok(ClaimOutcome::Claimed(claimed)) => (Next::Run(Box::new((run, claimed))), false),
        // It was accepted before, and the same is said for ever, whatever has become of it since.
        Ok(ClaimOutcome::InProgress(busy)) => (Next::watch(&busy), true),
        Ok(ClaimOutcome::BackingOff(resting)) => (Next::rest(resting.retry_after), true),
        Ok(ClaimOutcome::Completed(_) | ClaimOutcome::Failed(_)) => return accepted(true),
        Ok(ClaimOutcome::Dead(dead)) => return (standing::dead(&dead), Ended::Dead),
        Ok(ClaimOutcome::Uncertain(_)) => return (standing::uncertain(), Ended::Uncertain),
        // Answered by the handler itself: without a claim nobody could look after it.
        Err(error) if standing::is_outage(&error) && settings.handles_when_away => {
            standing::warn_of_handling(&error);
            return flow::unclaimed(&settings, work.handler, work.call.into_request()).await;
        }
        Err(error) => return flow::of_error(error, &Answered::default()),
    };
    let care = background.take_in(&key);
    // A duplicate of what another process has accepted, which may have ended since, is looked after
    // here as well.
    if !is_duplicate || care.is_some() {
        let looking_after = async move {
            let _taken = (place, care);
            look_after(next, work, &again).await;
        };
        settings.handlers.spawn(carried(looking_after));
    }
    accepted(is_duplicate)
}

fn stopping() -> Response<Body> {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "stopping",
        "The service is stopping",
        "the service is about to end",
    )
    .retry_after(AWAY)
    .into_response()
}

fn too_much_work() -> Response<Body> {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "too-much-work",
        "There is too much work",
        "as many deliveries are being handled as may be",
    )
    .retry_after(AWAY)
    .into_response()
}

/// What comes of it afterwards is no delivery's end, and not counted as one.
fn accepted(is_duplicate: bool) -> Outcome {
    let mut response = Response::new(body::full(Bytes::new()));
    *response.status_mut() = StatusCode::ACCEPTED;
    if is_duplicate {
        let replayed = HeaderValue::from_static("true");
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, replayed);
        return (response, Ended::Replayed);
    }
    (response, Ended::Accepted)
}

/// What comes next for a key.
enum Next {
    Run(Box<(Once, Claimed)>),
    /// Asks again after a rest, and waits for another holder.
    Ask {
        rest: Duration,
        wait: Duration,
    },
}

impl Next {
    fn rest(rest: Duration) -> Self {
        let wait = Duration::ZERO;
        Self::Ask { rest, wait }
    }

    /// For another process, or a lease of ours whose end could not be recorded.
    fn watch(busy: &InProgress) -> Self {
        Self::Ask {
            rest: busy.retry_after,
            wait: busy.lease.min(WATCH),
        }
    }
}

/// Makes attempt after attempt until the key is settled or its attempts are used up.
async fn look_after(mut next: Next, work: Work, claim: &Claim) {
    let settings = work.settings.clone();
    loop {
        let ended = match next {
            Next::Run(granted) => {
                let ((run, claimed), work) = (*granted, work.clone());
                run.run_claimed(claimed, |context| work.run(context)).await
            }
            Next::Ask { rest, wait } => {
                let rested = settings.stopping.run_until_cancelled(sleep(rest)).await;
                if rested.is_none() {
                    tracing::warn!("accepted work is left for its delivery to come again");
                    return;
                }
                let (run, work) = (settings.once(claim.fresh().wait(wait)), work.clone());
                run.run(|context| work.run(context)).await
            }
        };
        // It was answered long ago.
        drop(work.answered.take());
        next = match after(ended) {
            Some(next) => next,
            None => return,
        };
    }
}

/// What comes after an attempt; `None` where it was the last.
fn after(ended: Result<Run, Error>) -> Option<Next> {
    match ended {
        Ok(
            Run::BackingOff(resting)
            | Run::Failed {
                outcome: FailOutcome::BackingOff(resting),
                ..
            },
        ) => Some(Next::rest(resting.retry_after)),
        Ok(Run::InProgress(busy)) => Some(Next::watch(&busy)),
        Ok(Run::Dead(_) | Run::Uncertain(_) | Run::Failed { .. }) => {
            tracing::error!("accepted work has failed, and no more attempts are made");
            None
        }
        Ok(Run::Ran { .. } | Run::Replayed(_) | Run::ReplayedFailure(_)) => None,
        Err(
            error @ (Error::NotRecorded { .. }
            | Error::TakenOver { .. }
            | Error::FingerprintMismatch
            | Error::EventTooOld
            | Error::InvalidArgument { .. }),
        ) => {
            tracing::error!(%error, "accepted work may not have been done, or done twice");
            None
        }
        // It was accepted, so whatever is in the way now has to be got over.
        Err(error) => {
            tracing::warn!(%error, "accepted work has to wait");
            Some(Next::rest(AWAY))
        }
    }
}
