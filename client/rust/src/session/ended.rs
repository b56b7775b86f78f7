//! The status of commands whose stream ended without an answer to them.

use std::error::Error as _;
use std::sync::Arc;

use tonic::{Code, Status};

/// What became of a command whose stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It never left this process.
    NotSent,
    /// It was sent, and may or may not have been carried out.
    Lost,
}

/// The source that makes such a status one of the transport and not of the server.
#[derive(Debug, thiserror::Error)]
#[error("the session ended: {how}")]
struct SessionEnded {
    how: &'static str,
    fate: Fate,
    #[source]
    cause: Option<Status>,
}

/// UNAVAILABLE, with the server's word on when to come back if it gave one, and with a source.
pub(super) fn ended(fate: Fate, how: &'static str, cause: Option<Status>) -> Status {
    let details = cause.as_ref().map(Status::details).unwrap_or_default();
    let details = details.to_vec().into();
    let mut status = Status::with_details(Code::Unavailable, "the session ended", details);
    status.set_source(Arc::new(SessionEnded { how, fate, cause }));
    status
}

/// The command was on a stream that ended, and may have been what ended it.
pub(crate) fn was_lost(status: &Status) -> bool {
    let ended = status
        .source()
        .and_then(|source| source.downcast_ref::<SessionEnded>());
    ended.is_some_and(|ended| ended.fate == Fate::Lost)
}
