//! Which answers are final.

use http::StatusCode;

use crate::webhook::asks_for_another_try;

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
        status if status.is_server_error() || asks_for_another_try(status) => Finality::Retryable,
        _ => Finality::Final,
    }
}
