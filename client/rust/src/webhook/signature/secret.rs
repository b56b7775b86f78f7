//! Secrets, as providers write them.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};

/// A key for signatures. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

/// Why a text is no secret. Does not show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// Whoever signs with it signs with nothing.
    #[error("the secret is empty")]
    Empty,
    /// A secret of Standard Webhooks is base64, with or without `whsec_` before it.
    #[error("the secret is not base64 after `whsec_`")]
    NotBase64,
    /// A secret of Adyen's is written in hexadecimal.
    #[error("the secret is not hexadecimal")]
    NotHex,
}

impl Secret {
    /// The bytes of the text as they are: Stripe (with its `whsec_`), GitHub, Shopify, Slack.
    ///
    /// # Errors
    /// `Empty`.
    pub fn text(secret: impl AsRef<str>) -> Result<Self, SecretError> {
        Self::raw(secret.as_ref())
    }

    /// The bytes as they are.
    ///
    /// # Errors
    /// `Empty`.
    pub fn raw(secret: impl AsRef<[u8]>) -> Result<Self, SecretError> {
        match secret.as_ref() {
            [] => Err(SecretError::Empty),
            bytes => Ok(Self(bytes.into())),
        }
    }

    /// A secret of Standard Webhooks and Svix: base64, after `whsec_` or without it.
    ///
    /// # Errors
    /// `NotBase64`, `Empty`.
    pub fn standard(secret: impl AsRef<str>) -> Result<Self, SecretError> {
        let secret = secret.as_ref();
        let encoded = secret.strip_prefix("whsec_").unwrap_or(secret);
        let bytes = BASE64_STANDARD
            .decode(encoded)
            .map_err(|_| SecretError::NotBase64)?;
        Self::raw(bytes)
    }

    /// A secret in hexadecimal: Adyen.
    ///
    /// # Errors
    /// `NotHex`, `Empty`.
    pub fn hex(secret: impl AsRef<str>) -> Result<Self, SecretError> {
        let bytes = hex::decode(secret.as_ref()).map_err(|_| SecretError::NotHex)?;
        Self::raw(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standard_secret_is_base64_with_or_without_its_prefix() {
        let with = Secret::standard("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        assert_eq!(with, Secret::standard("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
        assert_eq!(with.unwrap().bytes().len(), 24);
        assert_eq!(Secret::standard("whsec_%"), Err(SecretError::NotBase64));
    }

    #[test]
    fn an_empty_secret_is_none_in_every_form() {
        for empty in [
            Secret::text(""),
            Secret::raw([]),
            Secret::standard("whsec_"),
            Secret::hex(""),
        ] {
            assert_eq!(empty, Err(SecretError::Empty));
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::text("hunter2").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(redacted)");
        let error = Secret::hex("hunter2").unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
