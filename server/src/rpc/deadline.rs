//! The caller's deadline, as the service is told of it.

use tokio::time::Instant;

/// When the caller stops waiting. An extension of every request.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline at this point in time.
    pub fn new(at: Instant) -> Self {
        Self(at)
    }

    /// The point in time.
    pub fn at(&self) -> Instant {
        self.0
    }
}
