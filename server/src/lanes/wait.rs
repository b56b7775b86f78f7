//! A Claim that holds its answer back while the key is in progress.

use std::{future::pending, pin::pin, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{LaneError, Lanes, Turn};
use crate::{
    key::transition::{Claim, ClaimReply, Command, Outcome, Reply},
    telemetry::Asked,
};

/// The first look after a settlement that may have come in through another server, and the longest
/// time between two looks.
const POLL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));

/// How long a Claim may wait.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    /// When it answers with what stands.
    pub until: Instant,
}

impl Lanes {
    /// Claims, and holds the answer back until `wait` ends while the key is in progress.
    ///
    /// A settlement through this server wakes it at once; one through another server is seen at
    /// the next look, 20 ms after the first and up to 200 ms apart later. Every look is the same
    /// Claim again, with its attempt id: when the key was released, exactly one of the waiting
    /// claims gets it. Where all places to wait are taken, it does not wait; where the queue is full
    /// when it looks again, it looks later.
    ///
    /// # Errors
    /// As [`Lanes::call`]; a wait that ends early is no error.
    pub async fn claim(
        &self,
        asked: impl Into<Asked>,
        claim: Claim,
        wait: Option<Wait>,
    ) -> Result<ClaimReply, LaneError> {
        let asked = asked.into();
        let Some(wait) = wait else {
            return self.look(asked, claim, Turn::Caller).await;
        };
        self.hold_back(asked, claim, wait, Turn::Caller, pending())
            .await?
            .ok_or(LaneError::QueueFull)
    }

    /// The same for a Claim of a stream, until `cancelled`: then it has not claimed, and the answer
    /// is `None`.
    ///
    /// A look that is under way by then is not given up, because it may come to a claim. Where the
    /// queue is full at the first look, it waits for its turn like every command of a stream.
    ///
    /// # Errors
    /// As [`Lanes::claim`].
    pub async fn claim_unless(
        &self,
        cancelled: impl Future<Output = ()>,
        asked: impl Into<Asked>,
        claim: Claim,
        wait: Wait,
    ) -> Result<Option<ClaimReply>, LaneError> {
        self.hold_back(asked.into(), claim, wait, Turn::Stream, cancelled)
            .await
    }

    async fn hold_back(
        &self,
        asked: Asked,
        claim: Claim,
        wait: Wait,
        first: Turn,
        cancelled: impl Future<Output = ()>,
    ) -> Result<Option<ClaimReply>, LaneError> {
        let Some(place) = self.waiters.register(&asked.id) else {
            return self.look(asked, claim, first).await.map(Some);
        };

        let mut cancelled = pin!(cancelled);
        let mut turn = first;
        let mut pause = POLL.0;
        let mut last = None;
        loop {
            // Registered before looking, so a settlement in between is not missed.
            let settled = place.settled.notified();
            let standing = match self.look(asked.clone(), claim.clone(), turn).await {
                // Too many look at once: what stood at the last look is still an answer.
                Err(LaneError::QueueFull) if last.is_some() => last.take(),
                Err(error) => return Err(error),
                Ok(reply) => Some(reply),
            };
            let Some(ClaimReply::Standing(Outcome::InProgress { lease, .. })) = &standing else {
                return standing.ok_or(LaneError::QueueFull).map(Some);
            };
            let now = Instant::now();
            // Look at the end of the lease too: nobody tells of a lapse.
            let look = now + pause.min(Duration::from(*lease).max(POLL.0));
            last = standing;
            turn = first.again();
            tokio::select! {
                biased;
                // Before all else: who cancelled was promised that nothing is claimed from here on.
                () = &mut cancelled => return Ok(None),
                () = self.waiters.released() => break,
                () = settled => {}
                () = sleep_until(look.min(wait.until)) => {}
            }
            if Instant::now() >= wait.until {
                break;
            }
            pause = (pause * 3 / 2).min(POLL.1);
        }
        last.ok_or(LaneError::QueueFull).map(Some)
    }

    async fn look(&self, asked: Asked, claim: Claim, turn: Turn) -> Result<ClaimReply, LaneError> {
        match self.call_at(turn, asked, Command::Claim(claim)).await? {
            Reply::Claim(reply) => Ok(reply),
            other => unreachable!("a Claim was answered with {other:?}"),
        }
    }
}
