//! An HMAC of the body alone, in a header.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName};

use super::{SignatureError, Signed, header};

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// Hexadecimal, in either case.
    Hex,
    /// Base64 of the usual alphabet, with padding.
    Base64,
}

/// Where an HMAC-SHA256 of the body stands, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainHmac {
    header: HeaderName,
    prefix: &'static str,
    encoding: Encoding,
}

impl PlainHmac {
    /// In `header`, with nothing before it.
    pub fn new(header: HeaderName, encoding: Encoding) -> Self {
        Self {
            header,
            prefix: "",
            encoding,
        }
    }

    /// What stands before the signature in the header, such as `sha256=`.
    pub fn after(mut self, prefix: &'static str) -> Self {
        self.prefix = prefix;
        self
    }

    /// [GitHub](https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries):
    /// `X-Hub-Signature-256: sha256=…`.
    pub fn github() -> Self {
        let header = HeaderName::from_static("x-hub-signature-256");
        Self::new(header, Encoding::Hex).after("sha256=")
    }

    /// [Shopify](https://shopify.dev/docs/apps/build/webhooks/subscribe/https):
    /// `X-Shopify-Hmac-Sha256`, in base64.
    pub fn shopify() -> Self {
        let header = HeaderName::from_static("x-shopify-hmac-sha256");
        Self::new(header, Encoding::Base64)
    }

    pub(super) fn read<'a>(
        &self,
        headers: &'a HeaderMap,
        body: &'a [u8],
    ) -> Result<Signed<'a>, SignatureError> {
        let name = self.header.as_str();
        let signature = header::only(headers, name)?
            .strip_prefix(self.prefix)
            .and_then(|encoded| match self.encoding {
                Encoding::Hex => hex::decode(encoded).ok(),
                Encoding::Base64 => BASE64_STANDARD.decode(encoded).ok(),
            })
            .ok_or_else(|| {
                let encoding = match self.encoding {
                    Encoding::Hex => "hexadecimal",
                    Encoding::Base64 => "base64",
                };
                let problem = format!("is not {}a signature in {encoding}", self.said_before());
                SignatureError::malformed(name, problem)
            })?;
        Ok(Signed {
            content: vec![Cow::Borrowed(body)],
            signatures: vec![signature],
            at: None,
        })
    }

    fn said_before(&self) -> String {
        match self.prefix {
            "" => String::new(),
            prefix => format!("{prefix} and "),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::webhook::signature::{Scheme, Secret, Verifier};

    const HEADER: &str = "x-hub-signature-256";

    fn verify(values: &[&str]) -> Result<(), String> {
        // https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
        let secret = Secret::text("It's a Secret to Everybody").unwrap();
        let verifier = Verifier::new(Scheme::Plain(PlainHmac::github()), secret);
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, value.parse().unwrap());
        }
        let verified = verifier.verify(&headers, b"Hello, World!", SystemTime::now());
        verified.map(drop).map_err(|error| error.to_string())
    }

    const GENUINE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn the_example_of_githubs_documentation_is_genuine() {
        assert_eq!(verify(&[GENUINE]), Ok(()));
    }

    #[test]
    fn what_is_wrong_with_a_header_is_said() {
        for (values, said) in [
            (&[][..], "there is no x-hub-signature-256 header"),
            (&[GENUINE, GENUINE], "more than once"),
            (
                &[&GENUINE[7..]],
                "is not sha256= and a signature in hexadecimal",
            ),
            (
                &["sha256=xyz"],
                "is not sha256= and a signature in hexadecimal",
            ),
            (&["sha256="], "matches none"),
            (&[&GENUINE[..69]], "matches none"),
        ] {
            let error = verify(values).unwrap_err();
            assert!(error.contains(said), "{values:?}: {error}");
        }
    }
}
