//! How far back a namespace remembers.

use super::{Span, Timestamp};

/// What a namespace may have forgotten although its policy says otherwise.
///
/// A record keeps the policy it was claimed under. So when a namespace's retention is made longer,
/// what was claimed before that is still forgotten after the shorter one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Claims made before this time may have been made under a shorter retention.
    pub shorter_until: Timestamp,
    /// The shortest retention that they may have been made under.
    pub shorter_retention: Span,
}

impl Memory {
    /// Of a namespace whose retention was never made longer.
    pub const FULL: Self = Self {
        shorter_until: Timestamp::MIN,
        shorter_retention: Span::ZERO,
    };

    /// From when on the outcome of an event may be forgotten, where the policy now keeps outcomes
    /// for `retention`.
    ///
    /// An outcome is settled after its event was made, and kept for the retention from then on; so
    /// until then it is here. That holds for senders whose clocks do not run ahead.
    pub fn forgets_at(&self, event_time: Timestamp, retention: Span) -> Timestamp {
        let kept_for = if event_time < self.shorter_until {
            retention.min(self.shorter_retention)
        } else {
            retention
        };
        event_time + kept_for
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_from_before_a_longer_retention_are_forgotten_after_the_shorter_one() {
        let at = |secs: i64| Timestamp::from_micros(secs * 1_000_000);
        let memory = Memory {
            shorter_until: at(0),
            shorter_retention: Span::from_secs(100),
        };
        let forgets = |event| memory.forgets_at(at(event), Span::from_secs(1_000));
        assert_eq!(forgets(-50), at(50));
        assert_eq!(forgets(0), at(1_000));
        // A policy that has become shorter again is the shorter one.
        assert_eq!(memory.forgets_at(at(-50), Span::from_secs(10)), at(-40));
        assert_eq!(
            Memory::FULL.forgets_at(at(-50), Span::from_secs(10)),
            at(-40)
        );
    }
}
