//! Runs a closure once per key: claim, keep the lease, settle, replay.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::claim::Claim;
use crate::client::Client;
use crate::error::Error;
use crate::failure::{FailOutcome, Failure};
use crate::guard::{Context, Guard};
use crate::ids::Fence;
use crate::outcome::{
    BackingOff, ClaimOutcome, Claimed, Completed, Dead, Failed, InProgress, Uncertain,
};
use crate::retry::after;

/// How a [`Client::run_once`] ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Run {
    /// The closure ran here, and its success is recorded.
    Ran {
        /// What the closure returned; every duplicate is told the same bytes.
        result: Bytes,
        /// The fence it ran under.
        fence: Fence,
        /// Which attempt it was, counted from 1.
        attempt: u32,
    },
    /// It had been done before; here is the stored result. The closure did not run.
    Replayed(Completed),
    /// The closure ran here and failed, and that is recorded.
    Failed {
        /// How the closure failed.
        failure: Failure,
        /// What the key became.
        outcome: FailOutcome,
    },
    /// It had failed for good before; here is the stored result. The closure did not run.
    ReplayedFailure(Failed),
    /// Another caller is at it, and was for as long as the claim was to wait.
    InProgress(InProgress),
    /// The last attempt failed and the next may not start yet.
    BackingOff(BackingOff),
    /// Its attempts are used up.
    Dead(Dead),
    /// Nobody knows whether it was done.
    Uncertain(Uncertain),
}

/// What to do when the lease is lost while the closure runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLeaseLost {
    /// Let the closure finish and try to record its outcome, which Semel accepts as long as nobody
    /// took over. Work that was cut off half way is worse than work that may be repeated.
    #[default]
    Finish,
    /// Drop the closure's future at its next await and return [`Error::Aborted`]. Nothing is
    /// recorded; the namespace's policy decides what becomes of the key.
    Abort,
}

/// What to record when the closure panics. The panic goes on afterwards either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnPanic {
    /// [`Failure::Retryable`]: the next caller tries again after the backoff.
    #[default]
    Retryable,
    /// [`Failure::Unknown`]: the key stays uncertain until somebody resolves it. For work where a
    /// panic half way may have moved money.
    Unknown,
}

impl Client {
    /// Runs `work` if `claim` is granted, and else hands back what stands under the key.
    ///
    /// The same as [`Client::once`] with its defaults: see [`Once::run`].
    ///
    /// # Errors
    /// As [`Once::run`].
    pub async fn run_once<F, W, T, E>(&self, claim: Claim, work: F) -> Result<Run, Error>
    where
        F: FnOnce(Context) -> W,
        W: Future<Output = Result<T, E>>,
        T: Into<Bytes>,
        E: Into<Failure>,
    {
        self.once(claim).run(work).await
    }

    /// A run with settings of its own.
    ///
    /// ```no_run
    /// # async fn example(client: semel_client::Client) -> Result<(), semel_client::Error> {
    /// use std::time::Duration;
    /// use semel_client::{Claim, Failure, OnPanic};
    ///
    /// let run = client
    ///     .once(Claim::new("payments", "order-4711").wait(Duration::from_secs(5)))
    ///     .on_panic(OnPanic::Unknown)
    ///     .settle_deadline(Duration::from_secs(60))
    ///     .run(async |work| {
    ///         charge(work.fence().get()).await.map_err(Failure::retryable)
    ///     })
    ///     .await?;
    /// # Ok(()) }
    /// # async fn charge(_: i64) -> Result<String, std::io::Error> { Ok(String::new()) }
    /// ```
    pub fn once(&self, claim: Claim) -> Once {
        Once {
            client: self.clone(),
            claim,
            settle_deadline: Duration::from_secs(30),
            on_lease_lost: OnLeaseLost::default(),
            on_panic: OnPanic::default(),
            if_refused: None,
        }
    }
}

