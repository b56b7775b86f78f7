//! Keys of several principals side by side.

use sha2::{Digest as _, Sha256};

use crate::webhook::preset::{KEY_BYTES, KeyError};

/// Bytes of a principal's digest that go into the key. Nobody finds two principals with the same 128
/// bits on purpose, and the principal itself is nobody's business.
const DIGEST_BYTES: usize = 16;
/// What a key may have beside it, and a colon.
const REST_BYTES: usize = KEY_BYTES - 2 * DIGEST_BYTES - 1;

pub(super) fn scoped(principal: &str, key: &str) -> Result<String, KeyError> {
    if key.len() > REST_BYTES {
        let len = key.len();
        let problem = format!("has {len} bytes; at most {REST_BYTES} are taken");
        return Err(KeyError::unusable("the key", problem));
    }
    let digest = Sha256::digest(principal);
    Ok(format!("{}:{key}", hex::encode(&digest[..DIGEST_BYTES])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_of_two_principals_is_two_keys() {
        assert_eq!(scoped("a", "k"), scoped("a", "k"));
        assert_ne!(scoped("a", "k"), scoped("b", "k"));
        assert_ne!(scoped("a:", "k"), scoped("a", ":k"));
    }

    #[test]
    fn the_longest_key_still_fits() {
        let longest = "k".repeat(REST_BYTES);
        assert_eq!(scoped("a", &longest).unwrap().len(), KEY_BYTES);
        assert!(scoped("a", &format!("{longest}k")).is_err());
    }
}
