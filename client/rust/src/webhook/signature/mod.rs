//! Who a delivery is from: signatures over its raw body.
//!
//! A body is checked as it came, byte for byte: JSON that was parsed and written again is another
//! body. Signatures are compared in constant time. Every scheme is an HMAC with SHA-256; they differ
//! in where the signature stands, in what is signed beside the body, and in how the secret is
//! written.

mod adyen;
mod error;
mod header;
mod hmac;
mod plain;
mod secret;
mod slack;
mod standard;
mod stripe;
mod tolerance;

use std::time::{Duration, SystemTime};

use http::HeaderMap;

#[cfg(feature = "receiver")]
pub(crate) use adyen::SIGNED as ADYEN_SIGNED;
pub use error::SignatureError;
pub use plain::{Encoding, PlainHmac};
pub use secret::{Secret, SecretError};
pub use standard::sign as sign_standard;
#[cfg(feature = "sender")]
pub(crate) use standard::unix_seconds;

/// How far a signature's time may be from now, before or after: what Standard Webhooks, Stripe and
/// Slack recommend.
pub const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// How a provider signs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scheme {
    /// [Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md),
    /// version `v1`: HMAC over `id.timestamp.body`, in headers whose names begin with `webhook-`.
    Standard,
    /// [Svix](https://docs.svix.com/receiving/verifying-payloads/how-manual): the same under names that
    /// begin with `svix-`. One scheme reads one set of names: of a delivery with both, only one is
    /// signed, and whoever sends it again could write what he likes into the other.
    Svix,
    /// [Stripe](https://docs.stripe.com/webhooks/signature): `Stripe-Signature: t=…,v1=…`, over
    /// `timestamp.body`.
    Stripe,
    /// [Slack](https://docs.slack.dev/authentication/verifying-requests-from-slack): over
    /// `v0:timestamp:body`.
    Slack,
    /// [Adyen](https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures):
    /// over eight fields of the event, in the body itself. Only they are covered by it.
    Adyen,
    /// An HMAC of the body alone in a header: [GitHub](PlainHmac::github),
    /// [Shopify](PlainHmac::shopify) and many others. It has no time, so that whoever has seen a
    /// delivery can send it again for ever; the key sees to it that nothing is done again.
    Plain(PlainHmac),
}

/// Checks signatures of one scheme under one or more secrets.
#[derive(Debug, Clone)]
pub struct Verifier {
    scheme: Scheme,
    secrets: Vec<Secret>,
    tolerance: Duration,
}

/// A delivery whose signature is right.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Which of the secrets it was signed with, counted from 0 in the order they were given. While
    /// secrets are changed over, this tells when the old one is no longer in use.
    pub secret: usize,
    /// When it was signed, by the sender's clock, in schemes that say so.
    pub signed_at: Option<SystemTime>,
}

impl Verifier {
    /// A verifier with one secret.
    pub fn new(scheme: Scheme, secret: Secret) -> Self {
        Self {
            scheme,
            secrets: vec![secret],
            tolerance: TOLERANCE,
        }
    }

    /// Takes signatures of `secret` too, for the time while senders change over to a new one.
    pub fn or(mut self, secret: Secret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// How far the time of a signature may be from now, in both directions. Default: [`TOLERANCE`].
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// The scheme.
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Checks a delivery. `now` is the receiver's time.
    ///
    /// # Errors
    /// Why the delivery must not be believed. None of them shows a secret, a signature or a body.
    pub fn verify(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        now: SystemTime,
    ) -> Result<Verified, SignatureError> {
        let signed = match &self.scheme {
            Scheme::Standard => standard::read(headers, "webhook", body)?,
            Scheme::Svix => standard::read(headers, "svix", body)?,
            Scheme::Stripe => stripe::read(headers, body)?,
            Scheme::Slack => slack::read(headers, body)?,
            Scheme::Adyen => adyen::read(body)?,
            Scheme::Plain(plain) => plain.read(headers, body)?,
        };
        // The signature first: only the sender's own time is worth a word.
        let secret = self
            .secrets
            .iter()
            .position(|secret| signed.is_by(secret))
            .ok_or(SignatureError::NoMatch)?;
        if let Some(signed_at) = signed.at {
            tolerance::check(signed_at, now, self.tolerance)?;
        }
        Ok(Verified {
            secret,
            signed_at: signed.at,
        })
    }
}

/// Signatures of one delivery that are looked at.
const MOST_SIGNATURES: usize = 16;

/// What a delivery says of its signature.
#[derive(Debug)]
struct Signed<'a> {
    /// What was signed, in parts.
    content: Vec<std::borrow::Cow<'a, [u8]>>,
    /// The signatures; one that matches is enough. Providers send several while they change secrets.
    signatures: Vec<Vec<u8>>,
    at: Option<SystemTime>,
}

impl Signed<'_> {
    fn is_by(&self, secret: &Secret) -> bool {
        let expected = hmac::Expected::of(secret, &self.content);
        // Providers send a handful; whoever sends thousands wants to keep us busy.
        let mut signatures = self.signatures.iter().take(MOST_SIGNATURES);
        signatures.any(|signature| expected.is(signature))
    }
}
