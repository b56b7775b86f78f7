//! The calls, one method each.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use semel_proto::v1 as wire;
use tokio::time::Instant;

use crate::builder::Builder;
use crate::claim::{Claim, Delivery};
use crate::connection::{Connection, Way};
use crate::convert::{duration, time, to_wire};
use crate::error::Error;
use crate::failure::{FailOutcome, Failure, RecordedFailure};
use crate::ids::{Fence, Held, Token};
use crate::outcome::{ClaimOutcome, Claimed, Completion, Extended, Lease, Record, RecordState};
use crate::retry::{Answered, Backoff, Plan, after, send_until_answered};
use crate::rpc::Rpc;
use crate::trace::{Origin, Trace};

/// A client of one Semel server.
///
/// Cheap to clone; clones share their connections, which are closed when the last one is dropped.
/// Each call is sent again, unchanged and over the
/// next connection, after UNAVAILABLE or a lost answer, until its deadline; an error that the
/// server decided on is returned at once.
#[derive(Clone)]
pub struct Client {
    pub(crate) pool: Arc<Pool>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) deadline: Duration,
}

/// The connections, taken in turn.
pub(crate) struct Pool {
    pub(crate) connections: Vec<Connection>,
    /// For what a holder says alone. Claims that wait can take every stream of the others, and a
    /// lease that could not be extended for that reason would become somebody else's.
    pub(crate) holders: Connection,
    pub(crate) next: AtomicUsize,
}

/// What all calls share.
pub(crate) struct Settings {
    pub(crate) try_timeout: Duration,
    pub(crate) backoff: Backoff,
    pub(crate) owner: String,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("channels", &self.pool.connections.len())
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client with default settings of the server at `address`, for example
    /// `http://127.0.0.1:7420`. Connects when first used. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the address is no `http` URI; for TLS see
    /// [`Builder::connect_endpoint`].
    pub fn connect(address: impl Into<String>) -> Result<Self, Error> {
        Self::builder().connect(address)
    }

