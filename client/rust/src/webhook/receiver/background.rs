//! Answering at once, and working afterwards.
//!
//! Who is answered 2xx does not send again. So from there on it is this process that sees to it that the
//! work is done: it tries again where an attempt fails, by the namespace's backoff, until the key is
//! settled or its attempts are used up. If the process ends before that, the lease lapses, and nothing
//! happens until the delivery comes again or somebody looks after the key: its last attempt, and where
//! they are kept its delivery, are in Semel.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::{sync::Semaphore, task::JoinHandle, time::sleep};
use tower::{BoxError, Service};

use super::{
    Body, IDEMPOTENT_REPLAYED, Settings,
    handler::{Answered, Call, Work, refused},
    problem::Problem,
    standing,
};
use crate::{Claim, ClaimOutcome, Error, FailOutcome, Run};

/// Between two attempts to reach a Semel that is away.
const AWAY: Duration = Duration::from_secs(5);

/// Claims, answers, and leaves the handler to run.
pub(super) async fn accept<S, R>(
    settings: Arc<Settings>,
    places: Arc<Semaphore>,
    handler: S,
    claim: Claim,
    call: Call,
) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    R: http_body::Body + Send + 'static,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    let Ok(place) = places.try_acquire_owned() else {
        return Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too-much-work",
            "There is too much work",
            "as many deliveries are being handled as may be",
        )
        .retry_after(AWAY)
        .into_response();
    };
    let next = claim.fresh();
    let run = settings.client.once(claim).if_refused(refused());
    let claimed = match run.ask().await {
        Ok(ClaimOutcome::Claimed(claimed)) => claimed,
        // It was accepted before, and the same is said for ever, whatever has become of it since.
        Ok(
            ClaimOutcome::InProgress(_)
            | ClaimOutcome::BackingOff(_)
            | ClaimOutcome::Completed(_)
            | ClaimOutcome::Failed(_),
        ) => return accepted(true),
        Ok(ClaimOutcome::Dead(dead)) => return standing::dead(&dead),
        Ok(ClaimOutcome::Uncertain(_)) => return standing::uncertain(),
        Err(error) if standing::is_away(&error) => return standing::away(&error),
        Err(error) => return standing::of_error(error, &Answered::default()),
    };
    let work = Work {
        settings: settings.clone(),
        handler,
        call,
        answered: Answered::default(),
    };
    settings.handlers.spawn(async move {
        let _place = place;
        // In tasks of their own, as a handler may panic.
        let first = work.clone();
        let attempt = tokio::spawn(async move {
            let work = |context| first.run(context);
            run.run_claimed(claimed, work).await
        });
        until_settled(attempt, work, &next).await;
    });
    accepted(false)
}

fn accepted(is_duplicate: bool) -> Response<Body> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::ACCEPTED;
    if is_duplicate {
        let replayed = HeaderValue::from_static("true");
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, replayed);
    }
    response
}

/// Makes attempt after attempt until the key is settled or its attempts are used up.
async fn until_settled<S, R>(
    mut attempt: JoinHandle<Result<Run, Error>>,
    work: Work<S>,
    claim: &Claim,
) where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    R: http_body::Body + Send + 'static,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    loop {
        let wait = match attempt.await {
            // A panic was recorded as a failure; the backoff is found out by asking.
            Err(_) => Duration::ZERO,
            Ok(Ok(
                Run::BackingOff(resting)
                | Run::Failed {
                    outcome: FailOutcome::BackingOff(resting),
                    ..
                },
            )) => resting.retry_after,
            // Another process, or a lease of ours whose end could not be recorded.
            Ok(Ok(Run::InProgress(busy))) => busy.lease.max(busy.retry_after),
            Ok(Err(error)) if standing::is_away(&error) => AWAY,
            Ok(Err(Error::FailureNotRecorded { .. })) => AWAY,
            Ok(Ok(Run::Dead(_) | Run::Failed { .. })) => {
                tracing::error!("accepted work has failed, and no more attempts are made");
                return;
            }
            Ok(Ok(_)) => return,
            Ok(Err(error)) => {
                tracing::error!(%error, "accepted work may not have been done, or done twice");
                return;
            }
        };
        let stopping = &work.settings.stopping;
        if stopping.run_until_cancelled(sleep(wait)).await.is_none() {
            tracing::warn!("accepted work is left for its delivery to come again");
            return;
        }
        let run = work.settings.client.once(claim.fresh());
        let (run, work) = (run.if_refused(refused()), work.clone());
        attempt = tokio::spawn(async move { run.run(|context| work.run(context)).await });
    }
}
