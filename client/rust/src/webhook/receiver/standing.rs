//! What is answered for what stands under a key, and for what went wrong.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};

use super::{
    Body, IDEMPOTENT_REPLAYED, answer,
    handler::{self, Answered},
    problem::Problem,
};
use crate::{Dead, Error, Run};

/// How long a sender is asked to stay away while Semel is.
const AWAY: Duration = Duration::from_secs(5);

pub(super) fn of_run(run: Run, answered: &Answered) -> Response<Body> {
    match run {
        // Everybody gets the same, the first one too.
        Run::Ran { result, .. } if result == handler::refused() => {
            let mut answer = replayed(result);
            answer.headers_mut().remove(IDEMPOTENT_REPLAYED);
            answer
        }
        Run::Ran { .. } | Run::Failed { .. } => here(answered),
        Run::Replayed(completed) => replayed(completed.result),
        Run::ReplayedFailure(failed) => replayed(failed.result),
        Run::InProgress(busy) => Problem::new(
            StatusCode::CONFLICT,
            "in-progress",
            "The same delivery is being handled",
            "another delivery with this key is being handled",
        )
        .retry_after(busy.retry_after)
        .into_response(),
        Run::BackingOff(resting) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "backing-off",
            "The last attempt failed",
            format!(
                "attempt {} failed; the next may not start yet",
                resting.attempts
            ),
        )
        .retry_after(resting.retry_after)
        .into_response(),
        Run::Dead(it) => dead(&it),
        Run::Uncertain(_) => uncertain(),
    }
}

pub(super) fn dead(dead: &Dead) -> Response<Body> {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "dead",
        "The attempts are used up",
        format!("{} attempts failed, and no more are made", dead.attempts),
    )
    .into_response()
}

pub(super) fn uncertain() -> Response<Body> {
    Problem::new(
        StatusCode::CONFLICT,
        "uncertain",
        "Nobody knows whether the work was done",
        "an attempt ended without a word; somebody has to find out and resolve the key",
    )
    .into_response()
}

/// Whether Semel said nothing, so that nothing was decided and nothing ran.
pub(super) fn is_away(error: &Error) -> bool {
    matches!(
        error,
        Error::Unavailable { .. }
            | Error::DeadlineExceeded
            | Error::ResourceExhausted { .. }
            | Error::Unauthenticated { .. }
            | Error::PermissionDenied { .. }
    )
}

pub(super) fn away(error: &Error) -> Response<Body> {
    tracing::error!(%error, "Semel is away: a delivery is refused");
    let retry_after = match error {
        Error::Unavailable { retry_after, .. } | Error::ResourceExhausted { retry_after, .. } => {
            *retry_after
        }
        _ => None,
    };
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "unavailable",
        "Deliveries cannot be taken now",
        "whether this was done before cannot be found out now",
    )
    .retry_after(retry_after.unwrap_or(AWAY))
    .into_response()
}

pub(super) fn of_error(error: Error, answered: &Answered) -> Response<Body> {
    match error {
        Error::FingerprintMismatch => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "key-reused",
            "The key was used for another request",
            "this key stands for a request with another payload",
        )
        .into_response(),
        Error::EventTooOld => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "event-too-old",
            "The event is too old",
            "the event is so old that nobody can tell any more whether it was handled",
        )
        .into_response(),
        // The handler ran, and what it said is true, recorded or not. To have the sender come again
        // would run it again.
        Error::NotRecorded { .. } | Error::FailureNotRecorded { .. } => {
            tracing::error!(%error, "a delivery was handled, and that is not recorded");
            here(answered)
        }
        // Somebody else's outcome is the one that stands.
        Error::TakenOver { .. } => {
            tracing::error!(%error, "a delivery was handled twice");
            let detail = "another delivery with this key took over";
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "taken-over",
                "Another delivery took over",
                detail,
            )
            .retry_after(Duration::from_secs(1))
            .into_response()
        }
        error => {
            tracing::error!(%error, "a delivery could not be claimed");
            let detail = "the delivery could not be claimed";
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "not-claimed",
                "The delivery could not be claimed",
                detail,
            )
            .into_response()
        }
    }
}

/// What the handler answered to this very delivery.
fn here(answered: &Answered) -> Response<Body> {
    answered
        .take()
        .unwrap_or_else(|| handler::panicked().into_response())
}

fn replayed(stored: Bytes) -> Response<Body> {
    answer::replay(stored).unwrap_or_else(|error| {
        tracing::error!(%error, "a duplicate cannot be answered");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "not-an-answer",
            "The stored answer cannot be read",
            error.to_string(),
        )
        .into_response()
    })
}
