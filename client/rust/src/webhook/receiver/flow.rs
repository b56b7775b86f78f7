//! One delivery, from its first byte to its answer.

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tower::{BoxError, Service};

use super::{
    Body, Settings,
    admit::admit,
    background,
    body::{self, NoBody},
    handler::{self, Answered, Call, Work},
    problem::Problem,
    standing,
};
use crate::Claim;

pub(super) async fn answer<S, B, R>(
    settings: Arc<Settings>,
    handler: S,
    request: Request<B>,
) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body,
    B::Error: Into<BoxError>,
    R: http_body::Body + Send + 'static,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    let (mut parts, body) = request.into_parts();
    let body = match body::whole(body, settings.body_limit_bytes).await {
        Ok(body) => body,
        Err(why) => return no_body(&why, settings.body_limit_bytes).into_response(),
    };
    if !settings.preset.is_for(&parts.method) {
        let call = Call { parts, body };
        return whole(call.run(handler, settings.answer_limit_bytes).await);
    }
    let claim = match admit(&settings, &mut parts, &body) {
        Ok(claim) => claim,
        Err(problem) => return problem.into_response(),
    };
    let call = Call { parts, body };
    // A task of its own from here on: with the client gone, what was begun is ended all the same.
    let handlers = settings.handlers.clone();
    let task = match settings.background.clone() {
        None => handlers.spawn(once(settings, handler, claim, call)),
        Some(places) => handlers.spawn(background::accept(settings, places, handler, claim, call)),
    };
    match task.await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::error!(%error, "a handler panicked");
            handler::panicked().into_response()
        }
    }
}

/// Handles the delivery, or answers what stands.
async fn once<S, R>(settings: Arc<Settings>, handler: S, claim: Claim, call: Call) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    R: http_body::Body + Send + 'static,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    let limit_bytes = settings.answer_limit_bytes;
    let spare = settings
        .handles_when_away
        .then(|| (handler.clone(), call.clone()));
    let answered = Answered::default();
    let run = settings.client.once(claim).if_refused(handler::refused());
    let work = Work {
        settings,
        handler,
        call,
        answered: answered.clone(),
    };
    match run.run(|context| work.run(context)).await {
        Ok(run) => standing::of_run(run, &answered),
        Err(error) if standing::is_away(&error) => match spare {
            Some((handler, call)) => {
                tracing::warn!(%error, "Semel is away: a delivery is handled that may have been");
                whole(call.run(handler, limit_bytes).await)
            }
            None => standing::away(&error),
        },
        Err(error) => standing::of_error(error, &answered),
    }
}

fn whole(answer: handler::Answer) -> Response<Body> {
    answer.into_response().map(Full::new)
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
