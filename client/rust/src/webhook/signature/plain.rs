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
