//! The digest of the request that a key stands for.

use bytes::Bytes;

use super::{Invalid, limits};

/// A digest made by the client, up to 64 bytes; may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fingerprint(Bytes);

impl Fingerprint {
    /// Checks a fingerprint from the wire.
    ///
    /// # Errors
    /// When it is longer than 64 bytes.
    pub fn new(bytes: Bytes) -> Result<Self, Invalid> {
        if bytes.len() > limits::FINGERPRINT_BYTES {
            return Err(Invalid::new(
                "fingerprint",
                format!(
                    "must have at most {} bytes, has {}",
                    limits::FINGERPRINT_BYTES,
                    bytes.len()
                ),
            ));
        }
        Ok(Self(bytes))
    }

    /// From bytes that a store kept.
    pub fn from_stored(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether none was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether two requests are different ones. One side empty counts as different only where the
    /// namespace requires fingerprints.
    pub fn differs(&self, other: &Self, required: bool) -> bool {
        if self.is_empty() || other.is_empty() {
            return required && self != other;
        }
        self != other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_side_differs_only_where_fingerprints_are_required() {
        let print = |s: &'static str| Fingerprint::new(Bytes::from_static(s.as_bytes())).unwrap();
        for (stored, sent, optional, required) in [
            ("a", "a", false, false),
            ("a", "b", true, true),
            ("", "b", false, true),
            ("a", "", false, true),
            ("", "", false, false),
        ] {
            assert_eq!(
                print(stored).differs(&print(sent), false),
                optional,
                "{stored}/{sent}"
            );
            assert_eq!(
                print(stored).differs(&print(sent), true),
                required,
                "{stored}/{sent}"
            );
        }
    }

    #[test]
    fn a_fingerprint_has_at_most_64_bytes() {
        assert!(Fingerprint::new(vec![1; 64].into()).is_ok());
        assert_eq!(
            Fingerprint::new(vec![1; 65].into()).unwrap_err().field,
            "fingerprint"
        );
    }
}
