//! What a store keeps under a key.

use bytes::Bytes;

use super::{
    AttemptId, Fence, Fingerprint, KeyId, OnLapse, Policy, PolicyId, Span, Timestamp, Token,
};

/// What stands under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The attempt id of the last claim.
    pub attempt_id: AttemptId,
    /// The fence of the last claim.
    pub fence: Fence,
    /// Counts the changes under one fence; a compare-and-swap expects both unchanged.
    pub revision: i32,
    /// Which attempt the last claim was, counted from 1.
    pub attempt: u32,
    /// The policy of the last claim.
    pub policy_id: PolicyId,
    /// The digest of the request that the key stands for.
    pub fingerprint: Fingerprint,
    /// Who made the last claim, for people.
    pub owner: String,
    /// The W3C traceparent of the last claim; empty when it had none.
    pub traceparent: String,
    /// When the key was first claimed.
    pub created_at: Timestamp,
    /// When the last attempt began.
    pub claimed_at: Timestamp,
    /// Where the key stands.
    pub state: State,
    /// What the last attempt that failed said.
    pub last_error: String,
    /// The last checkpoint.
    pub checkpoint: Option<Bytes>,
    /// The raw delivery, encoded; opaque here.
    pub delivery: Option<Bytes>,
}

/// Where a key stands. A key that was never claimed has no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Somebody holds the claim, or held it when the lease lapsed.
    InProgress {
        /// When the lease lapses.
        lease_until: Timestamp,
    },
    /// It was carried out.
    Completed {
        /// The result to replay.
        result: Bytes,
        /// Since when and until when.
        settled: Settled,
    },
    /// It failed for good.
    Failed {
        /// The failure result to replay.
        result: Bytes,
        /// Since when and until when.
        settled: Settled,
    },
    /// The last attempt failed; the next one may start at `not_before`.
    Retryable {
        /// When the next attempt may start.
        not_before: Timestamp,
        /// Since when and until when.
        settled: Settled,
    },
    /// Its attempts are used up.
    Dead {
        /// Since when and until when.
        settled: Settled,
    },
    /// The holder said that nobody knows whether the work was done.
    Uncertain {
        /// When the holder said so.
        since: Timestamp,
    },
}

/// When an outcome was recorded and how long it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// When it was recorded.
    pub at: Timestamp,
    /// From here on the key is absent to every RPC, purged or not.
    pub expires_at: Timestamp,
}

/// A first claim: what a store inserts if nothing stands under the key.
///
/// Times and the fence are the store's to fill in, by its own clock, in the same statement.
#[derive(Debug, Clone)]
pub struct NewRecord {
    /// The key.
    pub id: KeyId,
    /// The attempt id of the claim.
    pub attempt_id: AttemptId,
    /// The namespace's policy now.
    pub policy_id: PolicyId,
    /// The digest of the request.
    pub fingerprint: Fingerprint,
    /// Who claims, for people.
    pub owner: String,
    /// The claim's W3C traceparent; may be empty.
    pub traceparent: String,
    /// How long the claim stands.
    pub lease: Span,
    /// How long after the claim the purge looks at the record for the first time.
    pub sweep_after: Span,
    /// The claim may be inserted up to this time by the store's clock, and not after it: later the
    /// namespace could have forgotten that it has seen the event.
    pub insert_until: Timestamp,
    /// The raw delivery, encoded.
    pub delivery: Option<Bytes>,
}

impl NewRecord {
    /// The record that stands once a store has inserted this with `fence` at `now`.
    pub fn inserted(self, fence: Fence, now: Timestamp) -> Record {
        Record {
            attempt_id: self.attempt_id,
            fence,
            revision: 1,
            attempt: 1,
            policy_id: self.policy_id,
            fingerprint: self.fingerprint,
            owner: self.owner,
            traceparent: self.traceparent,
            created_at: now,
            claimed_at: now,
            state: State::InProgress {
                lease_until: now + self.lease,
            },
            last_error: String::new(),
            checkpoint: None,
            delivery: self.delivery,
        }
    }
}

impl Record {
    /// The token of the last claim.
    pub fn token(&self) -> Token {
        Token {
            fence: self.fence,
            attempt_id: self.attempt_id,
            policy_id: self.policy_id,
        }
    }

    /// Whether `token` is the last claim's. Its policy is not compared: fence and attempt id name
    /// the claim, and the record's own policy is the one that counts.
    pub fn is_held_by(&self, token: &Token) -> bool {
        self.fence == token.fence && self.attempt_id == token.attempt_id
    }

    /// When and for how long the key is settled; `None` while in progress or uncertain.
    pub fn settled(&self) -> Option<Settled> {
        match &self.state {
            State::Completed { settled, .. }
            | State::Failed { settled, .. }
            | State::Retryable { settled, .. }
            | State::Dead { settled } => Some(*settled),
            State::InProgress { .. } | State::Uncertain { .. } => None,
        }
    }

    /// Whether the key is past its retention, and so absent to every RPC.
    pub fn is_forgotten(&self, now: Timestamp) -> bool {
        self.settled()
            .is_some_and(|settled| settled.expires_at <= now)
    }

    /// Whether the lease lapsed under the policy HOLD, so that nobody knows whether the work was
    /// done.
    ///
    /// This is worked out and never written: a duplicate writes nothing, and the holder may still
    /// come back and settle.
    pub fn is_uncertain_by_lapse(&self, policy: &Policy, now: Timestamp) -> bool {
        matches!(self.state, State::InProgress { lease_until } if lease_until <= now)
            && policy.on_lapse() == OnLapse::Hold
    }
}
