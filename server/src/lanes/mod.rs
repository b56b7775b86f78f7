//! Group commit: commands queue by key hash, one worker per lane carries them to the store.
//!
//! # Natural batching
//! A worker takes whatever queued while the last commit was under way; there is no timer, so an
//! idle server answers at once and a busy one commits hundreds of commands together. The same key
//! always goes to the same lane, so on one server it never races itself.
//!
//! # What happens to a command
//! - **Queue full**: a Claim or Lookup is refused with [`LaneError::QueueFull`] at once. A holder's
//!   command (Complete, Fail, Extend, Checkpoint) has a queue of its own, is served first, and waits
//!   for room until its deadline: shedding one would make a duplicate.
//! - **A stream of commands** waits for room in the queue instead, and is not read on meanwhile. A
//!   Claim with a large delivery is refused where too many bytes are under way, as a single one is.
//! - **Caller gone**: a Claim or Lookup whose caller left before its turn is dropped. A holder's
//!   command that was accepted is always carried out.
//! - **Store failed**: every command of that store call answers [`LaneError::StoreUnavailable`];
//!   nobody knows whether it was applied, and sending it again finds out. A batch that the store
//!   refused and rolled back is sent again one by one, so a poisonous command fails alone.
//! - **Lost swap**: another server changed the key in between. Loaded and decided again, up to
//!   [`group::MOST_TRIES`] times, then [`LaneError::Contention`].
//! - **Shutdown**: queues close, what they hold is carried out, then the workers end.

mod answer;
mod events;
mod group;
mod job;
mod queued;
mod round;
mod settings;
mod standing;
#[cfg(test)]
mod tests;
mod wait;
mod waiters;
mod worker;

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use answer::AnswerTo;
pub use answer::{Answers, Ticket};
pub use job::LaneError;
use job::{Job, QueuedJob};
use queued::Queued;
pub use settings::LaneSettings;
pub use wait::Wait;
use waiters::Waiters;
use worker::Worker;

use crate::{
    key::{
        KeyId,
        transition::{Command, Reply},
    },
    policies::Policies,
    store::SharedStore,
    telemetry::{Asked, Telemetry},
};

/// The way to the store for everything that concerns one key.
#[derive(Debug)]
pub struct Lanes {
    queues: Vec<Queues>,
    waiters: Arc<Waiters>,
    /// Bytes of large payloads that may be under way at once.
    payload_bytes: Arc<Semaphore>,
    payload_limit: usize,
    tasks: TaskTracker,
    closing: CancellationToken,
    broken: CancellationToken,
}

#[derive(Debug)]
struct Queues {
    holders: mpsc::Sender<QueuedJob>,
    callers: mpsc::Sender<QueuedJob>,
    /// Claims and Lookups of streams. These wait for room where those above are refused, so in one
    /// queue they would always be first to get it.
    streams: mpsc::Sender<QueuedJob>,
}

/// Where a Claim or Lookup waits for its turn, and whether it waits for room there.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// Among single calls; refused where there is no room.
    Caller,
    /// Among streams' commands; waits for room.
    Stream,
    /// Among streams' commands; refused where there is no room, since it can look later.
    StreamAgain,
}

impl Turn {
    /// How a Claim that waits for its key looks again.
    fn again(self) -> Self {
        match self {
            Self::Caller => Self::Caller,
            Self::Stream | Self::StreamAgain => Self::StreamAgain,
        }
    }
}

impl Lanes {
    /// Starts one worker for each lane of the store.
    pub fn start(
        store: &SharedStore,
        policies: &Arc<Policies>,
        settings: &LaneSettings,
        telemetry: &Arc<Telemetry>,
    ) -> Self {
        let waiters = Arc::new(Waiters::new(settings.waiters));
        let tasks = TaskTracker::new();
        let closing = CancellationToken::new();
        let broken = CancellationToken::new();
        let queues = (0..store.lanes())
            .map(|lane| {
                let (holders, holders_in) = mpsc::channel(settings.queue);
                let (callers, callers_in) = mpsc::channel(settings.queue);
                let (streams, streams_in) = mpsc::channel(settings.queue);
                let worker = Worker::new(
                    lane,
                    store.clone(),
                    policies.clone(),
                    waiters.clone(),
                    settings.batch,
                    telemetry.clone(),
                );
                // Set when the worker ends in any way but its own: a panic must not leave a lane
                // that takes commands and never answers them.
                let alarm = broken.clone().drop_guard();
                let closing = closing.clone();
                tasks.spawn(async move {
                    let queued = Queued {
                        holders: holders_in,
                        callers: callers_in,
                        streams: streams_in,
                    };
                    worker.run(queued, closing).await;
                    alarm.disarm();
                });
                Queues {
                    holders,
                    callers,
                    streams,
                }
            })
            .collect();
        tasks.close();
        Self {
            queues,
            waiters,
            payload_bytes: Arc::new(Semaphore::new(settings.payload_bytes)),
            payload_limit: settings.payload_bytes,
            tasks,
            closing,
            broken,
        }
    }

    /// Carries out one command.
    ///
    /// Dropping the future does not undo a command that was accepted.
    ///
    /// # Errors
    /// See the module's documentation; [`LaneError::Refused`] is the rules' own answer.
    pub async fn call(
        &self,
        asked: impl Into<Asked>,
        command: Command,
    ) -> Result<Reply, LaneError> {
        self.call_at(Turn::Caller, asked.into(), command).await
    }

