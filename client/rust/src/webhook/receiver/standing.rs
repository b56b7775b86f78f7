//! What is answered for what stands under a key, and for what went wrong.

use std::time::Duration;

use http::{Response, StatusCode};

use super::{
    Body, answer,
    handler::{self, Answered},
    problem::Problem,
};
use crate::{Dead, Error, Run};

/// How long a sender is asked to stay away while Semel is.
const AWAY: Duration = Duration::from_secs(5);

pub(super) fn of_run(run: Run, answered: &Answered) -> Response<Body> {
    match run {
        // Everybody gets the same, the first one too.
        Run::Ran { result, .. } if result == answer::too_large() => {
            handler::too_large().into_response()
        }
        Run::Ran { .. } | Run::Failed { .. } => here(answered),
        Run::Replayed(completed) => answer::replay(&completed.result, StatusCode::OK),
        Run::ReplayedFailure(failed) => {
            answer::replay(&failed.result, StatusCode::UNPROCESSABLE_ENTITY)
        }
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
        "nobody knows how an attempt ended; somebody has to find out and resolve the key",
    )
    .into_response()
}

/// Whether nobody knows what stands, and nothing ran here.
pub(super) fn is_away(error: &Error) -> bool {
    is_outage(error)
        || matches!(
            error,
            Error::ResourceExhausted { .. }
                | Error::Unauthenticated { .. }
                | Error::PermissionDenied { .. }
        )
}

/// Whether Semel cannot be reached. A flood of claims or a bad credential are none.
pub(super) fn is_outage(error: &Error) -> bool {
    matches!(error, Error::Unavailable { .. } | Error::DeadlineExceeded)
}

pub(super) fn warn_of_handling(error: &Error) {
    tracing::warn!(%error, "Semel is away: a delivery is handled that may have been");
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
        // Somebody else's outcome is the one that stands: come again and get it.
        Error::TakenOver { .. } | Error::LeaseLost { .. } | Error::Superseded { .. } => {
            settled_elsewhere(&error)
        }
        Error::NotRecorded { ref source, .. } | Error::FailureNotRecorded { ref source, .. }
            if is_settled(source) =>
        {
            settled_elsewhere(&error)
        }
        // The handler ran, and what it said is true, recorded or not. To have the sender come again
        // would run it again.
        Error::NotRecorded { .. } | Error::FailureNotRecorded { .. } => {
            tracing::error!(%error, "a delivery was handled, and that is not recorded");
            here(answered)
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

/// Whether somebody else's outcome stands.
pub(super) fn is_settled(error: &Error) -> bool {
    matches!(
        error,
        Error::LeaseLost { .. }
            | Error::Superseded { .. }
            | Error::ResultConflict
            | Error::AlreadySettled
    )
}

fn settled_elsewhere(error: &Error) -> Response<Body> {
    tracing::error!(%error, "a delivery was handled that was settled elsewhere meanwhile");
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "taken-over",
        "Another delivery took over",
        "another delivery with this key took over, and has its answer",
    )
    .retry_after(Duration::from_secs(1))
    .into_response()
}

/// What the handler answered to this very delivery.
fn here(answered: &Answered) -> Response<Body> {
    answered
        .take()
        .unwrap_or_else(|| handler::panicked().into_response())
}
