//! Claim: the right to act, or what stands. Row numbers are those of the decision table in
//! `docs/guarantees.md`.

use std::sync::Arc;

use bytes::Bytes;

use super::{ClaimReply, Decision, Outcome, Refusal, Reply, Standing, view};
use crate::key::{
    AttemptId, Fingerprint, Invalid, KeyId, Memory, NewRecord, OnLapse, Policy, Record, Settled,
    Span, State, Timestamp, Token,
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
    /// What the namespace may have forgotten although the policy says otherwise.
    pub memory: Memory,
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
        let insert_until = if self.lacks_fingerprint() {
            Timestamp::MIN
        } else {
            // The last moment before the event is too old.
            self.forgets_event_at()
                .map_or(Timestamp::MAX, |at| at - Span::from_micros(1))
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

    /// From when on the event may have been handled and forgotten.
    fn forgets_event_at(&self) -> Option<Timestamp> {
        let event_time = self.event_time?;
        Some(self.memory.forgets_at(event_time, self.policy.retention()))
    }

    /// The record of this claim as the attempt after `previous`, which said `last_error`.
    fn after(&self, previous: &Record, last_error: String, now: Timestamp) -> Record {
        Record {
            attempt_id: self.attempt_id,
            fence: previous.fence.next(now),
            revision: 1,
            attempt: previous.attempt.saturating_add(1),
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
            last_error,
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
        return Decision::refuse(missing_fingerprint());
    }
    if claim.forgets_event_at().is_some_and(|at| at <= now) {
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
    // Row 2. What the record's policy asks for, not the namespace's now: a changed policy would
    // otherwise turn the repeats of older claims into mismatches, and keys in progress into keys
    // that nobody can reclaim.
    if record
        .fingerprint
        .differs(&claim.fingerprint, policy.fingerprint_required())
    {
        return Decision::refuse(Refusal::FingerprintMismatch {
            current_fence: record.fence,
        });
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
            next_attempt(claim, record, record.last_error.clone(), now)
        }
        // Rows 4 and 8 to 11.
        _ => stands(live, now),
    }
}

/// Row 5: the lease lapsed and the next caller may have the claim, if an attempt is left.
fn on_lapsed(claim: &Claim, live: &Standing, now: Timestamp) -> Decision {
    let Standing { record, policy } = live;
    if record.attempt < policy.attempts().get() {
        // The lapsed attempt said nothing.
        return next_attempt(claim, record, String::new(), now);
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

/// Rows 5 and 7: the key is free for another attempt, under the namespace's policy now.
fn next_attempt(claim: &Claim, previous: &Record, last_error: String, now: Timestamp) -> Decision {
    if claim.lacks_fingerprint() {
        return Decision::refuse(missing_fingerprint());
    }
    grant(claim.after(previous, last_error, now), now)
}

fn missing_fingerprint() -> Refusal {
    Invalid::new(
        "fingerprint",
        "must not be empty: the namespace requires fingerprints",
    )
    .into()
}

fn grant(record: Record, now: Timestamp) -> Decision {
    let reply = Reply::Claim(ClaimReply::Claimed(ClaimGrant::of(&record, now)));
    Decision::replace(record, reply)
}

fn stands(live: &Standing, now: Timestamp) -> Decision {
    let outcome: Outcome = view(live, now);
    Decision::reply(Reply::Claim(ClaimReply::Standing(outcome)))
}
