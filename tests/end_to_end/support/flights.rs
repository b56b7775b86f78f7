//! Calls that are under way: what a fault has to hit to count.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The calls that are under way.
#[derive(Clone, Default)]
pub struct Flights(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    next: u64,
    under_way: BTreeSet<u64>,
    unanswered: BTreeSet<u64>,
}

/// One call, until it is dropped.
pub struct Flight {
    flights: Flights,
    number: u64,
}

impl Flights {
    /// A call begins.
    pub fn begin(&self) -> Flight {
        let mut inner = self.lock();
        let number = inner.next;
        inner.next += 1;
        inner.under_way.insert(number);
        drop(inner);
        Flight {
            flights: self.clone(),
            number,
        }
    }

    /// The calls under way now.
    pub fn now(&self) -> BTreeSet<u64> {
        self.lock().under_way.clone()
    }

    /// How many of those that were under way at `before` still are, or ended without an answer:
    /// taken before a fault and asked after it, the calls that the fault cut.
    pub fn cut(&self, before: &BTreeSet<u64>) -> usize {
        let inner = self.lock();
        let cut =
            |number: &&u64| inner.under_way.contains(number) || inner.unanswered.contains(number);
        before.iter().filter(cut).count()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// It ended without an answer.
    pub fn unanswered(self) {
        self.flights.lock().unanswered.insert(self.number);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.lock().under_way.remove(&self.number);
    }
}
