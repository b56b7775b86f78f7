//! One delivery, from its first byte to its answer.

use std::{sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tower::BoxError;
use tracing::Instrument as _;

use super::{
    Body, Settings, admit, background,
    body::{self, NoBody},
    handler::{self, Answered, Call, Work},
    problem::Problem,
    service::Handler,
    standing,
};
use crate::Claim;

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
    // Before anything is read: every delivery may hold its whole body in memory.
    let Ok(place) = settings.places.clone().try_acquire_owned() else {
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
            return pass(handler, Request::from_parts(parts, body::full(body))).await;
        }
        Err(problem) => return problem.into_response(),
    };
    let span = span_of(&claim);
    let call = Call { parts, body };
    handle(settings, handler, claim, call, place)
        .instrument(span)
        .await
}

/// In a task of its own: with the client gone, what was begun is ended all the same.
async fn handle(
    settings: Arc<Settings>,
    handler: Handler,
    claim: Claim,
    call: Call,
    place: OwnedSemaphorePermit,
) -> Response<Body> {
    let (handlers, patience) = (settings.handlers.clone(), settings.answer_within);
    let answered = Answered::default();
    let mut task = match settings.background.clone() {
        None => {
            let answering = once(settings, handler, claim, call, answered.clone());
            handlers.spawn(held(place, answering).in_current_span())
        }
        Some(background) => {
            let accepting = background::accept(settings, background, handler, claim, call);
            handlers.spawn(held(place, accepting).in_current_span())
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

async fn held<P, F: Future>(place: P, work: F) -> F::Output {
    let _place = place;
    work.await
}

/// Handles the delivery, or answers what stands.
async fn once(
    settings: Arc<Settings>,
    handler: Handler,
    claim: Claim,
    call: Call,
    answered: Answered,
) -> Response<Body> {
    let spare = settings
        .handles_when_away
        .then(|| (handler.clone(), call.clone()));
    let run = settings.once(claim);
    let work = Work {
        settings,
        handler,
        call,
        answered: answered.clone(),
    };
    match run.run(|context| work.run(context)).await {
        Ok(run) => standing::of_run(run, &answered),
        Err(error) if standing::is_away(&error) => match spare {
            Some((handler, call)) if standing::is_outage(&error) => {
                standing::warn_of_handling(&error);
                pass(handler, call.into_request()).await
            }
            _ => standing::away(&error),
        },
        Err(error) => standing::of_error(error, &answered),
    }
}

/// Hands a request on, and what is answered back, as they come.
pub(super) async fn pass(handler: Handler, request: Request<Body>) -> Response<Body> {
    handler
        .call(request)
        .await
        .unwrap_or_else(|error: BoxError| {
            tracing::error!(error, "a handler failed");
            handler::failed().into_response()
        })
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