/// A run that is yet to start; made by [`Client::once`].
#[derive(Debug)]
#[must_use = "nothing runs before `run` is called and awaited"]
pub struct Once {
    client: Client,
    claim: Claim,
    settle_deadline: Duration,
    on_lease_lost: OnLeaseLost,
    on_panic: OnPanic,
    if_refused: Option<Bytes>,
}

impl Once {
    /// How long to go on trying to record the outcome of work that was done. Default: 30 seconds.
    pub fn settle_deadline(mut self, deadline: Duration) -> Self {
        self.settle_deadline = deadline;
        self
    }

    /// What to do when the lease is lost while the closure runs. Default: let it finish.
    pub fn on_lease_lost(mut self, policy: OnLeaseLost) -> Self {
        self.on_lease_lost = policy;
        self
    }

    /// What to record when the closure panics. Default: a retryable failure.
    pub fn on_panic(mut self, policy: OnPanic) -> Self {
        self.on_panic = policy;
        self
    }

    /// What to record as the result where the server refuses the work's own as too large, so that the
    /// work counts as done all the same. [`Run::Ran`] has this result then. Default: nothing, and the
    /// key becomes uncertain.
    pub fn if_refused(mut self, result: impl Into<Bytes>) -> Self {
        self.if_refused = Some(result.into());
        self
    }

    /// Claims the key, runs `work` in the caller's own task while the lease is kept alive, and
    /// records how it ended.
    ///
    /// While another caller is at it this waits for as long as the claim's
    /// [`wait`](Claim::wait) says (default: not at all) and then returns [`Run::InProgress`].
    ///
    /// **Cancelling.** The work is never spawned: dropping this future drops the work with it,
    /// nothing is sent, and the claim is left to lapse (see [`Guard`]'s drop). Work that must not
    /// be cut off by a caller that hangs up belongs in a `tokio::spawn` around the whole run.
    ///
    /// # Errors
    /// Before the work: those of [`Client::claim`] and, for a lease that was over before it
    /// began, of [`Client::extend`]; nothing ran. After it: [`Error::NotRecorded`] and
    /// [`Error::TakenOver`], which carry the result; [`Error::FailureNotRecorded`];
    /// [`Error::Aborted`].
    ///
    /// A success whose result the server *refuses* (too large) is recorded with the result of
    /// [`Once::if_refused`], and where there is none as [`Failure::Unknown`], because a key that just
    /// lapsed would have the work done again; the error is `NotRecorded` then.
    ///
    /// # Panics
    /// When `work` panics, after that is recorded.
    pub async fn run<F, W, T, E>(self, work: F) -> Result<Run, Error>
    where
        F: FnOnce(Context) -> W,
        W: Future<Output = Result<T, E>>,
        T: Into<Bytes>,
        E: Into<Failure>,
    {
        let claimed = match self.ask().await? {
            ClaimOutcome::Claimed(claimed) => claimed,
            ClaimOutcome::Completed(it) => return Ok(Run::Replayed(it)),
            ClaimOutcome::Failed(it) => return Ok(Run::ReplayedFailure(it)),
            ClaimOutcome::InProgress(it) => return Ok(Run::InProgress(it)),
            ClaimOutcome::BackingOff(it) => return Ok(Run::BackingOff(it)),
            ClaimOutcome::Dead(it) => return Ok(Run::Dead(it)),
            ClaimOutcome::Uncertain(it) => return Ok(Run::Uncertain(it)),
        };
        self.run_claimed(claimed, work).await
    }

    /// Claims, again and again while the key is in progress and the wait is not over.
    pub(crate) async fn ask(&self) -> Result<ClaimOutcome, Error> {
        let give_up = after(Instant::now(), self.claim.asked_wait());
        // Once, so that all that is asked is asked in the same trace.
        let trace = self.claim.trace()?;
        let mut answer = self.client.claim_in(&self.claim, &trace).await;
        if let Err(Error::Superseded { .. }) = answer {
            // The caller ran the same claim before and that attempt is over. Its id is never
            // granted again, so a new one cannot double anything.
            return self.client.claim_in(&self.claim.fresh(), &trace).await;
        }
        // The server may end a wait early (its own limit, its shutdown): wait on here.
        while let Ok(ClaimOutcome::InProgress(busy)) = &answer {
            let left = give_up.saturating_duration_since(Instant::now());
            if left <= busy.retry_after {
                break;
            }
            sleep(busy.retry_after).await;
            let left = give_up.saturating_duration_since(Instant::now());
            let again = self.claim.fresh().wait(left);
            answer = self.client.claim_in(&again, &trace).await;
        }
        answer
    }

