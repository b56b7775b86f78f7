//! How an attempt failed, and what the key became.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use semel_proto::v1 as wire;

use crate::convert::to_wire;
use crate::outcome::{BackingOff, Dead, Failed, Uncertain};

/// Longest error text that the server takes, in bytes.
const ERROR_LIMIT_BYTES: usize = 4096;

/// How an attempt failed: it decides what a duplicate is told.
///
/// Implement `From<YourError> for Failure` and the closure of
/// [`Client::run_once`](crate::Client::run_once) may use `?`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The work was **not** done and may be tried again after a backoff.
    #[error("failed for now: {error}")]
    Retryable {
        /// What went wrong, for people; cut at 4 KiB.
        error: String,
        /// Wait exactly this long before the next attempt. `None`: the namespace's backoff.
        retry_after: Option<Duration>,
    },
    /// The operation failed for good; `result` is replayed like a success.
    #[error("failed for good: {error}")]
    Terminal {
        /// What went wrong, for people; cut at 4 KiB.
        error: String,
        /// The bytes to replay to duplicates.
        result: Bytes,
    },
    /// Nobody knows whether the work was done; the key stays uncertain until it is resolved.
    #[error("outcome unknown: {error}")]
    Unknown {
        /// What went wrong, for people; cut at 4 KiB.
        error: String,
    },
}

impl Failure {
    /// The work was not done and may be tried again after the namespace's backoff.
    pub fn retryable(error: impl fmt::Display) -> Self {
        Self::Retryable {
            error: error.to_string(),
            retry_after: None,
        }
    }

    /// The work was not done and may be tried again after exactly `retry_after`.
    pub fn retryable_after(error: impl fmt::Display, retry_after: Duration) -> Self {
        Self::Retryable {
            error: error.to_string(),
            retry_after: Some(retry_after),
        }
    }

    /// The operation failed for good, with the bytes to replay to duplicates.
    pub fn terminal(error: impl fmt::Display, result: impl Into<Bytes>) -> Self {
        Self::Terminal {
            error: error.to_string(),
            result: result.into(),
        }
    }

    /// Nobody knows whether the work was done.
    pub fn unknown(error: impl fmt::Display) -> Self {
        Self::Unknown {
            error: error.to_string(),
        }
    }

    pub(crate) fn to_wire(&self, held: &crate::Held) -> wire::FailRequest {
        let (kind, error, result, retry_after) = match self {
            Self::Retryable { error, retry_after } => (
                wire::FailureKind::Retryable,
                error,
                Bytes::new(),
                retry_after.map(to_wire),
            ),
            Self::Terminal { error, result } => {
                (wire::FailureKind::Terminal, error, result.clone(), None)
            }
            Self::Unknown { error } => (wire::FailureKind::Unknown, error, Bytes::new(), None),
        };
        wire::FailRequest {
            namespace: held.namespace.clone(),
            key: held.key.clone(),
            token: held.token.as_bytes().clone(),
            kind: kind.into(),
            error: fitting(error),
            result,
            retry_after,
        }
    }
}

/// The text as the server takes it. A failure must not go unrecorded because its text, which is
/// for people only, is too long.
fn fitting(error: &str) -> String {
    let mut text = error.replace('\0', "\u{FFFD}");
    let mut end = text.len().min(ERROR_LIMIT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// What a key became through a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailOutcome {
    /// It may be claimed again after the backoff.
    BackingOff(BackingOff),
    /// It failed for good.
    Failed(Failed),
    /// Its attempts are used up.
    Dead(Dead),
    /// It is uncertain until somebody resolves it.
    Uncertain(Uncertain),
}

/// A failure that was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedFailure {
    /// The same failure had been recorded before; nothing changed.
    pub repeat: bool,
    /// What the key became.
    pub outcome: FailOutcome,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_text_is_cut_between_characters() {
        let text = "é".repeat(ERROR_LIMIT_BYTES);
        let cut = fitting(&text);
        assert_eq!(cut.len(), ERROR_LIMIT_BYTES);
        assert!(text.starts_with(&cut));
        assert_eq!(fitting(&format!("x{text}")).len(), ERROR_LIMIT_BYTES - 1);
    }

    #[test]
    fn an_error_text_holds_no_nul() {
        assert_eq!(fitting("a\0b"), "a\u{FFFD}b");
    }
}