    /// The same, but waits for room in the queue, whoever's command it is.
    ///
    /// # Errors
    /// As [`Lanes::call`].
    pub async fn call_in_turn(
        &self,
        asked: impl Into<Asked>,
        command: Command,
    ) -> Result<Reply, LaneError> {
        self.call_at(Turn::Stream, asked.into(), command).await
    }

    async fn call_at(
        &self,
        turn: Turn,
        asked: Asked,
        command: Command,
    ) -> Result<Reply, LaneError> {
        let (answer, answered) = oneshot::channel();
        let payload = self.reserve(&command).await?;
        let is_of_a_holder = command.is_of_a_holder();
        let queues = self.queues_of(&asked.id);
        let job = Job::new(asked, command, AnswerTo::Caller(answer), payload);
        let full_or_closed = |error| match error {
            mpsc::error::TrySendError::Full(_) => LaneError::QueueFull,
            mpsc::error::TrySendError::Closed(_) => LaneError::ShuttingDown,
        };
        match turn {
            _ if is_of_a_holder => send(&queues.holders, job).await?,
            Turn::Caller => queues.callers.try_send(job).map_err(full_or_closed)?,
            Turn::Stream => send(&queues.streams, job).await?,
            Turn::StreamAgain => queues.streams.try_send(job).map_err(full_or_closed)?,
        }
        Self::answer(answered).await
    }

    async fn answer(
        answered: oneshot::Receiver<Result<Reply, LaneError>>,
    ) -> Result<Reply, LaneError> {
        // The worker answers every job it took, so a missing answer is a worker that panicked.
        answered.await.unwrap_or_else(|_| {
            Err(LaneError::StoreUnavailable(
                "the lane ended before it answered".into(),
            ))
        })
    }

    /// Takes in one command of a stream, whose answer goes to `answers` with the `ticket`.
    ///
    /// Where the lane's queue is full this waits for room, Claim or not: it is the stream that is
    /// held back, and through it its sender. Of a worker that panicked no answer comes, and the
    /// ticket is taken back by [`Answers::lost`].
    pub async fn submit(
        &self,
        asked: impl Into<Asked>,
        command: Command,
        answers: &Arc<dyn Answers>,
        ticket: Ticket,
    ) {
        let asked = asked.into();
        let payload = match self.reserve(&command).await {
            Ok(payload) => payload,
            Err(error) => return answers.take(ticket, asked.id, Err(error)),
        };
        let queue = self.queue_of(&asked.id, &command);
        let answer = AnswerTo::stream(answers.clone(), ticket);
        let job = Job::new(asked, command, answer, payload);
        if let Err(mpsc::error::SendError(job)) = queue.send(job).await {
            job.answer(Err(LaneError::ShuttingDown));
        }
    }

    fn queue_of(&self, id: &KeyId, command: &Command) -> &mpsc::Sender<QueuedJob> {
        let queues = self.queues_of(id);
        if command.is_of_a_holder() {
            &queues.holders
        } else {
            &queues.streams
        }
    }

    fn queues_of(&self, id: &KeyId) -> &Queues {
        &self.queues[(id.hash() % self.queues.len() as u64) as usize]
    }

    /// Small payloads are bounded by the number of places in the queues; only large ones are
    /// counted in bytes.
    async fn reserve(&self, command: &Command) -> Result<job::Payload, LaneError> {
        let len = job::payload_len(command);
        if len <= job::SMALL_PAYLOAD {
            return Ok(None);
        }
        let permits = len.min(self.payload_limit) as u32;
        let bytes = self.payload_bytes.clone();
        if command.is_of_a_holder() {
            bytes
                .acquire_many_owned(permits)
                .await
                .map(Some)
                .map_err(|_| LaneError::ShuttingDown)
        } else {
            bytes
                .try_acquire_many_owned(permits)
                .map(Some)
                .map_err(|_| LaneError::QueueFull)
        }
    }

    /// How many Claims wait for their keys.
    pub fn waiting(&self) -> usize {
        self.waiters.count()
    }

    /// How many commands are queued, by lane.
    pub fn queued(&self) -> impl Iterator<Item = usize> {
        let len = |queue: &mpsc::Sender<QueuedJob>| queue.max_capacity() - queue.capacity();
        self.queues
            .iter()
            .map(move |it| len(&it.holders) + len(&it.callers) + len(&it.streams))
    }

    /// Ends when a worker has died of a bug; the server has to stop then.
    pub async fn broken(&self) {
        self.broken.cancelled().await;
    }

    /// Lets every waiting Claim answer with what stands.
    pub fn release_waiters(&self) {
        self.waiters.release_all();
    }

    /// Takes no more commands, carries out those that were accepted, and ends the workers.
    pub async fn close(&self) {
        self.release_waiters();
        self.closing.cancel();
        self.tasks.wait().await;
    }
}

/// Waits for room in a queue.
async fn send(queue: &mpsc::Sender<QueuedJob>, job: QueuedJob) -> Result<(), LaneError> {
    queue.send(job).await.map_err(|_| LaneError::ShuttingDown)
}
