//! The store's clock, and the one that tests set.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use crate::key::{Span, Timestamp};

/// Where a store takes its time from.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The database's own clock; for the embedded file that is the host's.
    #[default]
    Store,
    /// A clock that stands until a test moves it.
    Manual(ManualClock),
}

/// A clock that stands until it is moved.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that shows `start`.
    pub fn at(start: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(start.as_micros())))
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }

    /// Moves it on.
    pub fn advance(&self, span: Span) {
        self.0.fetch_add(span.as_micros(), Ordering::SeqCst);
    }

    /// Sets it, also back: clocks do that.
    pub fn set(&self, to: Timestamp) {
        self.0.store(to.as_micros(), Ordering::SeqCst);
    }
}

impl Clock {
    /// The time that a statement is to use instead of the database's clock, in microseconds;
    /// `None` to use that clock.
    pub(super) fn injected_us(&self) -> Option<i64> {
        match self {
            Self::Store => None,
            Self::Manual(clock) => Some(clock.now().as_micros()),
        }
    }

    /// The time of a store that lives in this process.
    pub(super) fn now_here(&self) -> Timestamp {
        match self {
            Self::Store => {
                let since = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                Timestamp::from_micros(Span::from(since).as_micros())
            }
            Self::Manual(clock) => clock.now(),
        }
    }
}
