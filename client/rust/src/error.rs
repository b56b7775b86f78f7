//! What can go wrong, typed by the reason that the server gave.

use std::time::Duration;

use bytes::Bytes;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::failure::Failure;
use crate::ids::Fence;

/// Why a call, or a whole [`run_once`](crate::Client::run_once), brought no outcome.
///
/// A duplicate is never an error: see [`ClaimOutcome`](crate::ClaimOutcome) and
/// [`Run`](crate::Run). No error shows a token, a result or a delivery in its `Display`.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The key stands for another request: its fingerprint differs. Nothing ran.
    #[error("the key stands for another request (fingerprints differ)")]
    FingerprintMismatch,
    /// The event is older than the namespace can remember, and its key is unknown.
    #[error("the event is older than the namespace can remember")]
    EventTooOld,
    /// The policy's longest hold is reached; the lease cannot be extended any further.
    #[error("the claim has been held for as long as the namespace allows")]
    HoldLimitReached,
    /// Somebody else holds the claim by now; nothing was changed.
    #[error("the lease was lost{}", by_fence(.current_fence))]
    LeaseLost {
        /// The fence of the claim that stands now, where the server says.
        current_fence: Option<Fence>,
    },
    /// This attempt is over; start a [fresh one](crate::Claim::fresh).
    #[error("this attempt is over{}", by_fence(.current_fence))]
    Superseded {
        /// The fence of the claim that stands now, where the server says.
        current_fence: Option<Fence>,
    },
    /// The key is completed with a different result; the first one stands.
    #[error("the key is completed with a different result")]
    ResultConflict,
    /// The key is settled already; a settlement is never erased.
    #[error("the key is settled already")]
    AlreadySettled,
    /// There is no such key.
    #[error("there is no such key")]
    NotFound,
    /// A field is malformed or over its limit; nothing was changed.
    #[error("invalid argument: {message}")]
    InvalidArgument {
        /// What the server said.
        message: String,
        /// The fields at fault.
        violations: Vec<FieldViolation>,
    },
    /// A queue or quota is full, and stayed so until the deadline.
    #[error("resource exhausted: {message}")]
    ResourceExhausted {
        /// What the server said.
        message: String,
        /// `QUEUE_FULL`, `TOO_MANY_REQUESTS`; empty when not given.
        reason: String,
        /// How long to wait before asking again, where the server says.
        retry_after: Option<Duration>,
    },
    /// Semel or its store could not be reached until the deadline. A write may or may not have
    /// been applied; sending the same call again is always safe.
    #[error("unavailable: {message}")]
    Unavailable {
        /// What the server, or the transport, said.
        message: String,
        /// `STORE_UNAVAILABLE`, `SHUTTING_DOWN`, `CONTENTION`; empty for the transport's errors.
        reason: String,
        /// How long to wait before asking again, where the server says.
        retry_after: Option<Duration>,
    },
    /// No answer came before the deadline. A write may or may not have been applied; sending the
    /// same call again is always safe.
    #[error("no answer before the deadline")]
    DeadlineExceeded,
    /// No credential, or a wrong one.
    #[error("unauthenticated: {message}")]
    Unauthenticated {
        /// What the server said.
        message: String,
    },
    /// The credential does not allow this.
    #[error("permission denied: {message}")]
    PermissionDenied {
        /// What the server said.
        message: String,
    },
    /// The address or a setting of the client cannot be used.
    #[error("bad client configuration: {message}")]
    Configuration {
        /// What is wrong with it.
        message: String,
    },

    /// Of `run_once` only: **the work was done**, but its success could not be recorded before the
    /// settle deadline, or was refused. The result is here and nowhere else; a duplicate may run
    /// the work again once the lease has lapsed.
    #[error("the work was done but its success is not recorded: {source}")]
    NotRecorded {
        /// What the work returned.
        result: Bytes,
        /// The fence that the work ran under.
        fence: Fence,
        /// Why the success could not be recorded.
        source: Box<Error>,
    },
    /// Of `run_once` only: **the work was done**, but its lease was lost and somebody else took
    /// over before the success was recorded, and may do the work a second time.
    #[error("the work was done under fence {fence} but another caller took over")]
    TakenOver {
        /// What the work returned.
        result: Bytes,
        /// The fence that the work ran under.
        fence: Fence,
        /// The fence of the claim that stands now, where the server says.
        current_fence: Option<Fence>,
    },
    /// Of `run_once` only: the work failed, and the failure could not be recorded before the
    /// settle deadline, or was refused. The lease lapses by itself.
    #[error("{failure}; and this is not recorded: {source}")]
    FailureNotRecorded {
        /// How the work failed.
        failure: Failure,
        /// Why it could not be recorded.
        source: Box<Error>,
    },
    /// Of `run_once` with [`OnLeaseLost::Abort`](crate::OnLeaseLost::Abort) only: the work was
    /// stopped half way because its lease was lost.
    #[error("the work under fence {fence} was stopped because its lease was lost")]
    Aborted {
        /// The fence that the work ran under.
        fence: Fence,
    },

    /// A status that the contract does not name.
    #[error("{} ({:?})", .0.message(), .0.code())]
    Other(Status),
}

