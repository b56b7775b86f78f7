//! What both engines check about policies.

use super::StoreError;
use crate::key::PolicyId;

/// Two policies with one id: their digests collide, or a hand has changed the stored one.
#[derive(Debug, thiserror::Error)]
#[error("policy {} is stored already with another text", .0.as_i64())]
pub(super) struct PolicyTaken(PolicyId);

impl PolicyTaken {
    /// Refuses a text that is not the standing one.
    pub(super) fn check(id: PolicyId, standing: &str, text: &str) -> Result<(), StoreError> {
        if standing == text {
            Ok(())
        } else {
            Err(StoreError::rejected(Self(id)))
        }
    }
}
