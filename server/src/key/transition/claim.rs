//! Claim: the right to act, or what stands. Row numbers are those of the decision table in
//! `docs/guarantees.md`.

use std::sync::Arc;

use bytes::Bytes;

use super::{ClaimReply, Decision, Outcome, Refusal, Reply, Standing, view};
use crate::key::{
    AttemptId, Fingerprint, Invalid, KeyId, NewRecord, OnLapse, Policy, Record, Settled, Span,
    State, Timestamp, Token,
};

/// A request to act.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Made by the client for this attempt, the same when it sends the call again.
    pub attempt_id: AttemptId,
    /// Digest of the request; may be empty.
    pub fingerprint: Fingerprint,
    /// Who claims, for people.
    pub owner: String,
    /// W3C traceparent; may be empty.
    pub traceparent: String,
    /// How long the claim is to stand; already checked against `policy`.
    pub lease: Span,
    /// When the sender made the event.
    pub event_time: Option<Timestamp>,
    /// The raw delivery, encoded; `None` where the policy keeps none.
    pub delivery: Option<Bytes>,
    /// The namespace's policy now.
    pub policy: Arc<Policy>,
    /// Before this time the namespace's memory was shorter than its policy says now.
    pub remembers_from: Timestamp,
}

/// The right to act.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimGrant {
    /// Proof of the claim.
    pub token: Token,
    /// Which attempt it is.
    pub attempt: u32,
    /// Time left of the lease.
    pub lease: Span,
    /// What an earlier attempt saved.
    pub checkpoint: Option<Bytes>,
    /// What the previous attempt said when it failed.
    pub last_error: String,
}

impl ClaimGrant {
    /// The grant that `record` stands for.
    pub fn of(record: &Record, now: Timestamp) -> Self {
        let lease = match record.state {
            State::InProgress { lease_until } => now.until(lease_until),
            _ => Span::ZERO,
        };
        Self {
            token: record.token(),
            attempt: record.attempt,
            lease,
            checkpoint: record.checkpoint.clone(),
            last_error: record.last_error.clone(),
        }
    }
}

impl Claim {
    /// What a store inserts for this claim if nothing stands under `id`.
    pub fn new_record(&self, id: &KeyId) -> NewRecord {
        // Conditions that a blind insert cannot answer for make it miss, so that the claim is
        // decided by the rules below with the store's time in hand.
        let insert_until = if self.lacks_fingerprint() || self.is_before_memory() {
            Timestamp::MIN
        } else {
            match self.event_time {
                Some(event_time) => event_time + self.policy.retention(),
                None => Timestamp::MAX,
            }
        };
        NewRecord {
            id: id.clone(),
            attempt_id: self.attempt_id,
            policy_id: self.policy.id(),
            fingerprint: self.fingerprint.clone(),
            owner: self.owner.clone(),
            traceparent: self.traceparent.clone(),
            lease: self.lease,
            sweep_after: self.policy.retention().plus(self.lease),
            insert_until,
            delivery: self.delivery.clone(),
        }
    }

    fn lacks_fingerprint(&self) -> bool {
        self.policy.fingerprint_required() && self.fingerprint.is_empty()
    }

    fn is_before_memory(&self) -> bool {
        self.event_time
            .is_some_and(|event_time| event_time < self.remembers_from)
    }

    /// Whether the event could have been handled and forgotten: it is older than the oldest event
    /// whose outcome must still be here.
    ///
    /// An outcome is settled after its event was made and kept for the retention from then on, so
    /// an event younger than the retention is remembered.
    fn is_too_old(&self, now: Timestamp) -> bool {
        self.is_before_memory()
            || self
                .event_time
                .is_some_and(|event_time| event_time + self.policy.retention() < now)
    }