/// One field that the server refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldViolation {
    /// The name of the field, as in the `.proto`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

fn by_fence(fence: &Option<Fence>) -> String {
    fence.map_or_else(String::new, |fence| {
        format!("; the current fence is {fence}")
    })
}

impl Error {
    /// How long the server asks to wait before asking again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::ResourceExhausted { retry_after, .. } | Self::Unavailable { retry_after, .. } => {
                *retry_after
            }
            Self::NotRecorded { source, .. } | Self::FailureNotRecorded { source, .. } => {
                source.retry_after()
            }
            _ => None,
        }
    }

    /// Semel could not be asked: the same call may be sent again later, and may by then have been
    /// applied.
    pub fn is_unavailable(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. } | Self::ResourceExhausted { .. } | Self::DeadlineExceeded
        )
    }

    /// A field that the client itself can see to be unusable.
    pub(crate) fn invalid(field: &str, description: &str) -> Self {
        Self::InvalidArgument {
            message: format!("{field}: {description}"),
            violations: vec![FieldViolation {
                field: field.to_owned(),
                description: description.to_owned(),
            }],
        }
    }

    /// An answer that is not one: the server is of another version, or is no Semel.
    pub(crate) fn malformed(what: &str) -> Self {
        Self::Other(Status::internal(format!("malformed answer: {what}")))
    }

    pub(crate) fn from_status(status: Status) -> Self {
        let details = status.get_error_details();
        Self::from_reason(&details).unwrap_or_else(|| Self::from_code(status, &details))
    }

    /// The reasons that name a case. They count only in Semel's own domain: a proxy's NOT_FOUND
    /// must never pass for "there is no such key".
    fn from_reason(details: &ErrorDetails) -> Option<Self> {
        let info = details
            .error_info()
            .filter(|info| info.domain == semel_proto::ERROR_DOMAIN)?;
        let current_fence = || {
            let number = info.metadata.get("current_fence")?.parse().ok()?;
            Some(Fence::new(number))
        };
        Some(match info.reason.as_str() {
            "FINGERPRINT_MISMATCH" => Self::FingerprintMismatch,
            "EVENT_TOO_OLD" => Self::EventTooOld,
            "HOLD_LIMIT_REACHED" => Self::HoldLimitReached,
            "LEASE_LOST" => Self::LeaseLost {
                current_fence: current_fence(),
            },
            "SUPERSEDED" => Self::Superseded {
                current_fence: current_fence(),
            },
            "RESULT_CONFLICT" => Self::ResultConflict,
            "ALREADY_SETTLED" => Self::AlreadySettled,
            "KEY_NOT_FOUND" => Self::NotFound,
            _ => return None,
        })
    }

    fn from_code(status: Status, details: &ErrorDetails) -> Self {
        let message = status.message().to_owned();
        let reason = || {
            details
                .error_info()
                .map(|info| info.reason.clone())
                .unwrap_or_default()
        };
        let retry_after = details.retry_info().and_then(|info| info.retry_delay);
        match status.code() {
            Code::InvalidArgument => Self::InvalidArgument {
                message,
                violations: violations(details),
            },
            Code::ResourceExhausted => Self::ResourceExhausted {
                message,
                reason: reason(),
                retry_after,
            },
            Code::Unavailable => Self::Unavailable {
                message,
                reason: reason(),
                retry_after,
            },
            Code::DeadlineExceeded => Self::DeadlineExceeded,
            Code::Unauthenticated => Self::Unauthenticated { message },
            Code::PermissionDenied => Self::PermissionDenied { message },
            _ => Self::Other(status),
        }
    }
}

