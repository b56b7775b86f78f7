//! Answers for the wire.

use prost::Message as _;
use semel_proto::v1;
use tonic::Status;

use super::status;
use crate::key::{
    KeyId, Span, Timestamp,
    transition::{ClaimGrant, ClaimReply, Details, Outcome, Reply},
};

/// Any reply, as an answer in a stream.
pub(super) fn session(
    id: &KeyId,
    reply: Reply,
    include_delivery: bool,
) -> Result<v1::session_response::Answer, Status> {
    use v1::session_response::Answer;
    Ok(match reply {
        Reply::Claim(reply) => Answer::Claim(claim(reply)),
        Reply::Complete {
            repeat,
            completed_at,
        } => Answer::Complete(complete(repeat, completed_at)),
        Reply::Fail { repeat, outcome } => Answer::Fail(fail(repeat, outcome)),
        Reply::Extend { lease, hold } => Answer::Extend(extend(lease, hold)),
        Reply::Checkpoint => Answer::Checkpoint(v1::CheckpointResponse {}),
        Reply::Lookup { outcome, details } => {
            Answer::Lookup(lookup(id, outcome, details, include_delivery)?)
        }
    })
}

pub(super) fn claim(reply: ClaimReply) -> v1::ClaimResponse {
    use v1::claim_response::Outcome as Wire;
    let outcome = match reply {
        ClaimReply::Claimed(grant) => Wire::Claimed(claimed(grant)),
        ClaimReply::Standing(outcome) => match Standing::from(outcome) {
            Standing::InProgress(it) => Wire::InProgress(it),
            Standing::BackingOff(it) => Wire::BackingOff(it),
            Standing::Completed(it) => Wire::Completed(it),
            Standing::Failed(it) => Wire::Failed(it),
            Standing::Dead(it) => Wire::Dead(it),
            Standing::Uncertain(it) => Wire::Uncertain(it),
        },
    };
    v1::ClaimResponse {
        outcome: Some(outcome),
    }
}

pub(super) fn fail(repeat: bool, outcome: Outcome) -> v1::FailResponse {
    use v1::fail_response::Outcome as Wire;
    let outcome = match Standing::from(outcome) {
        Standing::BackingOff(it) => Some(Wire::BackingOff(it)),
        Standing::Failed(it) => Some(Wire::Failed(it)),
        Standing::Dead(it) => Some(Wire::Dead(it)),
        Standing::Uncertain(it) => Some(Wire::Uncertain(it)),
        Standing::InProgress(_) | Standing::Completed(_) => {
            unreachable!("a Fail that was accepted leaves nothing in progress or completed")
        }
    };
    v1::FailResponse { repeat, outcome }
}

pub(super) fn lookup(
    id: &KeyId,
    outcome: Outcome,
    details: Details,
    include_delivery: bool,
) -> Result<v1::LookupResponse, Status> {
    use v1::lookup_response::Outcome as Wire;
    let outcome = match Standing::from(outcome) {
        Standing::InProgress(it) => Wire::InProgress(it),
        Standing::BackingOff(it) => Wire::BackingOff(it),
        Standing::Completed(it) => Wire::Completed(it),
        Standing::Failed(it) => Wire::Failed(it),
        Standing::Dead(it) => Wire::Dead(it),
        Standing::Uncertain(it) => Wire::Uncertain(it),
    };
    let delivery = details.delivery.filter(|_| include_delivery);
    Ok(v1::LookupResponse {
        outcome: Some(outcome),
        owner: details.owner,
        created_at: Some(timestamp(details.created_at)),
        claimed_at: Some(timestamp(details.claimed_at)),
        retention: details.retention.map(duration),
        checkpoint: details.checkpoint,
        fingerprint: details.fingerprint,
        claim_id: id.claim_id(&details.attempt_id),
        traceparent: details.traceparent,
        delivery: delivery
            .map(v1::Delivery::decode)
            .transpose()
            .map_err(|error| {
                tracing::error!(?id, %error, "a kept delivery cannot be decoded");
                status::internal(id, "the kept delivery cannot be read")
            })?,
    })
}

pub(super) fn extend(lease: Span, hold: Span) -> v1::ExtendResponse {
    v1::ExtendResponse {
        lease: Some(duration(lease)),
        hold: Some(duration(hold)),
    }
}

pub(super) fn complete(repeat: bool, completed_at: Timestamp) -> v1::CompleteResponse {
    v1::CompleteResponse {
        repeat,
        completed_at: Some(timestamp(completed_at)),
    }
}

fn claimed(grant: ClaimGrant) -> v1::Claimed {
    v1::Claimed {
        token: grant.token.encode().to_vec().into(),
        fence: grant.token.fence.as_i64(),
        attempt: grant.attempt,
        lease: Some(duration(grant.lease)),
        checkpoint: grant.checkpoint,
        last_error: grant.last_error,
    }
}

/// What stands, as its message. Each RPC has a `oneof` of its own over the same messages.
enum Standing {
    InProgress(v1::InProgress),
    BackingOff(v1::BackingOff),
    Completed(v1::Completed),
    Failed(v1::Failed),
    Dead(v1::Dead),
    Uncertain(v1::Uncertain),
}

impl From<Outcome> for Standing {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::InProgress {
                owner,
                lease,
                retry_after,
                fence,
                attempt,
                traceparent,
            } => Self::InProgress(v1::InProgress {
                owner,
                lease: Some(duration(lease)),
                retry_after: Some(duration(retry_after)),
                fence: fence.as_i64(),
                attempt,
                traceparent,
            }),
            Outcome::BackingOff {
                retry_after,
                attempts,
                last_error,
            } => {
                let retry_after = Some(duration(retry_after));
                Self::BackingOff(v1::BackingOff {
                    retry_after,
                    attempts,
                    last_error,
                })
            }
            Outcome::Completed {
                result,
                completed_at,
                fence,
                attempt,
                traceparent,
            } => Self::Completed(v1::Completed {
                result,
                completed_at: Some(timestamp(completed_at)),
                fence: fence.as_i64(),
                attempt,
                traceparent,
            }),
            Outcome::Failed {
                result,
                error,
                failed_at,
                fence,
                attempt,
                traceparent,
            } => Self::Failed(v1::Failed {
                result,
                failed_at: Some(timestamp(failed_at)),
                fence: fence.as_i64(),
                attempt,
                error,
                traceparent,
            }),
            Outcome::Dead {
                attempts,
                last_error,
                dead_at,
                fence,
                traceparent,
            } => Self::Dead(v1::Dead {
                attempts,
                last_error,
                dead_at: Some(timestamp(dead_at)),
                fence: fence.as_i64(),
                traceparent,
            }),
            Outcome::Uncertain {
                owner,
                fence,
                attempts,
                since,
                last_error,
                traceparent,
            } => Self::Uncertain(v1::Uncertain {
                owner,
                fence: fence.as_i64(),
                attempts,
                uncertain_since: Some(timestamp(since)),
                last_error,
                traceparent,
            }),
        }
    }
}

fn duration(span: Span) -> prost_types::Duration {
    let micros = span.as_micros();
    prost_types::Duration {
        seconds: micros / 1_000_000,
        nanos: (micros % 1_000_000 * 1_000) as i32,
    }
}

fn timestamp(timestamp: Timestamp) -> prost_types::Timestamp {
    let micros = timestamp.as_micros();
    prost_types::Timestamp {
        seconds: micros.div_euclid(1_000_000),
        nanos: (micros.rem_euclid(1_000_000) * 1_000) as i32,
    }
}
