//! The decision tables: a command, what stands under its key, and the store's time, to an answer
//! and a change.
//!
//! One file a command. A record past its retention is taken for absent before anything else is
//! looked at, so no rule below can forget to. Decisions are safe to act on a little later than
//! `now`: every condition that grants something ("lapsed", "not before", "past its retention")
//! stays true as time goes on unless the record changes, and a changed record fails the
//! compare-and-swap and is decided again.

mod checkpoint;
mod claim;
mod complete;
mod extend;
mod fail;
mod lookup;
mod refusal;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;

pub use claim::{Claim, ClaimGrant};
pub use complete::Complete;
pub use extend::Extend;
pub use fail::{Fail, Failure};
pub use lookup::{Details, Outcome, view};
pub use refusal::Refusal;

use super::{NewRecord, Policy, Record, Span, Timestamp, Token};

/// What a caller asks of one key.
#[derive(Debug, Clone)]
pub enum Command {
    /// May I act, or has it been done?
    Claim(Claim),
    /// It was carried out.
    Complete(Complete),
    /// The attempt failed.
    Fail(Fail),
    /// The holder needs more time.
    Extend(Extend),
    /// The holder saves its progress.
    Checkpoint {
        /// The holder's proof.
        token: Token,
        /// What to hand to the next attempt.
        checkpoint: Bytes,
    },
    /// What stands?
    Lookup,
}

impl Command {
    /// Whether it settles a key or keeps a claim alive. These outrank claims under overload:
    /// shedding one of them makes a duplicate.
    pub fn is_of_a_holder(&self) -> bool {
        !matches!(self, Self::Claim(_) | Self::Lookup)
    }
}

/// What a command answers when it is not refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Of Claim.
    Claim(ClaimReply),
    /// Of Complete.
    Complete {
        /// It had been recorded before.
        repeat: bool,
        /// When it was recorded.
        completed_at: Timestamp,
    },
    /// Of Fail.
    Fail {
        /// It had been recorded before.
        repeat: bool,
        /// What the key became.
        outcome: Outcome,
    },
    /// Of Extend.
    Extend {
        /// Time left of the lease.
        lease: Span,
        /// Time left to hold the claim at all.
        hold: Span,
    },
    /// Of Checkpoint.
    Checkpoint,
    /// Of Lookup.
    Lookup {
        /// What stands.
        outcome: Outcome,
        /// More about it.
        details: Details,
    },
}

impl Reply {
    /// Bytes of the parts that can be large.
    pub fn payload_len(&self) -> usize {
        let of = |outcome: &Outcome| match outcome {
            Outcome::Completed { result, .. } => result.len(),
            Outcome::Failed { result, error, .. } => result.len() + error.len(),
            Outcome::BackingOff { last_error, .. }
            | Outcome::Dead { last_error, .. }
            | Outcome::Uncertain { last_error, .. } => last_error.len(),
            Outcome::InProgress { .. } => 0,
        };
        let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        match self {
            Self::Claim(ClaimReply::Claimed(grant)) => {
                len(&grant.checkpoint) + grant.last_error.len()
            }
            Self::Claim(ClaimReply::Standing(outcome)) | Self::Fail { outcome, .. } => of(outcome),
            Self::Lookup { outcome, details } => {
                of(outcome) + len(&details.checkpoint) + len(&details.delivery)
            }
            Self::Complete { .. } | Self::Extend { .. } | Self::Checkpoint => 0,
        }
    }
}

/// What a Claim answers: the right to act, or what stands.
#[derive(Debug, Clone, PartialEq)]
pub enum ClaimReply {
    /// The caller may act.
    Claimed(ClaimGrant),
    /// It may not; this stands.
    Standing(Outcome),
}

/// What is stored under a key, with the policy it was claimed under.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The record.
    pub record: Record,
    /// The policy named by `record.policy_id`.
    pub policy: Arc<Policy>,
}

/// What to do about a command.
#[derive(Debug)]
pub enum Decision {
    /// Answer; nothing changes.
    Answer(Result<Reply, Refusal>),
    /// Insert the claim's [`Claim::new_record`] if nothing stands there, and answer with
    /// [`ClaimGrant::of`] what was inserted. If something does by now, decide again.
    Insert(Box<NewRecord>),
    /// Replace the record that was looked at, and answer. If it has changed by now, decide again.
    Replace {
        /// What is to stand. Its revision is already counted on.
        record: Box<Record>,
        /// The answer once it stands.
        reply: Reply,
    },
}

impl Decision {
    fn refuse(refusal: Refusal) -> Self {
        Self::Answer(Err(refusal))
    }

    fn reply(reply: Reply) -> Self {
        Self::Answer(Ok(reply))
    }

    fn replace(record: Record, reply: Reply) -> Self {
        Self::Replace {
            record: Box::new(record),
            reply,
        }
    }
}

/// Decides `command` on key `id`, where `standing` is stored, at `now` by the store's clock.
pub fn decide(
    id: &super::KeyId,
    command: &Command,
    standing: Option<&Standing>,
    now: Timestamp,
) -> Decision {
    let live = standing.filter(|standing| !standing.record.is_forgotten(now));
    match (command, live) {
        (Command::Claim(claim), Some(live)) => claim::on_live(claim, live, now),
        (Command::Claim(claim), None) => claim::on_absent(id, claim, standing, now),
        (_, None) => Decision::refuse(Refusal::KeyNotFound),
        (Command::Lookup, Some(live)) => lookup::lookup(live, now),
        (Command::Complete(complete), Some(live)) => complete::complete(complete, live, now),
        (Command::Fail(fail), Some(live)) => fail::fail(fail, live, now),
        (Command::Extend(extend), Some(live)) => extend::extend(extend, live, now),
        (Command::Checkpoint { token, checkpoint }, Some(live)) => {
            checkpoint::checkpoint(token, checkpoint, live)
        }
    }
}

/// A copy of the record to change, one revision on. Revisions are only compared for equality, so
/// they may wrap.
fn revised(record: &Record) -> Record {
    Record {
        revision: record.revision.wrapping_add(1),
        ..record.clone()
    }
}
