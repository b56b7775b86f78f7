//! Which answers are final.

use http::StatusCode;

/// What an answer says of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finality {
    /// The answer stands: it is stored, and replayed to duplicates.
    Final,
    /// The work was not done, and is tried again when the delivery comes again.
    Retryable,
    /// Nobody knows whether the work was done: the key stays uncertain until somebody resolves it.
    Unknown,
}

pub(super) fn of_status(status: StatusCode) -> Finality {
    match status {
        // These ask for another try by their definition (RFC 9110, 8470, 6585).
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::CONFLICT
        | StatusCode::TOO_EARLY
        | StatusCode::TOO_MANY_REQUESTS => Finality::Retryable,
        status if status.is_server_error() => Finality::Retryable,
        _ => Finality::Final,
    }
}
