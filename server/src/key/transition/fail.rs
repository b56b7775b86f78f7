//! Fail: for now, for good, or nobody knows.

use bytes::Bytes;

use super::{
    Decision, Reply, Standing,
    complete::{already_settled, refuse_stranger},
    revised, view,
};
use crate::key::{Jitter, Record, Settled, Span, State, Timestamp, Token};

/// The holder says that its attempt failed.
#[derive(Debug, Clone)]
pub struct Fail {
    /// The holder's proof.
    pub token: Token,
    /// What went wrong, for people.
    pub error: String,
    /// How it failed.
    pub failure: Failure,
}

/// How an attempt failed.
#[derive(Debug, Clone)]
pub enum Failure {
    /// The work was not done and may be tried again.
    Retryable {
        /// The caller's own rest, instead of the policy's backoff.
        retry_after: Option<Span>,
        /// Chance for the policy's backoff.
        jitter: Jitter,
    },
    /// It failed for good.
    Terminal {
        /// The failure result to replay; may be empty.
        result: Bytes,
    },
    /// Nobody knows whether the work was done.
    Unknown,
}

pub(super) fn fail(fail: &Fail, live: &Standing, now: Timestamp) -> Decision {
    let record = &live.record;
    if let Some(refusal) = refuse_stranger(record, &fail.token) {
        return Decision::refuse(refusal);
    }
    match (&record.state, &fail.failure) {
        // The same token twice, the same kind. A dead key died of a retryable failure: had its
        // lease lapsed, the fence would have moved on.
        (State::Failed { .. }, Failure::Terminal { .. })
        | (State::Retryable { .. } | State::Dead { .. }, Failure::Retryable { .. })
        | (State::Uncertain { .. }, Failure::Unknown) => Decision::reply(Reply::Fail {
            repeat: true,
            outcome: view(live, now),
        }),
        // A holder that said "nobody knows" may have found out.
        (State::InProgress { .. } | State::Uncertain { .. }, _) => settle(fail, live, now),
        _ => Decision::refuse(already_settled(record)),
    }
}

fn settle(fail: &Fail, live: &Standing, now: Timestamp) -> Decision {
    let Standing { record, policy } = live;
    let kept_from = |at: Timestamp| Settled {
        at: now,
        expires_at: at + policy.retention(),
    };
    let state = match &fail.failure {
        Failure::Retryable { .. } if record.attempt >= policy.attempts().get() => State::Dead {
            settled: kept_from(now),
        },
        Failure::Retryable {
            retry_after,
            jitter,
        } => {
            let rest =
                retry_after.unwrap_or_else(|| policy.backoff().after(record.attempt, *jitter));
            let not_before = now + rest;
            // Kept from the end of the rest on, so that a rest longer than the retention does not
            // make the key absent, and claimable, too early.
            State::Retryable {
                not_before,
                settled: kept_from(not_before),
            }
        }
        Failure::Terminal { result } => {
            if let Err(invalid) = policy.check_result(result.len()) {
                return Decision::refuse(invalid.into());
            }
            State::Failed {
                result: result.clone(),
                settled: kept_from(now),
            }
        }
        Failure::Unknown => State::Uncertain { since: now },
    };
    let failed = Standing {
        record: Record {
            state,
            last_error: fail.error.clone(),
            ..revised(record)
        },
        policy: policy.clone(),
    };
    let outcome = view(&failed, now);
    Decision::replace(
        failed.record,
        Reply::Fail {
            repeat: false,
            outcome,
        },
    )
}
