//! A claim whose lease is kept alive.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::error::Error;
use crate::failure::{Failure, RecordedFailure};
use crate::ids::{Fence, Held};
use crate::lease::{Keeper, LeaseLoss, LeaseSignal};
use crate::outcome::{Claimed, Completion};

/// What the work may know and do while it runs under a claim. Cheap to clone.
///
/// It does not keep the lease alive: that is its [`Guard`]'s part.
#[derive(Debug, Clone)]
pub struct Context {
    client: Client,
    held: Held,
    fence: Fence,
    attempt: u32,
    checkpoint: Option<Bytes>,
    last_error: String,
    lease: LeaseSignal,
}

impl Context {
    /// The fence of this attempt. Pass it on to downstream systems that can refuse a smaller one.
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// A key for one step of the operation, the same for every attempt at it: to be sent downstream as
    /// its `Idempotency-Key`. See [`Held::downstream_key`].
    pub fn downstream_key(&self, step: &str) -> String {
        self.held.downstream_key(step)
    }

    /// Which attempt at the operation this is, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The last checkpoint that an *earlier* attempt saved.
    pub fn checkpoint_bytes(&self) -> Option<&Bytes> {
        self.checkpoint.as_ref()
    }

    /// What the previous attempt said when it failed; empty when there was none or it lapsed.
    pub fn last_error(&self) -> &str {
        &self.last_error
    }

    /// The key and the token that holds it, to settle it from elsewhere.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Tells whether the lease still stands.
    pub fn lease(&self) -> &LeaseSignal {
        &self.lease
    }

    /// Waits until the lease is lost. Safe to cancel.
    pub async fn lease_lost(&self) -> LeaseLoss {
        self.lease.lost().await
    }

    /// Saves at most 16 KiB of progress for the next attempt, should this one be lost; the last
    /// one wins.
    ///
    /// # Errors
    /// As [`Client::checkpoint`].
    pub async fn checkpoint(&self, bytes: impl Into<Bytes>) -> Result<(), Error> {
        self.client.checkpoint(&self.held, bytes).await
    }
}

/// A claim whose lease is kept alive by a background task, for those who want the pieces of
/// [`Client::run_once`](crate::Client::run_once) in their own hands.
///
/// The task extends the lease when a third of it has passed, and bears failures until the lease
/// has really ended; then [`Guard::lease_lost`] resolves, for good. Settling is tried all the same:
/// Semel accepts it after a lapse as long as nobody took over.
///
/// **Dropping a guard that was not settled sends nothing.** The extensions stop, the lease lapses
/// by itself and the namespace's policy decides what becomes of the key, because a program that
/// left half way cannot say whether the work was done. [`Guard::fail`] says so at once.
///
/// ```no_run
/// # async fn example() -> Result<(), semel_client::Error> {
/// use semel_client::{Claim, ClaimOutcome, Client};
///
/// let client = Client::connect("http://127.0.0.1:7420")?;
/// if let ClaimOutcome::Claimed(claimed) = client.claim(&Claim::new("mail", "welcome-17")).await? {
///     let guard = claimed.guard().await?;
///     // … send the mail, passing guard.fence() on …
///     guard.complete("sent").await?;
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a guard that is dropped no longer keeps its lease"]
pub struct Guard {
    context: Context,
    keeper: JoinHandle<()>,
}

impl Claimed {
    /// A key for one step of the operation, the same for every attempt at it; see
    /// [`Held::downstream_key`].
    pub fn downstream_key(&self, step: &str) -> String {
        self.held.downstream_key(step)
    }

    /// Keeps the lease alive from here on.
    ///
    /// When the answer took so long that less than half of the lease is certainly left (a long
    /// `wait`, a retried call), the lease is extended before this returns, so that nobody starts
    /// working under a lease that has lapsed.
    ///
    /// # Errors
    /// Those of [`Client::extend`], when nothing of the lease was left and it could not be
    /// extended: do not act.
    pub async fn guard(self) -> Result<Guard, Error> {
        let mut lease = self.lease;
        if lease.remaining() <= lease.granted / 2 {
            let (client, trace) = (&self.client, self.held.trace.or_current());
            let (held, plan) = (&self.held, client.plan());
            let extended = client.extend_by(held, self.asked_lease, trace.as_ref(), plan);
            match extended.await {
                Ok(extended) => lease = extended.lease,
                Err(error) if lease.remaining().is_zero() => return Err(error),
                Err(error) => tracing::debug!(%error, "a late claim could not be extended yet"),
            }
        }
        let keeper = Keeper {
            client: self.client.clone(),
            held: self.held.clone(),
            asked_lease: self.asked_lease,
        };
        let (signal, task) = keeper.keep(lease);
        Ok(Guard {
            context: Context {
                client: self.client,
                held: self.held,
                fence: self.fence,
                attempt: self.attempt,
                checkpoint: self.checkpoint,
                last_error: self.last_error,
                lease: signal,
            },
            keeper: tokio::spawn(task),
        })
    }
}

impl Guard {
    /// What the work may know and do, to be handed to it.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// See [`Held::downstream_key`].
    pub fn downstream_key(&self, step: &str) -> String {
        self.context.downstream_key(step)
    }

    /// The fence of this attempt.
    pub fn fence(&self) -> Fence {
        self.context.fence
    }

    /// Which attempt at the operation this is, counted from 1.
    pub fn attempt(&self) -> u32 {
        self.context.attempt
    }

    /// The last checkpoint that an *earlier* attempt saved.
    pub fn checkpoint_bytes(&self) -> Option<&Bytes> {
        self.context.checkpoint_bytes()
    }

    /// Waits until the lease is lost. Safe to cancel.
    pub async fn lease_lost(&self) -> LeaseLoss {
        self.context.lease_lost().await
    }

    /// Tells whether the lease still stands.
    pub fn lease(&self) -> &LeaseSignal {
        self.context.lease()
    }

    /// Saves at most 16 KiB of progress for the next attempt; the last one wins.
    ///
    /// # Errors
    /// As [`Client::checkpoint`].
    pub async fn checkpoint(&self, bytes: impl Into<Bytes>) -> Result<(), Error> {
        self.context.checkpoint(bytes).await
    }

    /// Records that the operation was carried out. The lease is kept alive until that is
    /// acknowledged; after an error it still is, and this may be called again.
    ///
    /// # Errors
    /// As [`Client::complete`].
    pub async fn complete(&self, result: impl Into<Bytes>) -> Result<Completion, Error> {
        let client = &self.context.client;
        let held = &self.context.held;
        let trace = held.trace.or_current();
        let completion = client.complete_in(held, result.into(), trace).await?;
        self.keeper.abort();
        Ok(completion)
    }

    /// Records that the attempt failed. The lease is kept alive until that is acknowledged.
    ///
    /// # Errors
    /// As [`Client::fail`].
    pub async fn fail(&self, failure: &Failure) -> Result<RecordedFailure, Error> {
        let client = &self.context.client;
        let held = &self.context.held;
        let trace = held.trace.or_current();
        let recorded = client.fail_in(held, failure, trace).await?;
        self.keeper.abort();
        Ok(recorded)
    }

    /// The same guard with another deadline for its calls.
    pub(crate) fn with_deadline(mut self, deadline: Duration) -> Self {
        self.context.client = self.context.client.with_deadline(deadline);
        self
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}
