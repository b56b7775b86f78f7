//! When an event is sent again.

use std::time::Duration;

use rand::RngExt as _;

/// Waits before each attempt but the first, which is made at once. Cannot be without end.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    waits: Vec<Duration>,
    jitter: f64,
    longest: Duration,
}

impl Default for Schedule {
    /// At once, then after 30 s, 2 min, 10 min and 1 h, each ±20 %.
    fn default() -> Self {
        Self::new([30, 120, 600, 3_600].map(Duration::from_secs))
    }
}

impl Schedule {
    /// Attempts at once, and after each of these waits.
    pub fn new(waits: impl IntoIterator<Item = Duration>) -> Self {
        Self {
            waits: waits.into_iter().collect(),
            jitter: 0.2,
            longest: Duration::from_secs(24 * 60 * 60),
        }
    }

    /// By which share each wait is random, up and down, so that what failed together does not come
    /// back together. From 0 to 1; what is outside is brought inside. Default: 0.2.
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = match share.is_nan() {
            true => 0.0,
            false => share.clamp(0.0, 1.0),
        };
        self
    }

    /// The longest that a receiver's `Retry-After` is followed. Default: a day.
    pub fn longest_retry_after(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }

    /// How many attempts are made at most.
    pub fn attempts(&self) -> usize {
        self.waits.len() + 1
    }

    /// The wait after so many attempts, at least as long as the receiver has asked for; `None` when no
    /// more are made.
    pub(super) fn after(&self, attempts: usize, asked: Option<Duration>) -> Option<Duration> {
        let wait = *self.waits.get(attempts.checked_sub(1)?)?;
        let share = 1.0 + self.jitter * rand::rng().random_range(-1.0..=1.0);
        let wait = Duration::try_from_secs_f64(wait.as_secs_f64() * share).unwrap_or(wait);
        Some(wait.max(asked.unwrap_or_default().min(self.longest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_the_blueprints_within_a_fifth() {
        let schedule = Schedule::default();
        assert_eq!(schedule.attempts(), 5);
        for (attempts, seconds) in [(1, 30.0), (2, 120.0), (3, 600.0), (4, 3_600.0)] {
            let waits: Vec<_> = (0..1_000)
                .map(|_| schedule.after(attempts, None).unwrap().as_secs_f64() / seconds)
                .collect();
            assert!(waits.iter().all(|share| (0.8..=1.2).contains(share)));
            // Random, and in both directions.
            assert!(waits.iter().any(|share| *share < 0.9));
            assert!(waits.iter().any(|share| *share > 1.1));
        }
        assert_eq!(schedule.after(5, None), None);
        assert_eq!(schedule.after(5, Some(Duration::from_secs(1))), None);
    }

    #[test]
    fn retry_after_makes_a_wait_longer_within_a_limit_and_never_shorter() {
        let schedule = Schedule::new([Duration::from_secs(30)])
            .jitter(0.0)
            .longest_retry_after(Duration::from_secs(90));
        let after = |asked| schedule.after(1, Some(Duration::from_secs(asked))).unwrap();
        assert_eq!(after(1), Duration::from_secs(30));
        assert_eq!(after(60), Duration::from_secs(60));
        assert_eq!(after(9_999), Duration::from_secs(90));
    }
}