    pub(crate) async fn run_claimed<F, W, T, E>(
        &self,
        claimed: Claimed,
        work: F,
    ) -> Result<Run, Error>
    where
        F: FnOnce(Context) -> W,
        W: Future<Output = Result<T, E>>,
        T: Into<Bytes>,
        E: Into<Failure>,
    {
        let guard = claimed.guard().await?;
        let context = guard.context().clone();
        let work = catching_panics(async move { work(context).await });
        let ended = match self.on_lease_lost {
            OnLeaseLost::Finish => work.await,
            OnLeaseLost::Abort => tokio::select! {
                // Work that is done counts as done, also when the lease is lost as well.
                biased;
                ended = work => ended,
                _ = guard.lease_lost() => return Err(Error::Aborted { fence: guard.fence() }),
            },
        };
        let guard = guard.with_deadline(self.settle_deadline);
        match ended {
            Ok(Ok(result)) => record_success(&guard, result.into(), self.if_refused.clone()).await,
            Ok(Err(error)) => record_failure(&guard, error.into()).await,
            Err(panic) => {
                let said = panic_text(panic.as_ref());
                let failure = match self.on_panic {
                    OnPanic::Retryable => Failure::retryable(said),
                    OnPanic::Unknown => Failure::unknown(said),
                };
                if let Err(error) = record_failure(&guard, failure).await {
                    tracing::error!(%error, "a panic is not recorded; the lease will lapse");
                }
                resume_unwind(panic)
            }
        }
    }
}

async fn record_success(
    guard: &Guard,
    result: Bytes,
    if_refused: Option<Bytes>,
) -> Result<Run, Error> {
    let fence = guard.fence();
    let source = match guard.complete(result.clone()).await {
        Err(Error::InvalidArgument { message, .. }) if let Some(instead) = if_refused => {
            tracing::error!(message, "a result was refused, and another is recorded");
            return Box::pin(record_success(guard, instead, None)).await;
        }
        Ok(_) => {
            return Ok(Run::Ran {
                result,
                fence,
                attempt: guard.attempt(),
            });
        }
        Err(Error::LeaseLost { current_fence } | Error::Superseded { current_fence }) => {
            return Err(Error::TakenOver {
                result,
                fence,
                current_fence,
            });
        }
        Err(source) => source,
    };
    if let Error::InvalidArgument { message, .. } = &source {
        let refused = Failure::unknown(format!("done, but its result was refused: {message}"));
        if let Err(error) = guard.fail(&refused).await {
            tracing::error!(%error, "a refused result could not be marked as uncertain");
        }
    }
    Err(Error::NotRecorded {
        result,
        fence,
        source: Box::new(source),
    })
}

async fn record_failure(guard: &Guard, failure: Failure) -> Result<Run, Error> {
    match guard.fail(&failure).await {
        Ok(recorded) => Ok(Run::Failed {
            failure,
            outcome: recorded.outcome,
        }),
        Err(source) => Err(Error::FailureNotRecorded {
            failure,
            source: Box::new(source),
        }),
    }
}

/// Runs `work` to its end, or to its panic.
///
/// `AssertUnwindSafe` is sound to claim here because the panic is resumed after it was recorded:
/// nobody goes on using what the work may have left torn.
pub(crate) async fn catching_panics<W: Future>(work: W) -> Result<W::Output, Box<dyn Any + Send>> {
    let mut work = pin!(work);
    poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => std::task::Poll::Ready(Err(panic)),
        },
    )
    .await
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    said.map_or_else(|| "panicked".to_owned(), |said| format!("panicked: {said}"))
}
