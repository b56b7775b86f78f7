//! Why a command was refused. Each is the caller's mistake, and nothing has changed.

use crate::key::{Fence, Invalid};

/// A refused command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A field breaks a limit of the policy that the claim was made under.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The key stands for another request.
    #[error("the key was claimed for a request with another fingerprint")]
    FingerprintMismatch {
        /// The key's fence.
        current_fence: Fence,
    },
    /// The event is older than the namespace can remember, so it may have been handled and
    /// forgotten.
    #[error("the event is older than the namespace remembers, so it may have been handled already")]
    EventTooOld,
    /// The attempt that just failed was sent again.
    #[error("this attempt has failed already; claim with a new attempt id")]
    Superseded {
        /// The key's fence.
        current_fence: Fence,
    },
    /// The token is not the current claim's.
    #[error("the claim was lost: another one was granted, or the key was settled without it")]
    LeaseLost {
        /// The key's fence.
        current_fence: Fence,
    },
    /// The claim has completed with another result.
    #[error("the claim has completed with a different result, which stands")]
    ResultConflict {
        /// The key's fence.
        current_fence: Fence,
    },
    /// The claim was settled in another way.
    #[error("the claim was settled already, as {as_what}")]
    AlreadySettled {
        /// The key's fence.
        current_fence: Fence,
        /// How it was settled.
        as_what: &'static str,
    },
    /// The claim was held as long as the policy allows.
    #[error("the claim has been held as long as the namespace allows")]
    HoldLimitReached {
        /// The key's fence.
        current_fence: Fence,
    },
    /// Nothing stands under the key.
    #[error("no such key")]
    KeyNotFound,
}