    /// The record of this claim as the `attempt`th attempt after `previous`.
    fn after(&self, previous: &Record, attempt: u32, now: Timestamp) -> Record {
        Record {
            attempt_id: self.attempt_id,
            fence: previous.fence.next(now),
            revision: 1,
            attempt,
            policy_id: self.policy.id(),
            // A first fingerprint is kept when a later attempt sends none.
            fingerprint: if self.fingerprint.is_empty() {
                previous.fingerprint.clone()
            } else {
                self.fingerprint.clone()
            },
            owner: self.owner.clone(),
            traceparent: self.traceparent.clone(),
            created_at: previous.created_at,
            claimed_at: now,
            state: State::InProgress {
                lease_until: now + self.lease,
            },
            last_error: previous.last_error.clone(),
            checkpoint: previous.checkpoint.clone(),
            delivery: self.delivery.clone().or_else(|| previous.delivery.clone()),
        }
    }
}

/// Row 1: absent, or past its retention.
pub(super) fn on_absent(
    id: &KeyId,
    claim: &Claim,
    forgotten: Option<&Standing>,
    now: Timestamp,
) -> Decision {
    if claim.lacks_fingerprint() {
        return Decision::refuse(
            Invalid::new(
                "fingerprint",
                "must not be empty: the namespace requires fingerprints",
            )
            .into(),
        );
    }
    if claim.is_too_old(now) {
        return Decision::refuse(Refusal::EventTooOld);
    }
    match forgotten {
        None => Decision::Insert(Box::new(claim.new_record(id))),
        // Not purged yet: a new life of the key, but for the fence, which never starts again.
        Some(Standing { record, .. }) => {
            let fresh = claim.new_record(id).inserted(record.fence.next(now), now);
            grant(fresh, now)
        }
    }
}

/// Rows 2 to 11: something stands.
pub(super) fn on_live(claim: &Claim, live: &Standing, now: Timestamp) -> Decision {
    let Standing { record, policy } = live;
    // Row 2.
    if record
        .fingerprint
        .differs(&claim.fingerprint, claim.policy.fingerprint_required())
    {
        return Decision::refuse(Refusal::FingerprintMismatch);
    }
    match record.state {
        // Row 3.
        State::InProgress { .. } if record.attempt_id == claim.attempt_id => Decision::reply(
            Reply::Claim(ClaimReply::Claimed(ClaimGrant::of(record, now))),
        ),
        State::InProgress { lease_until } if lease_until <= now => match policy.on_lapse() {
            OnLapse::Reclaim => on_lapsed(claim, live, now), // Row 5.
            OnLapse::Hold => stands(live, now),              // Row 6.
        },
        // Row 7.
        State::Retryable { not_before, .. } if not_before <= now => {
            if record.attempt_id == claim.attempt_id {
                return Decision::refuse(Refusal::Superseded {
                    current_fence: record.fence,
                });
            }
            grant(
                claim.after(record, record.attempt.saturating_add(1), now),
                now,
            )
        }
        // Rows 4 and 8 to 11.
        _ => stands(live, now),
    }
}

/// Row 5: the lease lapsed and the next caller may have the claim, if an attempt is left.
fn on_lapsed(claim: &Claim, live: &Standing, now: Timestamp) -> Decision {
    let Standing { record, policy } = live;
    if record.attempt < policy.attempts().get() {
        return grant(
            Record {
                // The lapsed attempt said nothing.
                last_error: String::new(),
                ..claim.after(record, record.attempt.saturating_add(1), now)
            },
            now,
        );
    }
    let dead = Record {
        // The holder's token ends here: "dead" has been answered, and a late Complete must not
        // change it.
        fence: record.fence.next(now),
        state: State::Dead {
            settled: Settled {
                at: now,
                expires_at: now + policy.retention(),
            },
        },
        last_error: String::new(),
        ..super::revised(record)
    };
    let outcome = view(
        &Standing {
            record: dead.clone(),
            policy: policy.clone(),
        },
        now,
    );
    Decision::replace(dead, Reply::Claim(ClaimReply::Standing(outcome)))
}

fn grant(record: Record, now: Timestamp) -> Decision {
    let reply = Reply::Claim(ClaimReply::Claimed(ClaimGrant::of(&record, now)));
    Decision::replace(record, reply)
}

fn stands(live: &Standing, now: Timestamp) -> Decision {
    let outcome: Outcome = view(live, now);
    Decision::reply(Reply::Claim(ClaimReply::Standing(outcome)))
}
