//! What a Claim was answered, and whether that was right.

use semel_proto::v1::{ClaimResponse, claim_response};

use super::mix::{Kind, Operation};
use super::recent::{Earlier, Stage};
use super::schedule::Nanos;

/// The answer of a Claim, as far as it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome<'a> {
    Claimed(Grant<'a>),
    /// With its result.
    Completed(&'a [u8]),
    InProgress,
    BackingOff,
    Failed,
    Dead,
    Uncertain,
    Unknown,
}

/// What a holder is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grant<'a> {
    pub token: &'a [u8],
    /// For how long.
    pub lease: Nanos,
}

/// What follows from the answer of an operation's Claim.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// The operation is done.
    Done,
    /// The operation is done, and its key claimed for so long.
    Claimed(Nanos),
    /// The key is claimed and to be completed.
    Complete(Grant<'a>),
    /// It must not have been answered so: the error's reason.
    Unexpected(&'static str),
}

impl<'a> Outcome<'a> {
    pub fn of(response: &'a ClaimResponse) -> Self {
        use claim_response::Outcome;
        match &response.outcome {
            Some(Outcome::Claimed(it)) => Self::Claimed(Grant {
                token: &it.token,
                lease: it
                    .lease
                    .as_ref()
                    .map_or(0, |it| nanos(it.seconds, it.nanos)),
            }),
            Some(Outcome::Completed(it)) => Self::Completed(&it.result),
            Some(Outcome::InProgress(_)) => Self::InProgress,
            Some(Outcome::BackingOff(_)) => Self::BackingOff,
            Some(Outcome::Failed(_)) => Self::Failed,
            Some(Outcome::Dead(_)) => Self::Dead,
            Some(Outcome::Uncertain(_)) => Self::Uncertain,
            None => Self::Unknown,
        }
    }

    /// Judges the answer that an operation got `now`; `result` is what its key is completed with.
    pub fn judge(self, operation: &Operation, now: Nanos, result: &[u8]) -> Verdict<'a> {
        match (operation.kind, operation.earlier, self) {
            (Kind::New, _, Self::Claimed(grant)) => Verdict::Claimed(grant.lease),
            (Kind::Pair, _, Self::Claimed(grant)) => Verdict::Complete(grant),
            (Kind::Duplicate, _, Self::Completed(it)) => replayed(it, result),
            (Kind::Repeat, Some(earlier), _) => self.judge_repeat(earlier, now, result),
            _ => self.unexpected(),
        }
    }

    /// Judges the answer of a second Claim: whatever the key's first claimer had reached when this
    /// one was sent, and may have reached since, but never a second holder while the lease holds.
    fn judge_repeat(self, earlier: Earlier, now: Nanos, result: &[u8]) -> Verdict<'a> {
        let may_be_completed = earlier.stage != Stage::Claimed;
        let may_be_held = earlier.stage != Stage::Completed;
        let is_lapsed = earlier.lease_until <= now;
        match self {
            Self::Completed(it) if may_be_completed => replayed(it, result),
            Self::InProgress if may_be_held => Verdict::Done,
            // What becomes of a lapsed lease is the policy's to say.
            Self::Claimed(_) | Self::Uncertain | Self::Dead if may_be_held && is_lapsed => {
                Verdict::Done
            }
            _ => self.unexpected(),
        }
    }

    fn unexpected(self) -> Verdict<'a> {
        Verdict::Unexpected(match self {
            Self::Claimed(_) => "UNEXPECTED_CLAIMED",
            Self::Completed(_) => "UNEXPECTED_COMPLETED",
            Self::InProgress => "UNEXPECTED_IN_PROGRESS",
            Self::BackingOff => "UNEXPECTED_BACKING_OFF",
            Self::Failed => "UNEXPECTED_FAILED",
            Self::Dead => "UNEXPECTED_DEAD",
            Self::Uncertain => "UNEXPECTED_UNCERTAIN",
            Self::Unknown => "WRONG_ANSWER",
        })
    }
}

fn replayed<'a>(result: &[u8], expected: &[u8]) -> Verdict<'a> {
    if result == expected {
        Verdict::Done
    } else {
        Verdict::Unexpected("WRONG_RESULT")
    }
}

