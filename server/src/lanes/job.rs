//! One command on its way through a lane.

use std::{sync::Arc, time::Instant};

use opentelemetry::trace::TraceId;
use tokio::sync::OwnedSemaphorePermit;

use super::answer::AnswerTo;

use crate::{
    key::{
        KeyId,
        transition::{Command, Failure, Refusal, Reply},
    },
    telemetry::{Asked, CallSpan},
};

/// Payloads up to this many bytes are not counted one by one.
pub(super) const SMALL_PAYLOAD: usize = 4 * 1024;

/// A large payload's share of the bytes under way; given back when the job ends.
pub(super) type Payload = Option<OwnedSemaphorePermit>;

/// Why a command was not answered by the rules, or was refused by them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// The rules refused it; nothing changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Too much is queued already; nothing changed.
    #[error("too many commands are queued")]
    QueueFull,
    /// The server is stopping; nothing changed.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The store failed; the command may have been applied.
    #[error("the store is unavailable: {0}")]
    StoreUnavailable(Arc<str>),
    /// The store refused this one command; nothing changed. A bug of ours.
    #[error("the store refused the command: {0}")]
    StoreRejected(Arc<str>),
    /// Others changed the key again and again; nothing changed.
    #[error("the key is changed too often by others")]
    Contention,
}

/// A job as it goes from queue to queue.
pub(super) type QueuedJob = Box<Job>;

#[derive(Debug)]
pub(super) struct Job {
    pub id: KeyId,
    pub command: Command,
    /// How often it was decided in vain.
    pub tries: u32,
    /// When it was put into its lane's queue.
    pub queued_at: Instant,
    /// Whether a batch has begun with it.
    pub is_begun: bool,
    /// Of whoever asks, if the call is sampled.
    pub span: Option<Arc<CallSpan>>,
    /// The trace that it belongs to, sampled or not.
    pub trace_id: Option<TraceId>,
    answer: AnswerTo,
    _payload: Payload,
}

impl Job {
    pub fn new(asked: Asked, command: Command, answer: AnswerTo, payload: Payload) -> QueuedJob {
        let Asked { id, span, trace_id } = asked;
        Box::new(Self {
            id,
            command,
            tries: 0,
            queued_at: Instant::now(),
            is_begun: false,
            span,
            trace_id,
            answer,
            _payload: payload,
        })
    }

    /// Whether it may be dropped: nobody waits for it, and it is not a holder's.
    pub fn is_abandoned(&self) -> bool {
        self.answer.is_closed() && !self.command.is_of_a_holder()
    }

    /// The trace of whoever asks, if the call is sampled.
    pub fn trace(&self) -> Option<TraceId> {
        self.span.as_ref().map(|span| span.trace_id())
    }

    pub fn answer(self, answer: Result<Reply, LaneError>) {
        self.answer.send(self.id, answer);
    }
}

/// Bytes of the parts of a command that can be large.
pub(super) fn payload_len(command: &Command) -> usize {
    match command {
        Command::Claim(claim) => claim.delivery.as_ref().map_or(0, bytes::Bytes::len),
        Command::Complete(complete) => complete.result.len(),
        Command::Fail(fail) => match &fail.failure {
            Failure::Terminal { result } => result.len(),
            Failure::Retryable { .. } | Failure::Unknown => 0,
        },
        Command::Checkpoint { checkpoint, .. } => checkpoint.len(),
        Command::Extend(_) | Command::Lookup => 0,
    }
}
