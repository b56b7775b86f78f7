//! Keeps a lease alive in the background and says when it is lost.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::client::Client;
use crate::error::Error;
use crate::ids::{Fence, Held};
use crate::outcome::Lease;
use crate::retry::{Plan, after};

/// A lease is extended when this part of it has passed, which leaves two more parts for tries that
/// fail.
const EXTEND_AFTER: u32 = 3;

/// Never ask more often than this, however short the leases are that the server grants.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);

/// Why a lease counts as lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseLoss {
    /// It ended, or may have ended, before an extension was confirmed: Semel was away for too
    /// long, the policy's longest hold was reached, or the guard is gone. Nobody need have taken
    /// over yet.
    Lapsed,
    /// The server said that another caller holds the claim by now.
    TakenOver {
        /// The fence of the claim that stands now, where the server says.
        current_fence: Option<Fence>,
    },
    /// The server said that the key is settled or gone: somebody resolved, reset or forgot it.
    Withdrawn,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Certainly held until then.
    Held(Instant),
    Lost(LeaseLoss),
}

/// Tells whether the lease still stands. Cheap to clone; outlives its guard.
#[derive(Debug, Clone)]
pub struct LeaseSignal {
    state: watch::Receiver<State>,
}

impl LeaseSignal {
    /// The lease is lost, or may be: it was not confirmed for as long as it was granted for. True
    /// on the dot, even when the task that extends the lease was starved.
    pub fn is_lost(&self) -> bool {
        self.remaining().is_zero()
    }

    /// How much of the lease is certainly left, counted from when its last extension was *sent*.
    pub fn remaining(&self) -> Duration {
        match *self.state.borrow() {
            State::Held(until) => until.saturating_duration_since(Instant::now()),
            State::Lost(_) => Duration::ZERO,
        }
    }

    /// Waits until the lease is lost. Safe to cancel.
    pub async fn lost(&self) -> LeaseLoss {
        let mut state = self.state.clone();
        loop {
            let until = match *state.borrow_and_update() {
                State::Lost(loss) => return loss,
                State::Held(until) => until,
            };
            if state.changed().await.is_err() {
                // Nobody extends it any more, so it ends at its end.
                sleep_until(until).await;
                return LeaseLoss::Lapsed;
            }
        }
    }
}

/// What a keeper starts from.
pub(crate) struct Keeper {
    pub(crate) client: Client,
    pub(crate) held: Held,
    pub(crate) asked_lease: Option<Duration>,
}

impl Keeper {
    /// The signal, and the task that is to be spawned to keep the lease. Dropping the task stops
    /// the extensions.
    pub(crate) fn keep(self, lease: Lease) -> (LeaseSignal, impl Future<Output = ()> + Send) {
        let (say, state) = watch::channel(State::Held(lease.end()));
        let task = async move {
            let loss = self.until_lost(lease, &say).await;
            tracing::warn!(
                namespace = self.held.namespace(),
                ?loss,
                "a lease is lost while its holder is at work"
            );
            say.send_replace(State::Lost(loss));
        };
        (LeaseSignal { state }, task)
    }

    /// Extends again and again. Failures are borne until the lease has really ended.
    async fn until_lost(&self, mut lease: Lease, say: &watch::Sender<State>) -> LeaseLoss {
        loop {
            let pause = (lease.granted / EXTEND_AFTER).max(SHORTEST_PAUSE);
            sleep_until(after(lease.sent, pause).min(lease.end())).await;
            let error = match self.extend(&lease).await {
                Ok(extended) => {
                    say.send_replace(State::Held(extended.lease.end()));
                    lease = extended.lease;
                    if extended.hold > lease.granted {
                        continue;
                    }
                    // The longest hold is reached: asking again would gain nothing.
                    Error::HoldLimitReached
                }
                Err(error) => error,
            };
            match error {
                Error::LeaseLost { current_fence } | Error::Superseded { current_fence } => {
                    return LeaseLoss::TakenOver { current_fence };
                }
                Error::AlreadySettled | Error::ResultConflict | Error::NotFound => {
                    return LeaseLoss::Withdrawn;
                }
                Error::HoldLimitReached => {
                    sleep_until(lease.end()).await;
                    return LeaseLoss::Lapsed;
                }
                error => {
                    if lease.remaining().is_zero() {
                        return LeaseLoss::Lapsed;
                    }
                    tracing::debug!(%error, "a lease could not be extended; trying on");
                    // Errors that are no outage come back at once; do not spin on them.
                    let pause = (lease.granted / 20)
                        .max(SHORTEST_PAUSE)
                        .max(error.retry_after().unwrap_or_default());
                    sleep_until(after(Instant::now(), pause).min(lease.end())).await;
                }
            }
        }
    }

    async fn extend(&self, lease: &Lease) -> Result<crate::Extended, Error> {
        let plan = self.client.plan();
        let plan = Plan {
            deadline: lease.end(),
            // One hung connection must leave time for a try over the next one.
            try_timeout: plan.try_timeout.min(lease.granted / 5).max(SHORTEST_PAUSE),
            ..plan
        };
        self.client
            // Whatever span is active in this task is nobody's.
            .extend_by(
                &self.held,
                self.asked_lease,
                self.held.trace.of_claim(),
                plan,
            )
            .await
    }
}
