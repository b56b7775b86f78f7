//! The rules of idempotency, pure: no I/O, no clock, no randomness.
//!
//! [`transition::decide`] takes what stands under a key, a command and the store's time, and says
//! what to answer and what to write. Everything that decides about a key is here and only here;
//! stores insert, load and compare-and-swap, and lanes carry commands between the two.

mod attempt;
mod fingerprint;
pub mod limits;
mod memory;
mod name;
mod policy;
mod record;
mod time;
mod token;
pub mod transition;

pub use attempt::{AttemptId, Fence};
pub use fingerprint::Fingerprint;
pub use memory::Memory;
pub use name::{BUCKETS, Key, KeyDigest, KeyId, Namespace};
pub use policy::{Backoff, Jitter, OnLapse, Policy, PolicyId, PolicySettings};
pub use record::{NewRecord, Record, Settled, State};
pub use time::{Span, Timestamp};
pub use token::Token;

/// A field of a request, or of the configuration, that breaks its limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// The field's name on the wire, such as `key`.
    pub field: &'static str,
    /// What is wrong and what the limit is, for people.
    pub problem: String,
}

impl Invalid {
    /// A violation of `field`'s limit.
    pub fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self {
            field,
            problem: problem.into(),
        }
    }
}
