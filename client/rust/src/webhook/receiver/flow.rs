//! One delivery, from its first byte to its answer.

use std::{sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tower::BoxError;
use tracing::Instrument as _;

use super::{
    Body, Finality, Settings, admit, background,
    body::{self, NoBody},
    ended::{Count, Ended},
    handler::{self, Answered, Call, Work},
    problem::Problem,
    service::Handler,
    standing,
    trace::{Incoming, carried},
};
use crate::{Claim, Error};

pub(super) async fn answer(
    settings: Arc<Settings>,
    handler: Handler,
    request: Request<Body>,
) -> Response<Body> {
    let is_for = settings.preset.is_for(request.method());
    if !is_for && !settings.preset.is_verified() {
        let (parts, body) = request.into_parts();
        return match admit::principal(&settings, &parts) {
            Ok(_) => pass(handler, Request::from_parts(parts, body)).await,
            Err(problem) => problem.into_response(),
        };
    }
    let count = Count::begun(&settings);
    // Before anything is read: every delivery may hold its whole body in memory.
    let Ok(place) = settings.places.clone().try_acquire_owned() else {
        count.end(Ended::Unavailable);
        return too_many().into_response();
    };
    let (mut parts, body) = request.into_parts();
    let reading = body::whole(body, settings.body_limit_bytes);
    let body = match timeout(settings.body_timeout, reading).await {
        Ok(Ok(body)) => body,
        Ok(Err(why)) => return no_body(&why, settings.body_limit_bytes).into_response(),
        Err(_) => return too_slow(settings.body_timeout).into_response(),
    };
    let claim = match admit::admit(&settings, &mut parts, &body) {
        Ok(Some(claim)) => claim,
        Ok(None) => {
            count.forget();
            return pass(handler, Request::from_parts(parts, body::full(body))).await;
        }
        Err(refused) => {
            count.end(refused.ended);
            return refused.problem.into_response();
        }
    };
    let incoming = Incoming::of(&parts.headers);
    let claim = incoming.name_in(claim);
    let call = Call { parts, body };
    let handling = async {
        // Made here, so that it is a part of the trace.
        let span = span_of(&claim);
        handle(settings, handler, claim, call, (place, count))
            .instrument(span)
            .await
    };
    incoming.around(handling).await
}

/// In a task of its own: with the client gone, what was begun is ended all the same.
async fn handle(
    settings: Arc<Settings>,
    handler: Handler,
    claim: Claim,
    call: Call,
    admission: (OwnedSemaphorePermit, Count),
) -> Response<Body> {
    let (handlers, patience) = (settings.handlers.clone(), settings.answer_within);
    let answered = Answered::default();
    let mut task = match settings.background.clone() {
        None => {
            let answering = once(settings, handler, claim, call, answered.clone());
            handlers.spawn(carried(counted(admission, answering)))
        }
        Some(background) => {
            let accepting = background::accept(settings, background, handler, claim, call);
            handlers.spawn(carried(counted(admission, accepting)))
        }
    };
    tokio::select! {
        biased;
        answer = &mut task => answer.unwrap_or_else(|error| {
            tracing::error!(%error, "a delivery's task panicked");
            handler::panicked().into_response()
        }),
        answer = answered.since(patience) => {
            tracing::warn!("a delivery was handled, and that is not recorded yet");
            answer
        }
    }
}

/// Whose log lines name the key.
fn span_of(claim: &Claim) -> tracing::Span {
    let (namespace, key) = (claim.namespace(), claim.key());
    tracing::info_span!("delivery", namespace, key)
}

/// What a delivery is answered, and what it counts as.
pub(super) type Outcome = (Response<Body>, Ended);

/// Counts the delivery when it has ended, and keeps its place until then.
async fn counted(
    (_place, mut count): (OwnedSemaphorePermit, Count),
    work: impl Future<Output = Outcome>,
) -> Response<Body> {
    // Should it panic.
    count.set(Ended::Failed);
    let (answer, ended) = work.await;
    count.end(ended);
    answer
}

/// Handles the delivery, or answers what stands.
async fn once(
    settings: Arc<Settings>,
    handler: Handler,
    claim: Claim,
    call: Call,
    answered: Answered,
) -> Outcome {
    let spare = settings
        .handles_when_away
        .then(|| (settings.clone(), handler.clone(), call.clone()));
    let run = settings.once(claim);
    let work = Work {
        settings,
        handler,
        call,
        answered: answered.clone(),
    };
    match run.run(|context| work.run(context)).await {
        Ok(run) => {
            let ended = Ended::of_run(&run);
            (standing::of_run(run, &answered), ended)
        }
        Err(error) => match spare {
            Some((settings, handler, call)) if standing::is_outage(&error) => {
                standing::warn_of_handling(&error);
                unclaimed(&settings, handler, call.into_request()).await
            }
            _ => of_error(error, &answered),
        },
    }
}

/// What is answered where there is no claim, or no record of what came of it.
pub(super) fn of_error(error: Error, answered: &Answered) -> Outcome {
    let ended = Ended::of_error(&error);
    let answer = match error {
        error if standing::is_away(&error) => standing::away(&error),
        error => standing::of_error(error, answered),
    };
    (answer, ended)
}

/// Has a delivery handled that could not be claimed.
pub(super) async fn unclaimed(
    settings: &Settings,
    handler: Handler,
    request: Request<Body>,
) -> Outcome {
    match handler.call(request).await {
        Ok(answer) => {
            let ended = match (settings.judge)(answer.status()) {
                Finality::Final => Ended::Handled,
                Finality::Retryable | Finality::Unknown => Ended::Failed,
            };
            (answer, ended)
        }
        Err(error) => (no_answer(&error), Ended::Failed),
    }
}

/// Hands a request on, and what is answered back, as they come.
async fn pass(handler: Handler, request: Request<Body>) -> Response<Body> {
    handler
        .call(request)
        .await
        .unwrap_or_else(|error| no_answer(&error))
}

fn no_answer(error: &BoxError) -> Response<Body> {
    tracing::error!(error, "a handler failed");
    handler::failed().into_response()
}

fn too_slow(patience: Duration) -> Problem {
    let patience_ms = patience.as_millis();
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "slow-body",
        "The body came too slowly",
        format!("the body did not come within {patience_ms} ms"),
    )
}

fn too_many() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "too-many-deliveries",
        "There are too many deliveries",
        "as many deliveries are under way as may be",
    )
    .retry_after(Duration::from_secs(1))
}

fn no_body(why: &NoBody, limit_bytes: usize) -> Problem {
    match why {
        NoBody::TooLong => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "The body is too large",
            format!("the body has more than {limit_bytes} bytes"),
        ),
        NoBody::Broken(error) => Problem::new(
            StatusCode::BAD_REQUEST,
            "broken-body",
            "The body could not be read",
            format!("the body broke off: {error}"),
        ),
    }
}