/// A span of the wire; what is less than nothing is nothing.
pub(super) fn nanos(seconds: i64, nanos: i32) -> Nanos {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    let nanos = u64::try_from(nanos).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIMED: Outcome<'static> = Outcome::Claimed(Grant {
        token: b"t",
        lease: 30,
    });
    const DONE: Outcome<'static> = Outcome::Completed(b"r");

    /// An operation whose key is completed with `r`; of a repeat's, with a lease until 100.
    fn operation(kind: Kind, stage: Option<Stage>) -> Operation {
        Operation {
            kind,
            number: 1,
            started: 0,
            earlier: stage.map(|stage| Earlier {
                stage,
                lease_until: 100,
            }),
        }
    }

    fn judged(outcome: Outcome<'static>, kind: Kind) -> Verdict<'static> {
        outcome.judge(&operation(kind, None), 0, b"r")
    }

    #[test]
    fn only_what_had_to_come_is_right() {
        let Outcome::Claimed(grant) = CLAIMED else {
            unreachable!();
        };
        assert_eq!(judged(CLAIMED, Kind::New), Verdict::Claimed(30));
        assert_eq!(judged(CLAIMED, Kind::Pair), Verdict::Complete(grant));
        assert_eq!(judged(DONE, Kind::Duplicate), Verdict::Done);
        for (outcome, kind, reason) in [
            (DONE, Kind::New, "UNEXPECTED_COMPLETED"),
            (CLAIMED, Kind::Duplicate, "UNEXPECTED_CLAIMED"),
            (Outcome::Completed(b"s"), Kind::Duplicate, "WRONG_RESULT"),
            (Outcome::InProgress, Kind::Pair, "UNEXPECTED_IN_PROGRESS"),
        ] {
            assert_eq!(judged(outcome, kind), Verdict::Unexpected(reason));
        }
    }

    #[test]
    fn a_repeat_finds_what_the_first_attempt_has_come_to() {
        use Stage::{Claimed, Completed, Completing};
        let wrong = Outcome::Completed(b"s");
        let right = Verdict::Done;
        let unexpected = Verdict::Unexpected;
        for (stage, now, outcome, verdict) in [
            (Claimed, 99, Outcome::InProgress, right),
            (Claimed, 99, DONE, unexpected("UNEXPECTED_COMPLETED")),
            (Claimed, 99, CLAIMED, unexpected("UNEXPECTED_CLAIMED")),
            (
                Claimed,
                99,
                Outcome::Uncertain,
                unexpected("UNEXPECTED_UNCERTAIN"),
            ),
            (Claimed, 99, Outcome::Dead, unexpected("UNEXPECTED_DEAD")),
            (Claimed, 100, CLAIMED, Verdict::Done),
            (Claimed, 100, Outcome::Uncertain, Verdict::Done),
            (
                Claimed,
                100,
                Outcome::Failed,
                unexpected("UNEXPECTED_FAILED"),
            ),
            (Completing, 99, Outcome::InProgress, Verdict::Done),
            (Completing, 99, DONE, Verdict::Done),
            (Completing, 99, wrong, unexpected("WRONG_RESULT")),
            (Completing, 99, CLAIMED, unexpected("UNEXPECTED_CLAIMED")),
            (Completed, 99, DONE, Verdict::Done),
            (Completed, 99, wrong, unexpected("WRONG_RESULT")),
            (
                Completed,
                99,
                Outcome::InProgress,
                unexpected("UNEXPECTED_IN_PROGRESS"),
            ),
            (Completed, 100, CLAIMED, unexpected("UNEXPECTED_CLAIMED")),
        ] {
            let operation = operation(Kind::Repeat, Some(stage));
            let judged = outcome.judge(&operation, now, b"r");
            assert_eq!(judged, verdict, "{outcome:?} at {now} to {stage:?}");
        }
    }

    #[test]
    fn a_lease_is_read_to_the_nanosecond() {
        assert_eq!(nanos(30, 5), 30_000_000_005);
        assert_eq!((nanos(-1, -1), nanos(i64::MAX, 0)), (0, u64::MAX));
    }
}
