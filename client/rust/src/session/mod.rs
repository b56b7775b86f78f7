//! A session: one stream that carries many calls, as long as it can be had.
//!
//! A session is a transport for *one try* of a call. Whether there is another try is decided where
//! it is decided for calls that go alone as well ([`crate::retry`]): this module knows no deadline and
//! sends nothing twice.
//!
//! # Who does what
//! - [`Session`] is the handle of the callers: [`Session::ask`] queues a command and waits.
//! - [`task`] owns the queue and the stream of one connection: it opens the stream when the first
//!   command comes, and again with the next command after it ended.
//! - [`open`] shakes hands, in both directions, and judges why a stream did not open.
//! - [`stream`] runs an open stream: numbers commands, hands answers over.
//!
//! # What is bounded, and by what
//! Unanswered commands by the window that the server names; queued ones by [`QUEUE`], beyond which
//! callers wait, in vain at worst until their try's limit; the time to open by
//! [`Limits::open`]; the silence of a stream that owes answers by [`Limits::silence`].
//!
//! # How it fails
//! A stream that ends, whoever ends it, fails the commands on it with UNAVAILABLE and a source: for
//! the callers that is a lost answer, and they send the same bytes again. What was answered before
//! the end is told first. A stream that cannot be had (an older server, a proxy), or that is given
//! up and has never answered a command, makes calls go alone for a while.

mod command;
mod ended;
mod open;
mod pending;
mod stream;
mod task;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic::client::Grpc;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;

use self::command::{Command, Unanswered};
use self::ended::{Fate, ended};
use self::task::Task;
use crate::rpc::Rpc;

pub(crate) use self::command::{Encoded, Reply, ReplyTo};
pub(crate) use self::ended::was_lost;

#[cfg(test)]
pub(crate) fn ended_by(cause: Status) -> Status {
    ended(Fate::Lost, "it broke", Some(cause))
}

/// Commands that wait for their turn. More than that, and callers wait to get in.
const QUEUE: usize = 1_024;

/// The largest command that goes onto a session. A larger one would hold up the others behind it,
/// gains nothing from sharing a stream, and may be larger than the server reads, which ends a
/// stream and not only the call.
const LARGEST_COMMAND_BYTES: usize = 64 * 1024;

/// How long a call waits for a stream that is not open yet before it goes alone, in this try.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long after connecting a stream may take to open.
const HANDSHAKE: Duration = Duration::from_secs(2);

/// What calls do while there is no session to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WithoutSession {
    /// They go alone.
    GoAlone,
    /// They fail.
    Fail,
}

/// How long what may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Opening a stream, connecting included.
    open: Duration,
    /// A stream that owes answers and says nothing for two to three times this long is given up.
    silence: Duration,
    /// How long calls go alone after streams were clearly refused.
    refused: Duration,
    /// How long they do after something that may pass by itself.
    doubtful: Duration,
}

impl Limits {
    pub(crate) fn new(connect_timeout: Duration, try_timeout: Duration) -> Self {
        // Neither a timer that fires all the time nor one beyond the clock.
        const SHORTEST: Duration = Duration::from_millis(1);
        const LONGEST: Duration = Duration::from_secs(86_400);
        Self {
            open: connect_timeout.saturating_add(HANDSHAKE).min(LONGEST),
            silence: try_timeout.clamp(SHORTEST, LONGEST),
            refused: Duration::from_secs(60),
            doubtful: Duration::from_secs(10),
        }
    }
}

/// The session of one connection. When it is dropped, the stream ends.
pub(crate) struct Session {
    queue: mpsc::Sender<Command>,
    state: Arc<State>,
    without: WithoutSession,
}

/// What callers and the task know of each other without asking.
struct State {
    phase: AtomicU8,
    /// Woken for a new attempt after calls went alone for long enough.
    again: Notify,
}

/// Where the stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// It is to be opened, or is being opened, for the commands in the queue.
    Closed,
    /// It carries commands.
    Open,
    /// It could not be had: calls go alone.
    Resting,
    /// The same, and long enough ago that the next call starts another attempt behind its back.
    Rested,
}

impl State {
    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            phase if phase == Phase::Closed as u8 => Phase::Closed,
            phase if phase == Phase::Open as u8 => Phase::Open,
            phase if phase == Phase::Rested as u8 => Phase::Rested,
            _ => Phase::Resting,
        }
    }

    fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Asks for another attempt, once.
    fn nudge(&self) {
        let (rested, resting) = (Phase::Rested as u8, Phase::Resting as u8);
        let first =
            self.phase
                .compare_exchange(rested, resting, Ordering::Relaxed, Ordering::Relaxed);
        if first.is_ok() {
            self.again.notify_one();
        }
    }
}

impl Session {
    /// A session over `channel`. Nothing is connected or opened before the first command. Must be
    /// called inside a Tokio runtime.
    pub(crate) fn new(
        channel: Channel,
        authorization: Option<AsciiMetadataValue>,
        max_decoding_bytes: usize,
        limits: Limits,
        without: WithoutSession,
    ) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE);
        let state = Arc::new(State {
            phase: AtomicU8::new(Phase::Closed as u8),
            again: Notify::new(),
        });
        let task = Task {
            grpc: Grpc::new(channel).max_decoding_message_size(max_decoding_bytes),
            authorization,
            queued,
            state: state.clone(),
            limits,
            without,
        };
        tokio::spawn(task.run());
        Self {
            queue,
            state,
            without,
        }
    }

    /// Sends `request` as a command and waits for its answer; `None`: it is to go alone. The
    /// caller gives up `until` then, by dropping this.
    pub(crate) async fn ask<R: Rpc>(
        &self,
        request: &R,
        traceparent: &str,
        until: Instant,
    ) -> Option<Result<R::Answer, Status>> {
        let phase = self.state.phase();
        match phase {
            Phase::Closed | Phase::Open => {}
            Phase::Resting => return None,
            Phase::Rested => {
                self.state.nudge();
                return None;
            }
        }
        let encoded = request.command();
        if encoded.len() > LARGEST_COMMAND_BYTES {
            return None;
        }
        let mut asked = pin!(self.queue_and_wait::<R>(encoded, traceparent));
        if let (Phase::Closed, WithoutSession::GoAlone) = (phase, self.without) {
            let now = Instant::now();
            let patience = PATIENCE.min(until.saturating_duration_since(now) / 2);
            match timeout_at(now + patience, asked.as_mut()).await {
                Ok(answered) => return answered,
                // It is on its way by now.
                Err(_) if self.state.phase() == Phase::Open => {}
                // One that is sent all the same, a moment later, is a call that was sent twice.
                Err(_) => return None,
            }
        }
        asked.await
    }

    async fn queue_and_wait<R: Rpc>(
        &self,
        encoded: Encoded,
        traceparent: &str,
    ) -> Option<Result<R::Answer, Status>> {
        let (to, answer) = oneshot::channel();
        let command = Command {
            traceparent: traceparent.to_owned(),
            encoded,
            reply: R::reply(to),
        };
        if self.queue.send(command).await.is_err() {
            let how = "its task is gone, as a runtime that shuts down drops it";
            return Some(Err(ended(Fate::NotSent, how, None)));
        }
        match answer.await {
            Ok(Ok(answer)) => Some(Ok(answer)),
            Ok(Err(Unanswered::Failed(status))) => Some(Err(status)),
            Ok(Err(Unanswered::GoAlone)) => None,
            // Its task is gone, or its answer was no answer to it.
            Err(_) => Some(Err(ended(Fate::Lost, "the answer was dropped", None))),
        }
    }
}