fn violations(details: &ErrorDetails) -> Vec<FieldViolation> {
    let named = details
        .bad_request()
        .map(|bad| bad.field_violations.as_slice())
        .unwrap_or_default();
    named
        .iter()
        .map(|violation| FieldViolation {
            field: violation.field.clone(),
            description: violation.description.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn status(code: Code, reason: &str, domain: &str, metadata: &[(&str, &str)]) -> Status {
        let metadata: HashMap<String, String> = metadata
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Status::with_error_details(
            code,
            "said the server",
            ErrorDetails::with_error_info(reason, domain, metadata),
        )
    }

    #[test]
    fn every_reason_of_the_contract_has_its_variant() {
        type Check = fn(&Error) -> bool;
        let cases: [(Code, &str, Check); 8] = [
            (Code::FailedPrecondition, "FINGERPRINT_MISMATCH", |e| {
                matches!(e, Error::FingerprintMismatch)
            }),
            (Code::FailedPrecondition, "EVENT_TOO_OLD", |e| {
                matches!(e, Error::EventTooOld)
            }),
            (Code::FailedPrecondition, "HOLD_LIMIT_REACHED", |e| {
                matches!(e, Error::HoldLimitReached)
            }),
            (Code::Aborted, "LEASE_LOST", |e| {
                matches!(e, Error::LeaseLost { .. })
            }),
            (Code::Aborted, "SUPERSEDED", |e| {
                matches!(e, Error::Superseded { .. })
            }),
            (Code::AlreadyExists, "RESULT_CONFLICT", |e| {
                matches!(e, Error::ResultConflict)
            }),
            (Code::AlreadyExists, "ALREADY_SETTLED", |e| {
                matches!(e, Error::AlreadySettled)
            }),
            (Code::NotFound, "KEY_NOT_FOUND", |e| {
                matches!(e, Error::NotFound)
            }),
        ];
        for (code, reason, is_right) in cases {
            let error = Error::from_status(status(code, reason, semel_proto::ERROR_DOMAIN, &[]));
            assert!(is_right(&error), "{reason}: {error:?}");
        }
    }

    #[test]
    fn lease_lost_carries_the_current_fence() {
        let lost = status(
            Code::Aborted,
            "LEASE_LOST",
            semel_proto::ERROR_DOMAIN,
            &[("current_fence", "17")],
        );
        let Error::LeaseLost { current_fence } = Error::from_status(lost) else {
            panic!("not a lost lease");
        };
        assert_eq!(current_fence, Some(Fence::new(17)));
    }

    #[test]
    fn a_reason_of_another_domain_names_no_case_of_ours() {
        let foreign = status(Code::NotFound, "KEY_NOT_FOUND", "proxy.example", &[]);
        assert!(matches!(Error::from_status(foreign), Error::Other(_)));
        let bare = Status::not_found("no such route");
        assert!(matches!(Error::from_status(bare), Error::Other(_)));
    }

    #[test]
    fn an_invalid_argument_names_its_fields() {
        let details = ErrorDetails::with_bad_request_violation("key", "must not be empty");
        let status = Status::with_error_details(Code::InvalidArgument, "bad request", details);
        let Error::InvalidArgument { violations, .. } = Error::from_status(status) else {
            panic!("not an invalid argument");
        };
        assert_eq!(violations[0].field, "key");
    }
}
