//! HMAC with SHA-256 over content in parts.

use std::borrow::Cow;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::Secret;

fn over(secret: &Secret, content: &[Cow<'_, [u8]>]) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.bytes()).expect("an HMAC takes a key of any length");
    for part in content {
        mac.update(part);
    }
    mac
}

/// What signatures of the content have to be, worked out once, however many there are.
pub(super) struct Expected(Hmac<Sha256>);

impl Expected {
    pub fn of(secret: &Secret, content: &[Cow<'_, [u8]>]) -> Self {
        Self(over(secret, content))
    }

    /// Compares in constant time. A signature that was cut short is none.
    pub fn is(&self, signature: &[u8]) -> bool {
        self.0.clone().verify_slice(signature).is_ok()
    }
}

pub(super) fn sign(secret: &Secret, content: &[Cow<'_, [u8]>]) -> [u8; 32] {
    over(secret, content).finalize().into_bytes().into()
}
