//! The answers: what stands under a key, as data. A duplicate is never an error.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use semel_proto::v1 as wire;
use tokio::time::Instant;

use crate::claim::Delivery;
use crate::client::Client;
use crate::convert::{duration, time};
use crate::ids::{Fence, Held};
use crate::retry::after;
use crate::trace;

/// What a [`Claim`](crate::Claim) was answered.
#[derive(Debug)]
pub enum ClaimOutcome {
    /// The caller may act now.
    Claimed(Claimed),
    /// Another caller is at it.
    InProgress(InProgress),
    /// The last attempt failed and the next may not start yet.
    BackingOff(BackingOff),
    /// It has been done; here is the result.
    Completed(Completed),
    /// It failed for good; here is the result.
    Failed(Failed),
    /// Its attempts are used up.
    Dead(Dead),
    /// Nobody knows whether it was done.
    Uncertain(Uncertain),
}

/// A lease as its holder has to see it: counted from the moment the request was sent.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    pub(crate) sent: Instant,
    pub(crate) granted: Duration,
}

impl Lease {
    /// When the lease ends at the earliest, by this process's monotonic clock.
    ///
    /// The server answers how much was left when it decided, and it decided after the request was
    /// sent; so counting from the sending can only end too early, never too late, however long the
    /// answer took to arrive. For a call that was retried it is the sending of the try that was
    /// answered: an answer cannot have been decided before its own try was sent.
    pub fn until(&self) -> std::time::Instant {
        self.end().into_std()
    }

    /// How much of the lease is certainly left; zero when it may have ended.
    pub fn remaining(&self) -> Duration {
        self.end().saturating_duration_since(Instant::now())
    }

    pub(crate) fn end(&self) -> Instant {
        after(self.sent, self.granted)
    }
}

/// The caller holds the claim until its lease ends.
///
/// Nothing extends the lease by itself: turn it into a [`Guard`](crate::Guard) with
/// [`Claimed::guard`], or call [`Client::extend`].
#[non_exhaustive]
pub struct Claimed {
    /// The key and the token that holds it.
    pub held: Held,
    /// The fence of this attempt; pass it on to downstream systems.
    pub fence: Fence,
    /// Which attempt at the operation this is, counted from 1.
    pub attempt: u32,
    /// How long the claim stands without an extension.
    pub lease: Lease,
    /// The last checkpoint that an earlier attempt saved.
    pub checkpoint: Option<Bytes>,
    /// What the previous attempt said when it failed; empty when there was none or it lapsed.
    pub last_error: String,
    pub(crate) asked_lease: Option<Duration>,
    pub(crate) client: Client,
}

impl fmt::Debug for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claimed")
            .field("held", &self.held)
            .field("fence", &self.fence)
            .field("attempt", &self.attempt)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// Another caller holds the claim.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InProgress {
    /// The holder's own description of itself.
    pub owner: String,
    /// The time left of the holder's lease; zero when it has lapsed.
    pub lease: Duration,
    /// How long to wait before asking again: 10 milliseconds to 1 second.
    pub retry_after: Duration,
    /// The holder's fence.
    pub fence: Fence,
    /// Which attempt the holder is, counted from 1.
    pub attempt: u32,
    /// W3C traceparent of the holder's claim: the server's own span of it where it was traced, else
    /// what the holder sent; empty when it sent none.
    pub traceparent: String,
}

/// The last attempt failed as retryable and the next may not start yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackingOff {
    /// How long until the key can be claimed again; zero (only from a lookup): now.
    pub retry_after: Duration,
    /// Attempts so far.
    pub attempts: u32,
    /// What the last attempt said.
    pub last_error: String,
}

/// The operation was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Completed {
    /// The stored result, byte for byte. An empty result is a result.
    pub result: Bytes,
    /// When the completion was recorded, by the store's clock.
    pub completed_at: Option<SystemTime>,
    /// The fence of the attempt that completed.
    pub fence: Fence,
    /// Which attempt completed, counted from 1.
    pub attempt: u32,
    /// W3C traceparent of the claim that completed, as with [`InProgress::traceparent`].
    pub traceparent: String,
}

/// The operation failed for good.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failed {
    /// The stored failure result, byte for byte.
    pub result: Bytes,
    /// When the failure was recorded, by the store's clock.
    pub failed_at: Option<SystemTime>,
    /// The fence of the attempt that failed.
    pub fence: Fence,
    /// Which attempt failed, counted from 1.
    pub attempt: u32,
    /// What the attempt said.
    pub error: String,
    /// W3C traceparent of the claim that failed, as with [`InProgress::traceparent`].
    pub traceparent: String,
}

/// The key is a dead letter: its attempts are used up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dead {
    /// Attempts that were made.
    pub attempts: u32,
    /// What the last attempt said; empty when it lapsed without a word.
    pub last_error: String,
    /// When the key died, by the store's clock.
    pub dead_at: Option<SystemTime>,
    /// The key's current fence.
    pub fence: Fence,
    /// W3C traceparent of the last attempt's claim, as with [`InProgress::traceparent`].
    pub traceparent: String,
}

