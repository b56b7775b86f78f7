//! The names of one attempt: its id, its fence and its token.

use std::fmt;

use bytes::Bytes;

use crate::digest;
use crate::trace::Origin;

/// A number that never repeats and never decreases for a key.
///
/// Public and ordered: pass it on to downstream systems that can refuse a smaller one, because a
/// holder that was paused may act after it lost its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(i64);

impl Fence {
    /// The fence with this number.
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number itself, as it is to be stored or sent on.
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Opaque proof of one claim.
///
/// It is a secret of the holder: whoever has it can settle the claim, so its `Debug` shows nothing
/// and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Bytes);

impl Token {
    /// A token that was stored or handed over as bytes.
    pub fn new(token: impl Into<Bytes>) -> Self {
        Self(token.into())
    }

    /// The bytes to store or to hand over.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(redacted)")
    }
}

/// The random 128-bit id of one attempt to claim.
///
/// Made once for each [`Claim`](crate::Claim) and sent again unchanged whenever that call is
/// retried: it is how Semel tells a repeated question from a second asker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AttemptId(uuid::Uuid);

impl AttemptId {
    /// A new random id.
    pub(crate) fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }

    /// The 16 bytes that go over the wire.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Together with the fence it makes up the token, so it is kept out of logs as well.
        f.write_str("AttemptId(redacted)")
    }
}

/// A key together with the token that holds it: what every call of a holder names.
#[derive(Debug, Clone)]
pub struct Held {
    pub(crate) namespace: String,
    pub(crate) key: String,
    pub(crate) token: Token,
    pub(crate) trace: Origin,
}

/// The same claim is the same, whichever trace knows of it.
impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            namespace,
            key,
            token,
            trace: _,
        } = self;
        (namespace, key, token) == (&other.namespace, &other.key, &other.token)
    }
}

impl Eq for Held {}

impl Held {
    /// A claim that was handed over from elsewhere, for example to a worker that is to settle it.
    pub fn new(namespace: impl Into<String>, key: impl Into<String>, token: Token) -> Self {
        Self {
            namespace: namespace.into(),
            key: key.into(),
            token,
            trace: Origin::None,
        }
    }

    /// The namespace of the key.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The proof of the claim.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// A key for one step of the operation, to be sent downstream as its `Idempotency-Key`.
    ///
    /// It is the same for every attempt at the operation, whoever makes it: a second holder, who cannot
    /// know how far the first one came, asks the downstream system the same question again. Worked out
    /// from namespace, key and step by SHA-256, so it shows nothing of them. 38 characters.
    ///
    /// ```
    /// # use semel_client::{Held, Token};
    /// let held = Held::new("payments", "order-4711", Token::new("…"));
    /// assert_eq!(held.downstream_key("charge"), "semel-d0eb155aeec99b31507a8a210fb75d64");
    /// assert_ne!(held.downstream_key("charge"), held.downstream_key("refund"));
    /// ```
    pub fn downstream_key(&self, step: &str) -> String {
        let digest = digest::of_parts([self.namespace.as_str(), &self.key, step]);
        let mut text = String::from("semel-");
        for byte in &digest[..16] {
            text.push_str(&format!("{byte:02x}"));
        }
        text
    }
}
