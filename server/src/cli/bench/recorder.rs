//! What a worker saw: latencies, counts and errors.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;

use super::errors::Errors;
use super::mix::Kind;
use super::schedule::{Nanos, Window};

/// Latencies in microseconds, exact to three digits.
pub(super) type Latencies = Histogram<u64>;

/// What takes longer counts as so long: an hour.
const LONGEST_US: u64 = 3_600_000_000;

pub(super) fn latencies() -> Latencies {
    Histogram::new(3).expect("up to five digits are allowed")
}

/// Each worker, or each few of them, has one, so that they do not wait for each other.
#[derive(Debug)]
pub(super) struct Recorder {
    by_start: bool,
    pub seen: Seen,
    /// Of operations since the last [`Recorder::take_recent`], measured or not.
    recent: Latencies,
    /// Operations since the load began, measured or not.
    done: u64,
}

/// What counts.
#[derive(Debug)]
pub(super) struct Seen {
    /// By [`Kind`], in the order of [`Kind::ALL`].
    latencies: [Latencies; Kind::ALL.len()],
    /// Operations that were done within the window.
    pub operations: u64,
    /// Calls that were answered within the window.
    pub calls: u64,
    /// Of the whole load, also outside of the window.
    pub errors: Errors,
}

impl Recorder {
    /// With `by_start`, the latencies of operations count that were to start within the window, and
    /// else of those that were done within it.
    pub fn new(by_start: bool) -> Self {
        Self {
            by_start,
            seen: Seen::new(),
            recent: latencies(),
            done: 0,
        }
    }

    /// A call was answered, and as it should have been.
    pub fn called(&mut self, window: &Window, now: Nanos) {
        self.seen.calls += u64::from(window.contains(now));
    }

    /// An operation is done.
    pub fn done(&mut self, window: &Window, kind: Kind, started: Nanos, now: Nanos) {
        let latency_us = (now.saturating_sub(started) / 1_000).min(LONGEST_US);
        let is_within = window.contains(now);
        self.seen.operations += u64::from(is_within);
        let counts = if self.by_start {
            window.contains(started)
        } else {
            is_within
        };
        if counts {
            // They grow by themselves, so nothing is too long for them.
            let _ = self.seen.latencies[kind as usize].record(latency_us);
        }
        let _ = self.recent.record(latency_us);
        self.done += 1;
    }

    /// Operations done since the load began.
    pub fn total(&self) -> u64 {
        self.done
    }

    /// Moves what was seen since the last time into `recent`.
    pub fn take_recent(&mut self, recent: &mut Latencies) {
        let _ = recent.add(&self.recent);
        self.recent.reset();
    }
}

impl Seen {
    pub fn new() -> Self {
        Self {
            latencies: Kind::ALL.map(|_| latencies()),
            operations: 0,
            calls: 0,
            errors: Errors::default(),
        }
    }

    pub fn of(&self, kind: Kind) -> &Latencies {
        &self.latencies[kind as usize]
    }

    pub fn all(&self) -> Latencies {
        let mut all = latencies();
        for one in &self.latencies {
            let _ = all.add(one);
        }
        all
    }

    pub fn merge(&mut self, other: &Self) {
        for (mine, others) in self.latencies.iter_mut().zip(&other.latencies) {
            let _ = mine.add(others);
        }
        self.operations += other.operations;
        self.calls += other.calls;
        self.errors.merge(&other.errors);
    }
}

/// A recorder that its worker writes and the progress reads.
#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<Mutex<Recorder>>);

impl Shared {
    pub fn new(by_start: bool) -> Self {
        Self(Arc::new(Mutex::new(Recorder::new(by_start))))
    }

    pub fn lock(&self) -> MutexGuard<'_, Recorder> {
        // Counts are right or off by one, whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    /// One operation that crosses into the window, one in it, one out of it, one after it.
    fn seen(by_start: bool) -> Seen {
        let window = Window::new(Duration::from_secs(1), Duration::from_secs(1));
        let mut recorder = Recorder::new(by_start);
        for started in [0, SECOND, 2 * SECOND - 1, 2 * SECOND] {
            let now = started + SECOND / 2 + started / SECOND;
            recorder.called(&window, now);
            recorder.done(&window, Kind::Pair, started, now);
        }
        let now = SECOND + 1;
        recorder.done(&window, Kind::New, now - SECOND / 2, now);
        assert_eq!(recorder.total(), 5);
        let mut recent = latencies();
        recorder.take_recent(&mut recent);
        recorder.take_recent(&mut recent);
        assert_eq!(recent.len(), 5);
        recorder.seen
    }

    #[test]
    fn throughput_counts_what_was_done_within_the_window() {
        for by_start in [true, false] {
            let seen = seen(by_start);
            assert_eq!((seen.operations, seen.calls), (2, 1));
        }
    }

    #[test]
    fn latencies_count_by_the_intended_start_or_by_the_end() {
        let by_start = seen(true);
        assert_eq!(by_start.of(Kind::Pair).len(), 2);
        assert_eq!(by_start.of(Kind::New).len(), 0);
        let by_end = seen(false);
        assert_eq!(by_end.of(Kind::Pair).len(), 1);
        assert_eq!(by_end.of(Kind::New).len(), 1);
        assert_eq!(by_end.all().len(), 2);
    }

    #[test]
    fn three_digits_of_a_latency_are_kept_also_of_a_minute() {
        let window = Window::new(Duration::ZERO, Duration::from_secs(600));
        let mut recorder = Recorder::new(true);
        recorder.done(&window, Kind::New, 0, 61_234 * SECOND / 1_000);
        recorder.done(&window, Kind::New, 0, 7_000);
        let all = recorder.seen.all();
        assert_eq!(all.min(), 7);
        assert!(all.max().abs_diff(61_234_000) < 61_234, "{}", all.max());
    }
}
