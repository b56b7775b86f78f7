//! The question: one attempt to claim one key.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use semel_proto::v1 as wire;

use crate::convert::to_wire;
use crate::error::Error;
use crate::ids::AttemptId;
use crate::trace::{Origin, Trace};

/// One attempt to claim one key.
///
/// Building it makes the attempt's random id, and every send of the same `Claim` carries that id:
/// a claim whose answer was lost may simply be sent again. It is not `Clone` on purpose, because
/// two callers that send the same attempt id are one caller to Semel and would *both* be told to
/// act. Use [`Claim::fresh`] for another attempt at the same operation.
///
/// ```
/// use std::time::Duration;
/// use semel_client::Claim;
///
/// let claim = Claim::new("payments", "order-4711")
///     .fingerprint(vec![0xA5; 32])
///     .lease(Duration::from_secs(30))
///     .wait(Duration::from_secs(5));
/// assert_eq!(claim.key(), "order-4711");
/// ```
#[derive(Debug)]
pub struct Claim {
    namespace: String,
    key: String,
    attempt_id: AttemptId,
    fingerprint: Bytes,
    owner: Option<String>,
    lease: Option<Duration>,
    wait: Duration,
    event_time: Option<SystemTime>,
    delivery: Option<Delivery>,
    traceparent: Option<String>,
}

impl Claim {
    /// A claim on `key` (1 to 255 bytes, compared byte for byte) in `namespace` (1 to 64 of
    /// `a-z 0-9 . _ -`). The server checks both.
    pub fn new(namespace: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            key: key.into(),
            attempt_id: AttemptId::random(),
            fingerprint: Bytes::new(),
            owner: None,
            lease: None,
            wait: Duration::ZERO,
            event_time: None,
            delivery: None,
            traceparent: None,
        }
    }

    /// Digest of the request that the key stands for, at most 64 bytes: a later claim with another
    /// one is refused. Default: empty, not compared.
    pub fn fingerprint(mut self, digest: impl Into<Bytes>) -> Self {
        self.fingerprint = digest.into();
        self
    }

    /// Free text for people: host, pod, worker. Default: the client's owner text.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// How long the claim is to stand without an extension. Default: the namespace's.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// How long Semel may hold the answer back while another caller is at it, at most 5 minutes.
    /// Added to the call's deadline. Default: zero, answer at once.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// When the sender made the event; too old to tell "never seen" from "forgotten" is refused
    /// with [`Error::EventTooOld`](crate::Error::EventTooOld). Default: not checked.
    pub fn event_time(mut self, at: SystemTime) -> Self {
        self.event_time = Some(at);
        self
    }

    /// The raw delivery, kept for dead letters where the namespace keeps deliveries.
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = Some(delivery);
        self
    }

    /// W3C `traceparent` that this claim belongs to; sent with the claim and with every call of its
    /// holder, whatever span is active then, and shown to duplicates. Default: that of the span that is
    /// active when the claim is made, as the [crate](crate#tracing) says.
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.traceparent = Some(traceparent.into());
        self
    }

    /// The same question as a new attempt, with an id of its own.
    pub fn fresh(&self) -> Self {
        Self {
            namespace: self.namespace.clone(),
            key: self.key.clone(),
            attempt_id: AttemptId::random(),
            fingerprint: self.fingerprint.clone(),
            owner: self.owner.clone(),
            lease: self.lease,
            wait: self.wait,
            event_time: self.event_time,
            delivery: self.delivery.clone(),
            traceparent: self.traceparent.clone(),
        }
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The id of this attempt.
    pub fn attempt_id(&self) -> AttemptId {
        self.attempt_id
    }

    pub(crate) fn asked_lease(&self) -> Option<Duration> {
        self.lease
    }

    pub(crate) fn asked_wait(&self) -> Duration {
        self.wait
    }

    /// The trace of the claim, should it be made here and now.
    ///
    /// # Errors
    /// `InvalidArgument` for a traceparent that cannot be sent.
    pub(crate) fn trace(&self) -> Result<Origin, Error> {
        Ok(match &self.traceparent {
            Some(traceparent) => Origin::Explicit(Trace::explicit(traceparent)?),
            None => Trace::current().map_or(Origin::None, Origin::Current),
        })
    }

    pub(crate) fn to_wire(&self, default_owner: &str) -> wire::ClaimRequest {
        wire::ClaimRequest {
            namespace: self.namespace.clone(),
            key: self.key.clone(),
            attempt_id: Bytes::copy_from_slice(self.attempt_id.as_bytes()),
            fingerprint: self.fingerprint.clone(),
            owner: self
                .owner
                .clone()
                .unwrap_or_else(|| default_owner.to_owned()),
            lease: self.lease.map(to_wire),
            wait: (!self.wait.is_zero()).then(|| to_wire(self.wait)),
            event_time: self.event_time.map(Into::into),
            delivery: self.delivery.clone().map(Into::into),
        }
    }
}

/// A raw delivery as its sender made it. `Debug` shows sizes only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The headers in their order: at most 128, names and values together at most 32 KiB.
    pub headers: Vec<(String, Bytes)>,
    /// The raw body, at most 1 MiB.
    pub body: Bytes,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

impl From<Delivery> for wire::Delivery {
    fn from(delivery: Delivery) -> Self {
        Self {
            headers: delivery
                .headers
                .into_iter()
                .map(|(name, value)| wire::Header { name, value })
                .collect(),
            body: delivery.body,
        }
    }
}

impl From<wire::Delivery> for Delivery {
    fn from(wire: wire::Delivery) -> Self {
        Self {
            headers: wire
                .headers
                .into_iter()
                .map(|h| (h.name, h.value))
                .collect(),
            body: wire.body,
        }
    }
}
