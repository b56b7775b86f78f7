//! A digest of several texts.

use sha2::{Digest as _, Sha256};

/// SHA-256 of the parts, each with its length before it, so that "ab", "c" is not "a", "bc".
pub(crate) fn of_parts<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        let part = part.as_ref();
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}
