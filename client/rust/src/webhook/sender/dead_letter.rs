//! What was not delivered.

use std::fmt;

use http::Uri;

use super::{Attempt, Event};

/// An event that was not delivered, with all that is needed to look at it and to send it again.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Where it was to go.
    pub to: Uri,
    /// The event: its id, its headers and its body.
    pub event: Event,
    /// Why no more attempts were made.
    pub reason: Reason,
    /// How many were made.
    pub attempts: usize,
    /// How the last one ended; `None` when none was made.
    pub last: Option<Attempt>,
}

/// Why no more attempts were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The schedule has no more.
    AttemptsUsedUp,
    /// The receiver will never take it: a 4xx.
    Refused,
    /// The receiver wants no more events at this address: 410.
    Gone,
    /// The sender was [stopped](super::Sender::stop).
    Stopped,
}

/// Without body and headers, which may be personal, and without the query of the address, which may be
/// a secret.
impl fmt::Display for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.to.host().unwrap_or_default();
        let (id, attempts) = (self.event.id(), self.attempts);
        let reason = match self.reason {
            Reason::AttemptsUsedUp => "was not taken",
            Reason::Refused => "was refused",
            Reason::Gone => "is not wanted any more",
            Reason::Stopped => "was left when the sender stopped",
        };
        write!(f, "event {id} {reason} by {host} in {attempts} attempts")?;
        match &self.last {
            Some(Attempt::Answered(answer)) => write!(f, "; the last answer was {}", answer.status),
            Some(Attempt::Unanswered(error)) => write!(f, "; the last error was {error}"),
            None => Ok(()),
        }
    }
}
