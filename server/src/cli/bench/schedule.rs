//! When operations are to be sent, and which of them are measured.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SECOND: u64 = 1_000_000_000;

/// Nanoseconds since the load began.
pub(super) type Nanos = u64;

/// A part of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    WarmUp,
    /// Or the whole of a load that is not measured.
    Measured,
    Drain,
}

/// A load's clock, and the part of it that is measured.
#[derive(Debug)]
pub(super) struct Window {
    origin: Instant,
    start: Nanos,
    /// Moves to the front when the run is cut short.
    end: AtomicU64,
}

impl Window {
    /// Begins the load now, and the window after `warm_up`.
    pub fn new(warm_up: Duration, length: Duration) -> Self {
        let start = nanos(warm_up);
        Self {
            origin: Instant::now(),
            start,
            end: AtomicU64::new(start.saturating_add(nanos(length))),
        }
    }

    /// Begins a load that ends by itself and of which nothing is measured.
    pub fn unmeasured() -> Self {
        Self {
            origin: Instant::now(),
            start: Nanos::MAX,
            end: AtomicU64::new(Nanos::MAX),
        }
    }

    pub fn now(&self) -> Nanos {
        nanos(self.origin.elapsed())
    }

    pub fn origin(&self) -> Instant {
        self.origin
    }

    /// Where in the load `time` lies, counted from its beginning.
    pub fn part(&self, time: Duration) -> Part {
        match nanos(time) {
            _ if !self.is_measured() => Part::Measured,
            time if time >= self.end() => Part::Drain,
            time if time < self.start => Part::WarmUp,
            _ => Part::Measured,
        }
    }

    pub fn is_measured(&self) -> bool {
        self.start < Nanos::MAX
    }

    /// Nothing is to be sent from here on.
    pub fn end(&self) -> Nanos {
        self.end.load(Ordering::Relaxed)
    }

    /// Ends the window now, unless it is over.
    pub fn cut(&self) {
        self.end.fetch_min(self.now(), Ordering::Relaxed);
    }

    pub fn contains(&self, time: Nanos) -> bool {
        self.start <= time && time < self.end()
    }

    /// How long it really is.
    pub fn length(&self) -> Duration {
        Duration::from_nanos(self.end().saturating_sub(self.start))
    }
}

fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

/// The times of operations that come at a fixed rate, the first of them at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    per_second: u64,
}

impl Schedule {
    /// `per_second` is at least 1.
    pub fn new(per_second: u64) -> Self {
        Self { per_second }
    }

    /// When operation `n`, counted from 0, is to be sent. Exact, so that no error adds up.
    pub fn at(self, n: u64) -> Nanos {
        let (seconds, rest) = (n / self.per_second, n % self.per_second);
        seconds * SECOND + rest * SECOND / self.per_second
    }

    /// How many operations are to be sent up to and including `time`.
    pub fn due(self, time: Nanos) -> u64 {
        // `at(n) <= time` is `n * SECOND < (time + 1) * per_second`.
        let due = ((u128::from(time) + 1) * u128::from(self.per_second)).div_ceil(SECOND.into());
        u64::try_from(due).unwrap_or(u64::MAX)
    }
}

/// Every `of`-th operation of a schedule: what one of several workers has to send.
#[derive(Debug)]
pub(super) struct Share {
    schedule: Schedule,
    worker: u64,
    of: u64,
    taken: u64,
}

impl Share {
    /// The share of `worker`, counted from 0, `of` so many.
    pub fn new(schedule: Schedule, worker: u64, of: u64) -> Self {
        Self {
            schedule,
            worker,
            of,
            taken: 0,
        }
    }

    /// When its next operation is to be sent.
    pub fn next(&self) -> Nanos {
        self.schedule.at(self.worker + self.taken * self.of)
    }

    pub fn take(&mut self) {
        self.taken += 1;
    }

    /// How many operations were taken.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// How many operations should have been sent by `time`, and were not taken.
    pub fn backlog(&self, time: Nanos) -> u64 {
        share_of(self.schedule.due(time), self.worker, self.of).saturating_sub(self.taken)
    }
}

/// How many of the first `operations` fall to `worker`, `of` so many.
pub(super) fn share_of(operations: u64, worker: u64, of: u64) -> u64 {
    operations.saturating_sub(worker).div_ceil(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_come_evenly_and_no_error_adds_up() {
        let schedule = Schedule::new(3);
        let times: Vec<_> = (0..4).map(|n| schedule.at(n)).collect();
        assert_eq!(times, [0, 333_333_333, 666_666_666, 1_000_000_000]);
        let day = 24 * 60 * 60;
        assert_eq!(schedule.at(3 * day), day * SECOND);
    }

    #[test]
    fn an_operation_is_due_from_its_time_on() {
        for rate in [1, 3, 7, 1_000, 123_457, 10_000_000] {
            let schedule = Schedule::new(rate);
            for n in [1, 2, 999, 1_000_003] {
                let at = schedule.at(n);
                assert_eq!(schedule.due(at - 1), n, "{rate}/s, just before {n}");
                assert_eq!(schedule.due(at), n + 1, "{rate}/s, at {n}");
            }
            assert_eq!(schedule.due(0), 1);
        }
    }

    #[test]
    fn shares_together_are_the_schedule() {
        let schedule = Schedule::new(7);
        let mut times: Vec<_> = (0..3)
            .flat_map(|worker| {
                let mut share = Share::new(schedule, worker, 3);
                std::iter::from_fn(move || {
                    let next = share.next();
                    share.take();
                    (next < 2 * SECOND).then_some(next)
                })
            })
            .collect();
        times.sort_unstable();
        let all: Vec<_> = (0..14).map(|n| schedule.at(n)).collect();
        assert_eq!(times, all);
    }

    #[test]
    fn what_is_due_and_was_not_taken_is_the_backlog() {
        let mut share = Share::new(Schedule::new(10), 1, 2);
        assert_eq!(share.backlog(0), 0);
        assert_eq!(share.backlog(SECOND / 10), 1);
        assert_eq!(share.backlog(SECOND), 5);
        share.take();
        assert_eq!(share.backlog(SECOND), 4);
        assert_eq!(share.next(), 3 * SECOND / 10);
    }

    #[test]
    fn a_load_has_its_parts() {
        let ten = Duration::from_secs(10);
        let window = Window::new(ten, ten);
        let parts = [0, 10, 19, 20].map(|second| window.part(Duration::from_secs(second)));
        let expected = [Part::WarmUp, Part::Measured, Part::Measured, Part::Drain];
        assert_eq!(parts, expected);
        assert_eq!(Window::unmeasured().part(ten), Part::Measured);
    }

    #[test]
    fn a_window_that_is_cut_ends_now_and_never_later() {
        let window = Window::new(Duration::ZERO, Duration::from_secs(3_600));
        assert!(window.contains(window.now()));
        window.cut();
        let end = window.end();
        assert!(!window.contains(window.now()));
        window.cut();
        assert_eq!(window.end(), end);
        let nothing = Window::unmeasured();
        assert!(!nothing.contains(nothing.now()));
        assert_eq!(nothing.length(), Duration::ZERO);
    }
}
