//! Errors for the wire. The only place that builds a `Status`.

use std::{collections::HashMap, time::Duration};

use prost::Message as _;
use semel_proto::{ERROR_DOMAIN, v1};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    key::{Fence, Invalid, KeyId, transition::Refusal},
    lanes::LaneError,
};

/// How long to wait before a call is worth sending again when too much is queued: a queue drains
/// in a few commits.
const RETRY_BUSY: Duration = Duration::from_millis(50);
/// The same when the store is away or this server stops: a fail-over or restart takes longer.
const RETRY_AWAY: Duration = Duration::from_millis(500);

/// How tonic's decoder begins what it says of bytes that are no message.
const DECODER: [&str; 3] = [
    "failed to decode Protobuf message",
    "protocol error: received message with",
    "Unexpected EOF decoding stream",
];

/// A field that is malformed or over its limit.
pub(super) fn invalid(id: Option<&KeyId>, invalid: &Invalid) -> Status {
    let mut metadata = metadata(id);
    metadata.insert("field".into(), invalid.field.into());
    let mut details = ErrorDetails::with_error_info("INVALID_FIELD", ERROR_DOMAIN, metadata);
    details.add_bad_request_violation(invalid.field, invalid.problem.clone());
    Status::with_error_details(Code::InvalidArgument, invalid.to_string(), details)
}

/// Whatever a lane answers instead of a reply.
pub(super) fn of_lane(id: &KeyId, error: &LaneError) -> Status {
    match error {
        LaneError::Refused(refusal) => refused(id, refusal),
        LaneError::QueueFull => retryable(
            Code::ResourceExhausted,
            "QUEUE_FULL",
            "too many commands are queued",
            metadata(Some(id)),
            RETRY_BUSY,
        ),
        LaneError::ShuttingDown => retryable(
            Code::Unavailable,
            "SHUTTING_DOWN",
            "the server is shutting down; nothing was changed",
            metadata(Some(id)),
            RETRY_AWAY,
        ),
        // The cause is the operator's: it is in the log and may name hosts and statements.
        LaneError::StoreUnavailable(_) => store_unavailable(Some(id)),
        LaneError::Contention => retryable(
            Code::Unavailable,
            "CONTENTION",
            "the key is changed too often by others; nothing was changed by this call",
            metadata(Some(id)),
            RETRY_BUSY,
        ),
        LaneError::StoreRejected(_) => internal(id, "the store refused the command"),
    }
}

/// The code of [`of_lane`], for who needs no more.
pub(super) fn code_of_lane(error: &LaneError) -> Code {
    match error {
        LaneError::Refused(refusal) => code_of_refusal(refusal),
        LaneError::QueueFull => Code::ResourceExhausted,
        LaneError::ShuttingDown | LaneError::StoreUnavailable(_) | LaneError::Contention => {
            Code::Unavailable
        }
        LaneError::StoreRejected(_) => Code::Internal,
    }
}

fn code_of_refusal(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::Invalid(_) => Code::InvalidArgument,
        Refusal::FingerprintMismatch { .. }
        | Refusal::EventTooOld
        | Refusal::HoldLimitReached { .. } => Code::FailedPrecondition,
        Refusal::Superseded { .. } | Refusal::LeaseLost { .. } => Code::Aborted,
        Refusal::ResultConflict { .. } | Refusal::AlreadySettled { .. } => Code::AlreadyExists,
        Refusal::KeyNotFound => Code::NotFound,
    }
}

/// The code that an answer's headers or trailers name, if they do.
pub fn code(headers: &http::HeaderMap) -> Option<i32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// A command of a stream that ended without an answer.
pub(super) fn lost() -> Status {
    store_unavailable(None)
}

fn store_unavailable(id: Option<&KeyId>) -> Status {
    retryable(
        Code::Unavailable,
        "STORE_UNAVAILABLE",
        "the store is unavailable; the call may have been applied, and sending it again is safe",
        metadata(id),
        RETRY_AWAY,
    )
}

/// A bug of ours, told without its inner cause.
pub(super) fn internal(id: &KeyId, message: &str) -> Status {
    let details = ErrorDetails::with_error_info("INTERNAL", ERROR_DOMAIN, metadata(Some(id)));
    Status::with_error_details(Code::Internal, message, details)
}

/// The message could not be read at all: what the headers of an answer by tonic's decoder say, in
/// our words. `None` for any other answer.
pub fn malformed(headers: &http::HeaderMap) -> Option<Status> {
    // Only an answer without a body has its status in the headers.
    malformed_message(&Status::from_header_map(headers)?)
}