    /// Settings to change before connecting.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The same client with another deadline per call, all tries together.
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self {
            deadline,
            ..self.clone()
        }
    }

    /// Asks for the exclusive right to carry an operation out, or for the outcome that stands.
    ///
    /// Sending the same [`Claim`] again after an error is safe and finds what the first sending
    /// claimed. Do not send the same one from two tasks at once: they count as one caller.
    ///
    /// # Errors
    /// [`Error::FingerprintMismatch`], [`Error::EventTooOld`], [`Error::Superseded`], and those of
    /// every call.
    pub async fn claim(&self, claim: &Claim) -> Result<ClaimOutcome, Error> {
        self.claim_in(claim, &claim.trace()?).await
    }

    /// As [`Client::claim`], in a trace that was current before.
    pub(crate) async fn claim_in(
        &self,
        claim: &Claim,
        trace: &Origin,
    ) -> Result<ClaimOutcome, Error> {
        let mut plan = self.plan();
        // The answer may be held back for as long as was asked for; both limits come on top.
        plan.deadline = after(plan.deadline, claim.asked_wait());
        plan.try_timeout = plan.try_timeout.saturating_add(claim.asked_wait());
        if !claim.asked_wait().is_zero() {
            // Its own HTTP request is cancelled with it, so that a caller that left while it
            // waited claims nothing; and a session's place is not taken by somebody who waits.
            plan.way = Way::Alone;
        }
        let request = claim.to_wire(&self.settings.owner);
        let answered = self.send(&request, trace.of_claim(), plan).await?;
        self.claim_outcome(claim, trace, answered)
    }

    /// Records that the operation was carried out; `result` is replayed to every duplicate.
    ///
    /// # Errors
    /// [`Error::LeaseLost`], [`Error::ResultConflict`], [`Error::AlreadySettled`],
    /// [`Error::NotFound`], [`Error::InvalidArgument`] when the result is too large (the claim then
    /// stands), and those of every call.
    pub async fn complete(
        &self,
        held: &Held,
        result: impl Into<Bytes>,
    ) -> Result<Completion, Error> {
        self.complete_in(held, result.into(), held.trace.unless_current())
            .await
    }

    pub(crate) async fn complete_in(
        &self,
        held: &Held,
        result: Bytes,
        trace: Option<Trace>,
    ) -> Result<Completion, Error> {
        let request = wire::CompleteRequest {
            namespace: held.namespace.clone(),
            key: held.key.clone(),
            token: held.token.as_bytes().clone(),
            result,
        };
        let sent = self.send_held(&request, trace.as_ref(), self.plan());
        let answer = sent.await?.answer;
        Ok(Completion {
            repeat: answer.repeat,
            completed_at: time(answer.completed_at),
        })
    }

    /// Records that the attempt failed: for now, for good, or nobody knows.
    ///
    /// # Errors
    /// [`Error::LeaseLost`], [`Error::AlreadySettled`], [`Error::NotFound`],
    /// [`Error::InvalidArgument`], and those of every call.
    pub async fn fail(&self, held: &Held, failure: &Failure) -> Result<RecordedFailure, Error> {
        self.fail_in(held, failure, held.trace.unless_current())
            .await
    }

    pub(crate) async fn fail_in(
        &self,
        held: &Held,
        failure: &Failure,
        trace: Option<Trace>,
    ) -> Result<RecordedFailure, Error> {
        use wire::fail_response::Outcome;

        let request = failure.to_wire(held);
        let sent = self.send_held(&request, trace.as_ref(), self.plan());
        let answer = sent.await?.answer;
        let outcome = match answer.outcome {
            Some(Outcome::BackingOff(it)) => FailOutcome::BackingOff(it.into()),
            Some(Outcome::Failed(it)) => FailOutcome::Failed(it.into()),
            Some(Outcome::Dead(it)) => FailOutcome::Dead(it.into()),
            Some(Outcome::Uncertain(it)) => FailOutcome::Uncertain(it.into()),
            None => return Err(Error::malformed("Fail without an outcome")),
        };
        Ok(RecordedFailure {
            repeat: answer.repeat,
            outcome,
        })
    }

    /// Moves the end of the lease to `lease` from now, or to the namespace's default lease; also
    /// after a lapse, if nobody took over.
    ///
    /// # Errors
    /// [`Error::LeaseLost`], [`Error::HoldLimitReached`], [`Error::AlreadySettled`],
    /// [`Error::NotFound`], [`Error::InvalidArgument`], and those of every call.
    pub async fn extend(&self, held: &Held, lease: Option<Duration>) -> Result<Extended, Error> {
        let trace = held.trace.unless_current();
        self.extend_by(held, lease, trace.as_ref(), self.plan())
            .await
    }

    /// Saves at most 16 KiB of progress for the next attempt; the last one wins.
    ///
    /// # Errors
    /// [`Error::LeaseLost`], [`Error::AlreadySettled`], [`Error::NotFound`],
    /// [`Error::InvalidArgument`], and those of every call.
    pub async fn checkpoint(&self, held: &Held, bytes: impl Into<Bytes>) -> Result<(), Error> {
        let request = wire::CheckpointRequest {
            namespace: held.namespace.clone(),
            key: held.key.clone(),
            token: held.token.as_bytes().clone(),
            checkpoint: bytes.into(),
        };
        let trace = held.trace.unless_current();
        self.send_held(&request, trace.as_ref(), self.plan())
            .await?;
        Ok(())
    }

    /// Shows what stands under a key; `None` when it is unknown or past its retention.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], and those of every call.
    pub async fn lookup(&self, namespace: &str, key: &str) -> Result<Option<Record>, Error> {
        self.look_up(namespace, key, false).await
    }

    /// As [`Client::lookup`], with the kept delivery.
    ///
    /// # Errors
    /// As [`Client::lookup`].
    pub async fn lookup_with_delivery(
        &self,
        namespace: &str,
        key: &str,
    ) -> Result<Option<Record>, Error> {
        self.look_up(namespace, key, true).await
    }

    async fn look_up(
        &self,
        namespace: &str,
        key: &str,
        include_delivery: bool,
    ) -> Result<Option<Record>, Error> {
        let request = wire::LookupRequest {
            namespace: namespace.to_owned(),
            key: key.to_owned(),
            include_delivery,
        };
        let trace = Trace::current();
        match self.send(&request, trace.as_ref(), self.plan()).await {
            Ok(answered) => record(answered.answer).map(Some),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn extend_by(
        &self,
        held: &Held,
        lease: Option<Duration>,
        trace: Option<&Trace>,
        plan: Plan,
    ) -> Result<Extended, Error> {
        let request = wire::ExtendRequest {
            namespace: held.namespace.clone(),
            key: held.key.clone(),
            token: held.token.as_bytes().clone(),
            lease: lease.map(to_wire),
        };
        let Answered { answer, sent } = self.send_held(&request, trace, plan).await?;
        Ok(Extended {
            lease: Lease {
                sent,
                granted: duration(answer.lease),
            },
            hold: answer
                .hold
                .map_or(Duration::MAX, |hold| duration(Some(hold))),
        })
    }

    /// How a call that starts now is to go about it.
    pub(crate) fn plan(&self) -> Plan {
        Plan {
            deadline: after(Instant::now(), self.deadline),
            try_timeout: self.settings.try_timeout,
            backoff: self.settings.backoff,
            way: Way::Any,
        }
    }

    async fn send_held<R: Rpc>(
        &self,
        request: &R,
        trace: Option<&Trace>,
        plan: Plan,
    ) -> Result<Answered<R::Answer>, Error> {
        let turn = AtomicUsize::new(0);
        // Every second try goes over another connection, in case this one hangs.
        let next = || match turn.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => &self.pool.holders,
            _ => self.pool.next(),
        };
        send_until_answered(next, request, trace, plan).await
    }

    async fn send<R: Rpc>(
        &self,
        request: &R,
        trace: Option<&Trace>,
        plan: Plan,
    ) -> Result<Answered<R::Answer>, Error> {
        send_until_answered(|| self.pool.next(), request, trace, plan).await
    }

    fn claim_outcome(
        &self,
        claim: &Claim,
        trace: &Origin,
        answered: Answered<wire::ClaimResponse>,
    ) -> Result<ClaimOutcome, Error> {
        use wire::claim_response::Outcome;

        Ok(match answered.answer.outcome {
            Some(Outcome::Claimed(it)) => ClaimOutcome::Claimed(Claimed {
                held: Held {
                    namespace: claim.namespace().to_owned(),
                    key: claim.key().to_owned(),
                    token: Token::new(it.token),
                    trace: trace.clone(),
                },
                fence: Fence::new(it.fence),
                attempt: it.attempt,
                lease: Lease {
                    sent: answered.sent,
                    granted: duration(it.lease),
                },
                checkpoint: it.checkpoint,
                last_error: it.last_error,
                asked_lease: claim.asked_lease(),
                client: self.clone(),
            }),
            Some(Outcome::InProgress(it)) => ClaimOutcome::InProgress(it.into()),
            Some(Outcome::BackingOff(it)) => ClaimOutcome::BackingOff(it.into()),
            Some(Outcome::Completed(it)) => ClaimOutcome::Completed(it.into()),
            Some(Outcome::Failed(it)) => ClaimOutcome::Failed(it.into()),
            Some(Outcome::Dead(it)) => ClaimOutcome::Dead(it.into()),
            Some(Outcome::Uncertain(it)) => ClaimOutcome::Uncertain(it.into()),
            // Never taken for "claimed": an answer that cannot be read allows nothing.
            None => return Err(Error::malformed("Claim without an outcome")),
        })
    }
}

