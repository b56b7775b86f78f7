//! The answers of one stream, on their way from the lanes to HTTP/2.

use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use semel_proto::v1::{self, SessionResponse, session_response::Answer};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::Stream;
use tonic::Status;

use super::{OUTBOX_BYTES, WINDOW};
use crate::{
    key::{KeyId, transition::Reply},
    lanes::{Answers, LaneError, Ticket},
    rpc::{reply, status},
};

/// Answers up to this many bytes are bounded by the number of commands alone.
const SMALL_ANSWER: usize = 1024;
/// A stream may have this part of the large answers' budget: an eighth of it, and then of what is
/// left. Some 50 streams that nobody reads leave no room for an answer of a megabyte.
const SHARE: usize = 8;

/// Where the lanes put a stream's answers.
///
/// Never makes a lane wait. What keeps it small is that the stream is not read on while too much
/// waits here; what is under way by then may still bring large answers, and for these there is a
/// budget over all streams: a Claim or Lookup whose large answer finds no room is told to ask again.
/// Of what is left of the budget a stream may have a part, [`SHARE`], so that a few that nobody
/// reads do not have all of it.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: mpsc::UnboundedSender<Outgoing>,
    shared: Arc<Shared>,
    answer_bytes: Arc<Semaphore>,
}

/// What both ends know.
#[derive(Debug, Default)]
struct Shared {
    /// Bytes of answers that wait.
    waiting: AtomicUsize,
    /// Told when answers were taken out.
    taken: Notify,
    /// What the stream ends with instead of OK.
    end: OnceLock<Status>,
}

#[derive(Debug)]
struct Outgoing {
    number: u64,
    _window: OwnedSemaphorePermit,
    content: Content,
    bytes: usize,
    _budget: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Content {
    /// Of the rules; made a message where it is taken out, so that lanes need not do it.
    Decided {
        id: KeyId,
        answer: Result<Reply, LaneError>,
        include_delivery: bool,
    },
    Ready(Answer),
}

impl Outbox {
    /// A stream with a place among all of them, and of its connection if that is known.
    pub(super) fn open(
        places: [Option<OwnedSemaphorePermit>; 2],
        answer_bytes: Arc<Semaphore>,
    ) -> (Arc<Self>, AnswerStream) {
        let (queue, queued) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::default());
        let stream = AnswerStream {
            queued,
            shared: shared.clone(),
            is_opened: false,
            is_ended: false,
            _places: places,
        };
        let outbox = Self {
            queue,
            shared,
            answer_bytes,
        };
        (Arc::new(outbox), stream)
    }

    /// Waits until few enough bytes of answers wait.
    pub(super) async fn has_room(&self) {
        while self.shared.waiting.load(Ordering::Acquire) > OUTBOX_BYTES {
            self.shared.taken.notified().await;
        }
    }

    /// Ends once nobody reads the answers any more.
    pub(super) async fn closed(&self) {
        self.queue.closed().await;
    }

    /// Answers a command that no lane has seen.
    pub(super) fn answer(&self, ticket: Ticket, answer: Answer) {
        self.put(ticket, Content::Ready(answer), 0, None);
    }

    /// The same, with what a single call would have ended with.
    pub(super) fn refuse(&self, ticket: Ticket, status: &Status) {
        self.answer(ticket, Answer::Error(status::in_session(status)));
    }

    /// What the stream is to end with, when all that was read is answered.
    pub(super) fn end_with(&self, status: Status) {
        // Only the reader says so, once.
        let _ = self.shared.end.set(status);
    }

    /// As [`Answers::take`], with the kept delivery.
    pub(super) fn take_with_delivery(
        &self,
        ticket: Ticket,
        id: KeyId,
        answer: Result<Reply, LaneError>,
    ) {
        self.decided(ticket, id, answer, true);
    }

    fn decided(
        &self,
        ticket: Ticket,
        id: KeyId,
        mut answer: Result<Reply, LaneError>,
        include_delivery: bool,
    ) {
        let mut bytes = answer.as_ref().map_or(0, Reply::payload_len);
        let mut budget = None;
        // A settlement stands, and its answer is as large as what came with it.
        let may_be_refused = matches!(answer, Ok(Reply::Claim(_) | Reply::Lookup { .. }));
        if bytes > SMALL_ANSWER && may_be_refused {
            budget = self.room_for(bytes);
            if budget.is_none() {
                answer = Err(LaneError::QueueFull);
                bytes = 0;
            }
        }
        let content = Content::Decided {
            id,
            answer,
            include_delivery,
        };
        self.put(ticket, content, bytes, budget);
    }

    fn room_for(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let waiting = self.shared.waiting.load(Ordering::Acquire);
        // One whose answers are all taken out gets the next one in any case.
        if waiting > 0 && waiting + bytes > self.answer_bytes.available_permits() / SHARE {
            return None;
        }
        let permits = u32::try_from(bytes).ok()?;
        let budget = self.answer_bytes.clone();
        budget.try_acquire_many_owned(permits).ok()
    }

    fn put(
        &self,
        ticket: Ticket,
        content: Content,
        bytes: usize,
        budget: Option<OwnedSemaphorePermit>,
    ) {
        self.shared.waiting.fetch_add(bytes, Ordering::AcqRel);
        let Ticket {
            number,
            window,
            budget: decided,
        } = ticket;
        drop(decided);
        // The client may be gone.
        let _ = self.queue.send(Outgoing {
            number,
            _window: window,
            content,
            bytes,
            _budget: budget,
        });
    }
}

impl Answers for Outbox {
    fn take(&self, ticket: Ticket, id: KeyId, answer: Result<Reply, LaneError>) {
        self.decided(ticket, id, answer, false);
    }

    fn lost(&self, ticket: Ticket) {
        self.refuse(ticket, &status::lost());
    }

    fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}

/// The stream's answers as HTTP/2 takes them.
#[derive(Debug)]
pub struct AnswerStream {
    queued: mpsc::UnboundedReceiver<Outgoing>,
    shared: Arc<Shared>,
    is_opened: bool,
    is_ended: bool,
    _places: [Option<OwnedSemaphorePermit>; 2],
}

impl Stream for AnswerStream {
    type Item = Result<SessionResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.is_opened {
            self.is_opened = true;
            let opened = Answer::Opened(v1::SessionOpened { window: WINDOW });
            return Poll::Ready(Some(Ok(SessionResponse {
                id: 0,
                answer: Some(opened),
            })));
        }
        if self.is_ended {
            return Poll::Ready(None);
        }
        let Some(outgoing) = ready!(self.queued.poll_recv(context)) else {
            self.is_ended = true;
            return Poll::Ready(self.shared.end.get().cloned().map(Err));
        };
        let Outgoing {
            number,
            content,
            bytes,
            ..
        } = outgoing;
        if bytes > 0 {
            self.shared.waiting.fetch_sub(bytes, Ordering::AcqRel);
            self.shared.taken.notify_one();
        }
        let answer = match content {
            Content::Ready(answer) => answer,
            Content::Decided {
                id,
                answer,
                include_delivery,
            } => answer
                .map_err(|error| status::of_lane(&id, &error))
                .and_then(|reply| reply::session(&id, reply, include_delivery))
                .unwrap_or_else(|status| Answer::Error(status::in_session(&status))),
        };
        Poll::Ready(Some(Ok(SessionResponse {
            id: number,
            answer: Some(answer),
        })))
    }
}
