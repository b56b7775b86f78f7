//! Where the answer of a command goes: to one caller, or back into a stream of commands.

use std::{fmt, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::LaneError;
use crate::key::{KeyId, transition::Reply};

/// Takes the answers of a stream of commands, in the order in which they are decided.
///
/// Called by the lanes' workers, so it must be quick and may not wait.
pub trait Answers: fmt::Debug + Send + Sync {
    /// Takes one answer.
    fn take(&self, ticket: Ticket, id: KeyId, answer: Result<Reply, LaneError>);

    /// Whether nobody reads the answers any more.
    fn is_closed(&self) -> bool;
}

/// A command's place in its stream.
#[derive(Debug)]
pub struct Ticket {
    /// What the sender calls the command.
    pub number: u64,
    /// What the command has taken of its stream's and of the server's budget. Given back when the
    /// ticket is dropped: when the answer is on its way, or with the stream.
    pub places: [OwnedSemaphorePermit; 2],
}

/// Where one command's answer goes.
#[derive(Debug)]
pub(super) enum AnswerTo {
    Caller(oneshot::Sender<Result<Reply, LaneError>>),
    Stream(Arc<dyn Answers>, Ticket),
}

impl AnswerTo {
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Caller(caller) => caller.is_closed(),
            Self::Stream(stream, _) => stream.is_closed(),
        }
    }

    /// Answers. Whoever asked may be gone; what was decided stands all the same.
    pub fn send(self, id: KeyId, answer: Result<Reply, LaneError>) {
        match self {
            Self::Caller(caller) => drop(caller.send(answer)),
            Self::Stream(stream, ticket) => stream.take(ticket, id, answer),
        }
    }
}