impl Pool {
    fn next(&self) -> &Connection {
        // Wraps around after usize::MAX calls, which costs one uneven turn.
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        &self.connections[turn % self.connections.len()]
    }
}

fn record(wire: wire::LookupResponse) -> Result<Record, Error> {
    use wire::lookup_response::Outcome;

    let state = match wire.outcome {
        Some(Outcome::InProgress(it)) => RecordState::InProgress(it.into()),
        Some(Outcome::BackingOff(it)) => RecordState::BackingOff(it.into()),
        Some(Outcome::Completed(it)) => RecordState::Completed(it.into()),
        Some(Outcome::Failed(it)) => RecordState::Failed(it.into()),
        Some(Outcome::Dead(it)) => RecordState::Dead(it.into()),
        Some(Outcome::Uncertain(it)) => RecordState::Uncertain(it.into()),
        None => return Err(Error::malformed("Lookup without an outcome")),
    };
    Ok(Record {
        state,
        owner: wire.owner,
        created_at: time(wire.created_at),
        claimed_at: time(wire.claimed_at),
        retention: wire.retention.map(|left| duration(Some(left))),
        checkpoint: wire.checkpoint,
        fingerprint: wire.fingerprint,
        delivery: wire.delivery.map(Delivery::from),
        traceparent: wire.traceparent,
        claim_id: wire.claim_id,
    })
}
