//! Why a delivery is not believed.

use std::time::Duration;

/// Why a delivery must not be believed. Names headers and spans of time, never a secret, a signature
/// or a body, so that it may be logged and shown to the sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// A header that the scheme needs is not there.
    #[error("there is no {header} header")]
    MissingHeader {
        /// Its name.
        header: String,
    },
    /// A header that must stand once stands more often, so that nobody can say which one counts.
    #[error("the {header} header stands more than once")]
    RepeatedHeader {
        /// Its name.
        header: String,
    },
    /// A header, or the body, is not as the scheme writes it.
    #[error("{place} {problem}")]
    Malformed {
        /// The header's name, or `the body`.
        place: String,
        /// What it should be.
        problem: String,
    },
    /// No secret makes this signature: the delivery is forged, was changed on its way, or was signed
    /// with a secret that is not known here.
    #[error("the signature matches none of the secrets")]
    NoMatch,
    /// It was signed too long ago.
    #[error("it was signed {} s ago, more than the {} s allowed", age.as_secs(), tolerance.as_secs())]
    TooOld {
        /// How long ago.
        age: Duration,
        /// What is allowed.
        tolerance: Duration,
    },
    /// It was signed too far in the future: one of the two clocks is wrong.
    #[error("it was signed {} s in the future, more than the {} s allowed", ahead.as_secs(), tolerance.as_secs())]
    FromTheFuture {
        /// How far ahead.
        ahead: Duration,
        /// What is allowed.
        tolerance: Duration,
    },
}

impl SignatureError {
    pub(super) fn malformed(place: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Malformed {
            place: place.into(),
            problem: problem.into(),
        }
    }
}
