//! Time as the rules see it: points and lengths in whole microseconds.
//!
//! Points come from the store's clock only, so they are never compared with the server's own.

use std::{
    ops::{Add, Sub},
    time::Duration,
};

/// A point in time by the store's clock, in microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Later than any point a store's clock will show.
    pub const MAX: Self = Self(i64::MAX);
    /// Earlier than any point a store's clock will show.
    pub const MIN: Self = Self(i64::MIN);

    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The time from `self` to `later`; zero when `later` is not later.
    pub fn until(self, later: Self) -> Span {
        Span(later.0.saturating_sub(self.0).max(0))
    }
}

/// A length of time, never negative, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(i64);

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// From microseconds; a negative length becomes zero.
    pub const fn from_micros(micros: i64) -> Self {
        Self(if micros < 0 { 0 } else { micros })
    }

    /// From milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Self::from_micros(millis.saturating_mul(1_000))
    }

    /// From seconds.
    pub const fn from_secs(secs: i64) -> Self {
        Self::from_micros(secs.saturating_mul(1_000_000))
    }

    /// In microseconds.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The two lengths together.
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Whether it is no time at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Duration::from_micros(span.0.unsigned_abs())
    }
}

impl From<Duration> for Span {
    /// Rounds up to a whole microsecond, so that a lease is never shorter than asked for.
    fn from(duration: Duration) -> Self {
        let micros = duration.as_nanos().div_ceil(1_000);
        Self(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

impl Add<Span> for Timestamp {
    type Output = Self;
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Self;
    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl std::fmt::Display for Span {
    /// In the largest unit that divides it: `30s`, `250ms`, `7d`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [(i64, &str); 6] = [
            (86_400_000_000, "d"),
            (3_600_000_000, "h"),
            (60_000_000, "m"),
            (1_000_000, "s"),
            (1_000, "ms"),
            (1, "us"),
        ];
        let (size, unit) = UNITS
            .into_iter()
            .find(|(size, _)| self.0 != 0 && self.0 % size == 0)
            .unwrap_or((1_000_000, "s"));
        write!(f, "{}{unit}", self.0 / size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_rounded_up_so_that_a_lease_is_never_shorter_than_asked_for() {
        assert_eq!(
            Span::from(Duration::from_nanos(1_001)),
            Span::from_micros(2)
        );
        assert_eq!(Span::from(Duration::MAX), Span::from_micros(i64::MAX));
    }

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        assert_eq!(Timestamp::MAX + Span::from_secs(1), Timestamp::MAX);
        assert_eq!(Timestamp::MIN - Span::from_secs(1), Timestamp::MIN);
        assert_eq!(Timestamp::MAX.until(Timestamp::MIN), Span::ZERO);
    }

    #[test]
    fn a_span_prints_in_its_largest_whole_unit() {
        for (span, text) in [
            (Span::from_secs(604_800), "7d"),
            (Span::from_secs(90), "90s"),
            (Span::from_millis(1_500), "1500ms"),
            (Span::ZERO, "0s"),
        ] {
            assert_eq!(span.to_string(), text);
        }
    }
}
