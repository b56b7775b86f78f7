//! Where the answer of a command goes: to one caller, or back into a stream of commands.

use std::{fmt, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::LaneError;
use crate::{
    key::{KeyId, transition::Reply},
    telemetry::About,
};

/// Takes the answers of a stream of commands, in the order in which they are decided.
///
/// Called by the lanes' workers, so it must be quick and may not wait.
pub trait Answers: fmt::Debug + Send + Sync {
    /// Takes one answer.
    fn take(&self, ticket: Ticket, id: KeyId, answer: Result<Reply, LaneError>);

    /// Takes back the ticket of a command that ended without an answer, of a bug of ours: it may have
    /// been applied.
    fn lost(&self, ticket: Ticket);

    /// Whether nobody reads the answers any more.
    fn is_closed(&self) -> bool;
}

/// A command's place in its stream.
#[derive(Debug)]
pub struct Ticket {
    /// What the sender calls the command.
    pub number: u64,
    /// Its place of its stream's window: until its answer is on its way, or with the stream.
    pub window: OwnedSemaphorePermit,
    /// Its place of the server's budget: until it is decided. Not for longer, or streams that
    /// nobody reads would have all of it.
    pub budget: OwnedSemaphorePermit,
    /// What is told of it.
    pub about: About,
}

/// Where one command's answer goes.
#[derive(Debug)]
pub(super) enum AnswerTo {
    Caller(oneshot::Sender<Result<Reply, LaneError>>),
    Stream(Place),
}

/// A command's place in its stream, until it is answered.
#[derive(Debug)]
pub(super) struct Place {
    stream: Arc<dyn Answers>,
    ticket: Option<Ticket>,
}

impl AnswerTo {
    pub fn stream(stream: Arc<dyn Answers>, ticket: Ticket) -> Self {
        Self::Stream(Place {
            stream,
            ticket: Some(ticket),
        })
    }

    pub fn is_closed(&self) -> bool {
        match self {
            Self::Caller(caller) => caller.is_closed(),
            Self::Stream(place) => place.stream.is_closed(),
        }
    }

    /// Answers. Whoever asked may be gone; what was decided stands all the same.
    pub fn send(self, id: KeyId, answer: Result<Reply, LaneError>) {
        match self {
            Self::Caller(caller) => drop(caller.send(answer)),
            Self::Stream(mut place) => {
                if let Some(ticket) = place.ticket.take() {
                    place.stream.take(ticket, id, answer);
                }
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.stream.lost(ticket);
        }
    }
}
