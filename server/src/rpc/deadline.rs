//! The caller's deadline, as the service is told of it.

use tokio::time::Instant;

/// When the caller stops waiting. An extension of every request.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    at: Instant,
    is_of_the_caller: bool,
}

impl Deadline {
    /// A deadline that the caller named.
    pub fn of_the_caller(at: Instant) -> Self {
        Self {
            at,
            is_of_the_caller: true,
        }
    }

    /// The server's own bound of a single call whose caller named none.
    pub fn of_the_server(at: Instant) -> Self {
        Self {
            at,
            is_of_the_caller: false,
        }
    }

    /// The point in time.
    pub fn at(&self) -> Instant {
        self.at
    }

    /// The point in time, if the caller named it: a stream goes on as long as its caller likes.
    pub fn named(&self) -> Option<Instant> {
        self.is_of_the_caller.then_some(self.at)
    }
}