/// Nobody knows whether the work was done; somebody who knows has to resolve it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uncertain {
    /// The holder's own description of itself.
    pub owner: String,
    /// The holder's fence.
    pub fence: Fence,
    /// Attempts so far.
    pub attempts: u32,
    /// Since when it is uncertain, by the store's clock.
    pub uncertain_since: Option<SystemTime>,
    /// What the holder said; empty when its lease lapsed without a word.
    pub last_error: String,
    /// W3C traceparent of the holder's claim: the server's own span of it where it was traced, else
    /// what the holder sent; empty when it sent none.
    pub traceparent: String,
}

/// A completion that was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Completion {
    /// The same completion had been recorded before; nothing changed.
    pub repeat: bool,
    /// When it was recorded, by the store's clock.
    pub completed_at: Option<SystemTime>,
}

/// A lease that was extended.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Extended {
    /// The new lease.
    pub lease: Lease,
    /// How much longer the claim could be held at all when the server decided, extended or not;
    /// `Duration::MAX` when the server named no limit.
    pub hold: Duration,
}

/// What stands under a key, as [`Client::lookup`] found it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The state of the key.
    pub state: RecordState,
    /// The owner of the last attempt.
    pub owner: String,
    /// When the key was first claimed, by the store's clock.
    pub created_at: Option<SystemTime>,
    /// When the last attempt began, by the store's clock.
    pub claimed_at: Option<SystemTime>,
    /// How much longer the outcome is kept; `None` while in progress or uncertain.
    pub retention: Option<Duration>,
    /// The last checkpoint.
    pub checkpoint: Option<Bytes>,
    /// The fingerprint of the request the key stands for; empty when none was given.
    pub fingerprint: Bytes,
    /// The kept delivery; only when asked for and kept.
    pub delivery: Option<Delivery>,
    /// W3C traceparent of the last attempt's claim, as with [`InProgress::traceparent`].
    pub traceparent: String,
    /// What the last attempt's claim is called in traces, in their attribute `semel.claim_id`: 32
    /// hexadecimal digits. Proves nothing; the token is another thing. Empty from a server that does
    /// not say.
    pub claim_id: String,
}

/// The state of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordState {
    /// A caller is at it.
    InProgress(InProgress),
    /// The last attempt failed; a `retry_after` of zero: it can be claimed now.
    BackingOff(BackingOff),
    /// It has been done.
    Completed(Completed),
    /// It failed for good.
    Failed(Failed),
    /// Its attempts are used up.
    Dead(Dead),
    /// Nobody knows whether it was done.
    Uncertain(Uncertain),
}

/// The trace that an answer names.
macro_rules! traced {
    ($($answer:ident),*) => {$(
        impl $answer {
            /// The id of the trace that the traceparent names, as 32 hexadecimal digits: to be looked
            /// up where traces are kept. `None` when there is no traceparent, or a malformed one.
            pub fn trace_id(&self) -> Option<&str> {
                trace::read(&self.traceparent).map(|parts| parts.trace_id)
            }
        }
    )*};
}

traced!(InProgress, Completed, Failed, Dead, Uncertain, Record);

impl From<wire::InProgress> for InProgress {
    fn from(wire: wire::InProgress) -> Self {
        Self {
            owner: wire.owner,
            lease: duration(wire.lease),
            retry_after: duration(wire.retry_after),
            fence: Fence::new(wire.fence),
            attempt: wire.attempt,
            traceparent: wire.traceparent,
        }
    }
}

impl From<wire::BackingOff> for BackingOff {
    fn from(wire: wire::BackingOff) -> Self {
        Self {
            retry_after: duration(wire.retry_after),
            attempts: wire.attempts,
            last_error: wire.last_error,
        }
    }
}

impl From<wire::Completed> for Completed {
    fn from(wire: wire::Completed) -> Self {
        Self {
            result: wire.result,
            completed_at: time(wire.completed_at),
            fence: Fence::new(wire.fence),
            attempt: wire.attempt,
            traceparent: wire.traceparent,
        }
    }
}

impl From<wire::Failed> for Failed {
    fn from(wire: wire::Failed) -> Self {
        Self {
            result: wire.result,
            failed_at: time(wire.failed_at),
            fence: Fence::new(wire.fence),
            attempt: wire.attempt,
            error: wire.error,
            traceparent: wire.traceparent,
        }
    }
}

impl From<wire::Dead> for Dead {
    fn from(wire: wire::Dead) -> Self {
        Self {
            attempts: wire.attempts,
            last_error: wire.last_error,
            dead_at: time(wire.dead_at),
            fence: Fence::new(wire.fence),
            traceparent: wire.traceparent,
        }
    }
}

impl From<wire::Uncertain> for Uncertain {
    fn from(wire: wire::Uncertain) -> Self {
        Self {
            owner: wire.owner,
            fence: Fence::new(wire.fence),
            attempts: wire.attempts,
            uncertain_since: time(wire.uncertain_since),
            last_error: wire.last_error,
            traceparent: wire.traceparent,
        }
    }
}
