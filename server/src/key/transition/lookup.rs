//! What stands under a key, for a Lookup and for everybody who may not act.

use bytes::Bytes;

use super::{Decision, Reply, Standing};
use crate::key::{AttemptId, Fence, Span, State, Timestamp, limits};

/// What stands under a key. Nothing here gives the right to act.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Somebody holds the claim.
    InProgress {
        /// Who, for people.
        owner: String,
        /// Time left of its lease; zero when lapsed.
        lease: Span,
        /// How long to wait before asking again.
        retry_after: Span,
        /// Its fence.
        fence: Fence,
        /// Which attempt it is.
        attempt: u32,
        /// Its traceparent.
        traceparent: String,
    },
    /// The last attempt failed.
    BackingOff {
        /// Time to the next attempt; zero when it may start.
        retry_after: Span,
        /// Attempts so far.
        attempts: u32,
        /// What the last one said.
        last_error: String,
    },
    /// It was carried out.
    Completed {
        /// The stored result.
        result: Bytes,
        /// When.
        completed_at: Timestamp,
        /// The fence of the attempt that did.
        fence: Fence,
        /// Which attempt did.
        attempt: u32,
        /// Its traceparent.
        traceparent: String,
    },
    /// It failed for good.
    Failed {
        /// The stored failure result.
        result: Bytes,
        /// What the attempt said.
        error: String,
        /// When.
        failed_at: Timestamp,
        /// The fence of the attempt that failed.
        fence: Fence,
        /// Which attempt failed.
        attempt: u32,
        /// Its traceparent.
        traceparent: String,
    },
    /// Its attempts are used up.
    Dead {
        /// How many there were.
        attempts: u32,
        /// What the last one said.
        last_error: String,
        /// When.
        dead_at: Timestamp,
        /// The key's fence.
        fence: Fence,
        /// The last attempt's traceparent.
        traceparent: String,
    },
    /// Nobody knows whether it was carried out.
    Uncertain {
        /// Who held the claim, for people.
        owner: String,
        /// Its fence.
        fence: Fence,
        /// Attempts so far.
        attempts: u32,
        /// Since when.
        since: Timestamp,
        /// What the holder said.
        last_error: String,
        /// Its traceparent.
        traceparent: String,
    },
}

/// More about what stands, for a Lookup.
#[derive(Debug, Clone, PartialEq)]
pub struct Details {
    /// Who made the last claim.
    pub owner: String,
    /// Its attempt id.
    pub attempt_id: AttemptId,
    /// Its traceparent.
    pub traceparent: String,
    /// When the key was first claimed.
    pub created_at: Timestamp,
    /// When the last attempt began.
    pub claimed_at: Timestamp,
    /// How much longer the outcome is kept; `None` while in progress or uncertain.
    pub retention: Option<Span>,
    /// The last checkpoint.
    pub checkpoint: Option<Bytes>,
    /// The digest of the request that the key stands for.
    pub fingerprint: Bytes,
    /// The raw delivery, encoded.
    pub delivery: Option<Bytes>,
}

/// What stands, as seen at `now` by somebody who may not act.
pub fn view(standing: &Standing, now: Timestamp) -> Outcome {
    let Standing { record, policy } = standing;
    let (fence, attempt) = (record.fence, record.attempt);
    let traceparent = record.traceparent.clone();
    let last_error = record.last_error.clone();
    let uncertain = |since: Timestamp, last_error: String| Outcome::Uncertain {
        owner: record.owner.clone(),
        fence,
        attempts: attempt,
        since,
        last_error,
        traceparent: record.traceparent.clone(),
    };
    match &record.state {
        State::Uncertain { since } => uncertain(*since, last_error),
        // Lapsed without a word: what the record has is the word of the attempt before.
        State::InProgress { lease_until } if record.is_uncertain_by_lapse(policy, now) => {
            uncertain(*lease_until, String::new())
        }
        State::InProgress { lease_until } => {
            let lease = now.until(*lease_until);
            let (shortest, longest) = limits::RETRY_HINT;
            Outcome::InProgress {
                owner: record.owner.clone(),
                lease,
                retry_after: lease.clamp(shortest, longest),
                fence,
                attempt,
                traceparent,
            }
        }
        State::Retryable { not_before, .. } => Outcome::BackingOff {
            retry_after: now.until(*not_before),
            attempts: attempt,
            last_error,
        },
        State::Completed { result, settled } => Outcome::Completed {
            result: result.clone(),
            completed_at: settled.at,
            fence,
            attempt,
            traceparent,
        },
        State::Failed { result, settled } => Outcome::Failed {
            result: result.clone(),
            error: last_error,
            failed_at: settled.at,
            fence,
            attempt,
            traceparent,
        },
        State::Dead { settled } => Outcome::Dead {
            attempts: attempt,
            last_error,
            dead_at: settled.at,
            fence,
            traceparent,
        },
    }
}

pub(super) fn lookup(live: &Standing, now: Timestamp) -> Decision {
    let record = &live.record;
    Decision::reply(Reply::Lookup {
        outcome: view(live, now),
        details: Details {
            owner: record.owner.clone(),
            attempt_id: record.attempt_id,
            traceparent: record.traceparent.clone(),
            created_at: record.created_at,
            claimed_at: record.claimed_at,
            retention: record
                .settled()
                .map(|settled| now.until(settled.expires_at)),
            checkpoint: record.checkpoint.clone(),
            fingerprint: record.fingerprint.as_bytes().clone(),
            delivery: record.delivery.clone(),
        },
    })
}
