//! Complete: it was carried out.

use bytes::Bytes;

use super::{Decision, Refusal, Reply, Standing, revised};
use crate::key::{Record, Settled, State, Timestamp, Token};

/// The holder says that it was carried out.
#[derive(Debug, Clone)]
pub struct Complete {
    /// The holder's proof.
    pub token: Token,
    /// The result to replay; may be empty.
    pub result: Bytes,
}

pub(super) fn complete(complete: &Complete, live: &Standing, now: Timestamp) -> Decision {
    let Standing { record, policy } = live;
    if let Some(refusal) = refuse_stranger(record, &complete.token) {
        return Decision::refuse(refusal);
    }
    match &record.state {
        State::InProgress { .. } | State::Uncertain { .. } => {
            if let Err(invalid) = policy.check_result(complete.result.len()) {
                return Decision::refuse(invalid.into());
            }
            let completed = Record {
                state: State::Completed {
                    result: complete.result.clone(),
                    settled: Settled {
                        at: now,
                        expires_at: now + policy.retention(),
                    },
                },
                // Kept for dead letters, which this key can no longer become.
                delivery: None,
                ..revised(record)
            };
            Decision::replace(
                completed,
                Reply::Complete {
                    repeat: false,
                    completed_at: now,
                },
            )
        }
        State::Completed { result, settled } if *result == complete.result => {
            Decision::reply(Reply::Complete {
                repeat: true,
                completed_at: settled.at,
            })
        }
        State::Completed { .. } => Decision::refuse(Refusal::ResultConflict {
            current_fence: record.fence,
        }),
        State::Failed { .. } | State::Retryable { .. } | State::Dead { .. } => {
            Decision::refuse(already_settled(record))
        }
    }
}

/// The refusal of a token that is not the last claim's.
pub(super) fn refuse_stranger(record: &Record, token: &Token) -> Option<Refusal> {
    (!record.is_held_by(token)).then_some(Refusal::LeaseLost {
        current_fence: record.fence,
    })
}

/// The refusal of a call that comes after another settlement of the same claim.
pub(super) fn already_settled(record: &Record) -> Refusal {
    Refusal::AlreadySettled {
        current_fence: record.fence,
        as_what: match record.state {
            State::InProgress { .. } => "in progress",
            State::Completed { .. } => "completed",
            State::Failed { .. } => "failed",
            State::Retryable { .. } => "retryable",
            State::Dead { .. } => "dead",
            State::Uncertain { .. } => "uncertain",
        },
    }
}