/// The same for what tonic's decoder says of a message in a stream.
pub(super) fn malformed_message(status: &Status) -> Option<Status> {
    let is_of_the_decoder = match status.code() {
        Code::OutOfRange => true,
        Code::Internal => DECODER
            .iter()
            .any(|words| status.message().starts_with(words)),
        _ => false,
    };
    if !is_of_the_decoder {
        return None;
    }
    let problem = status.message();
    let metadata = metadata(None);
    let mut details = ErrorDetails::with_error_info("MALFORMED_MESSAGE", ERROR_DOMAIN, metadata);
    details.add_bad_request_violation("", problem);
    let message = format!("the message cannot be read: {problem}");
    Some(Status::with_error_details(
        Code::InvalidArgument,
        message,
        details,
    ))
}

/// The client took its Claim back while it waited.
pub(super) fn cancelled(id: &KeyId) -> Status {
    let details = ErrorDetails::with_error_info("CANCELLED", ERROR_DOMAIN, metadata(Some(id)));
    Status::with_error_details(Code::Cancelled, "the wait was cancelled", details)
}

/// A status as an answer in a stream.
pub(super) fn in_session(status: &Status) -> v1::SessionError {
    // What goes into the trailer of a single call is a google.rpc.Status, and so is this.
    match v1::SessionError::decode(status.details()) {
        Ok(error) if !status.details().is_empty() => error,
        _ => v1::SessionError {
            code: status.code().into(),
            message: status.message().into(),
            details: Vec::new(),
        },
    }
}

/// The call's deadline passed before it was answered.
pub fn deadline_exceeded() -> Status {
    let details = ErrorDetails::with_error_info("DEADLINE_EXCEEDED", ERROR_DOMAIN, metadata(None));
    let message = "the deadline passed before the answer; the call may have been applied, and \
                   sending it again is safe";
    Status::with_error_details(Code::DeadlineExceeded, message, details)
}

/// More calls are under way than the server takes on.
pub fn too_many_requests() -> Status {
    retryable(
        Code::ResourceExhausted,
        "TOO_MANY_REQUESTS",
        "too many calls are under way; nothing was changed",
        metadata(None),
        RETRY_BUSY,
    )
}

fn refused(id: &KeyId, refusal: &Refusal) -> Status {
    let reason = match refusal {
        Refusal::Invalid(field) => return invalid(Some(id), field),
        Refusal::FingerprintMismatch { .. } => "FINGERPRINT_MISMATCH",
        Refusal::EventTooOld => "EVENT_TOO_OLD",
        Refusal::HoldLimitReached { .. } => "HOLD_LIMIT_REACHED",
        Refusal::Superseded { .. } => "SUPERSEDED",
        Refusal::LeaseLost { .. } => "LEASE_LOST",
        Refusal::ResultConflict { .. } => "RESULT_CONFLICT",
        Refusal::AlreadySettled { .. } => "ALREADY_SETTLED",
        Refusal::KeyNotFound => "KEY_NOT_FOUND",
    };
    let code = code_of_refusal(refusal);
    let mut metadata = metadata(Some(id));
    let mut fence = |fence: &Fence| {
        metadata.insert("current_fence".into(), fence.as_i64().to_string());
    };
    match refusal {
        Refusal::FingerprintMismatch { current_fence }
        | Refusal::Superseded { current_fence }
        | Refusal::LeaseLost { current_fence }
        | Refusal::HoldLimitReached { current_fence }
        | Refusal::ResultConflict { current_fence }
        | Refusal::AlreadySettled { current_fence, .. } => fence(current_fence),
        _ => {}
    }
    let differs = match refusal {
        Refusal::FingerprintMismatch { .. } => Some("fingerprint"),
        Refusal::ResultConflict { .. } => Some("result"),
        _ => None,
    };
    if let Some(part) = differs {
        metadata.insert("differs".into(), part.into());
    }
    if let Refusal::AlreadySettled { as_what, .. } = refusal {
        metadata.insert("settled_as".into(), (*as_what).into());
    }
    let details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, metadata);
    Status::with_error_details(code, refusal.to_string(), details)
}

fn retryable(
    code: Code,
    reason: &str,
    message: &str,
    metadata: HashMap<String, String>,
    retry_after: Duration,
) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, metadata);
    details.set_retry_info(Some(retry_after));
    Status::with_error_details(code, message, details)
}

/// Namespace and key of the call. It is the caller's own key that goes back to it.
fn metadata(id: Option<&KeyId>) -> HashMap<String, String> {
    let mut metadata = HashMap::new();
    if let Some(id) = id {
        metadata.insert("namespace".into(), id.namespace().as_str().into());
        metadata.insert("key".into(), id.key().as_str().into());
    }
    metadata
}
