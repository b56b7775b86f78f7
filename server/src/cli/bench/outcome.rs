//! What a Claim was answered, and whether that was right.

use semel_proto::v1::{ClaimResponse, claim_response};

use super::mix::Kind;

/// The answer of a Claim, as far as it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome<'a> {
    /// With its token.
    Claimed(&'a [u8]),
    /// With its result.
    Completed(&'a [u8]),
    InProgress,
    BackingOff,
    Failed,
    Dead,
    Uncertain,
    Unknown,
}

/// What follows from the answer of an operation's Claim.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// The operation is done.
    Done,
    /// The key is to be completed with this token.
    Complete(&'a [u8]),
    /// It must not have been answered so: the error's reason.
    Unexpected(&'static str),
}

impl<'a> Outcome<'a> {
    pub fn of(response: &'a ClaimResponse) -> Self {
        use claim_response::Outcome;
        match &response.outcome {
            Some(Outcome::Claimed(it)) => Self::Claimed(&it.token),
            Some(Outcome::Completed(it)) => Self::Completed(&it.result),
            Some(Outcome::InProgress(_)) => Self::InProgress,
            Some(Outcome::BackingOff(_)) => Self::BackingOff,
            Some(Outcome::Failed(_)) => Self::Failed,
            Some(Outcome::Dead(_)) => Self::Dead,
            Some(Outcome::Uncertain(_)) => Self::Uncertain,
            None => Self::Unknown,
        }
    }

    /// Judges the answer of an operation of this kind; `result` is what its key was completed with.
    pub fn judge(self, kind: Kind, result: &[u8]) -> Verdict<'a> {
        match (kind, self) {
            (Kind::New, Self::Claimed(_)) => Verdict::Done,
            (Kind::Pair, Self::Claimed(token)) => Verdict::Complete(token),
            (Kind::Duplicate, Self::Completed(it)) if it == result => Verdict::Done,
            (Kind::Duplicate, Self::Completed(_)) => Verdict::Unexpected("WRONG_RESULT"),
            (_, Self::Claimed(_)) => Verdict::Unexpected("UNEXPECTED_CLAIMED"),
            (_, Self::Completed(_)) => Verdict::Unexpected("UNEXPECTED_COMPLETED"),
            (_, Self::InProgress) => Verdict::Unexpected("UNEXPECTED_IN_PROGRESS"),
            (_, Self::BackingOff) => Verdict::Unexpected("UNEXPECTED_BACKING_OFF"),
            (_, Self::Failed) => Verdict::Unexpected("UNEXPECTED_FAILED"),
            (_, Self::Dead) => Verdict::Unexpected("UNEXPECTED_DEAD"),
            (_, Self::Uncertain) => Verdict::Unexpected("UNEXPECTED_UNCERTAIN"),
            (_, Self::Unknown) => Verdict::Unexpected("WRONG_ANSWER"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_had_to_come_is_right() {
        let done = Outcome::Completed(b"r");
        let claimed = Outcome::Claimed(b"t");
        assert_eq!(claimed.judge(Kind::New, b"r"), Verdict::Done);
        assert_eq!(claimed.judge(Kind::Pair, b"r"), Verdict::Complete(b"t"));
        assert_eq!(done.judge(Kind::Duplicate, b"r"), Verdict::Done);
        for (outcome, kind, reason) in [
            (done, Kind::New, "UNEXPECTED_COMPLETED"),
            (claimed, Kind::Duplicate, "UNEXPECTED_CLAIMED"),
            (Outcome::Completed(b"s"), Kind::Duplicate, "WRONG_RESULT"),
            (Outcome::InProgress, Kind::Pair, "UNEXPECTED_IN_PROGRESS"),
        ] {
            assert_eq!(outcome.judge(kind, b"r"), Verdict::Unexpected(reason));
        }
    }
}
