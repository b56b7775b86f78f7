//! The answers of one stream, on their way from the lanes to HTTP/2.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use semel_proto::v1::{
    self, SessionResponse, session_request::Command as Wire, session_response::Answer,
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{sleep, timeout},
};
use tokio_stream::Stream;
use tonic::{Code, Status};

use super::{
    OUTBOX_BYTES, WINDOW,
    account::{ANSWER, Account, Charge, MODEST},
    body::OnItsWay,
};
use crate::{
    key::{
        KeyId,
        transition::{ClaimReply, Outcome, Reply},
    },
    lanes::{Answers, LaneError, Ticket},
    rpc::{reply, status, told},
    telemetry::Telemetry,
};

/// Answers whose payload is up to this many bytes are never refused.
const SMALL_ANSWER: usize = 1024;
/// What a stream that holds next to nothing may have unanswered when the budget is used up.
const FEW: usize = 4;
/// How often a stream that has to wait for room looks whether others have made some.
const LOOK: Duration = Duration::from_millis(50);

/// Where the lanes put a stream's answers.
///
/// Never makes a lane wait. Each answer is charged to the stream's [`Account`] until it is written,
/// and there are three ways to keep these small, so that each command is told what became of it:
/// - A stream is not read on while its answers take too much, and while those of all do, but for a
///   [`FEW`] commands.
/// - A large answer to a command that changed nothing, which may be sent again, finds room in the
///   budget, or tells to ask again.
/// - The answer to a Fail is as large as its result. For that, room is found before it is carried
///   out.
///
/// What remains has no more than a checkpoint and an error text, and goes beyond the budget.
#[derive(Debug)]
pub(super) struct Outbox {
    queue: mpsc::UnboundedSender<Outgoing>,
    end: Arc<OnceLock<Status>>,
    account: Arc<Account>,
    telemetry: Arc<Telemetry>,
}

#[derive(Debug)]
struct Outgoing {
    number: u64,
    _window: OwnedSemaphorePermit,
    content: Content,
    charge: Charge,
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
        account: Arc<Account>,
        places: [Option<OwnedSemaphorePermit>; 2],
        telemetry: Arc<Telemetry>,
    ) -> (Arc<Self>, AnswerStream) {
        let (queue, queued) = mpsc::unbounded_channel();
        // What the stream ends with instead of OK.
        let end = Arc::new(OnceLock::new());
        let stream = AnswerStream {
            queued,
            on_its_way: OnItsWay::new(account.clone()),
            end: end.clone(),
            is_opened: false,
            is_ended: false,
            _places: places,
        };
        let outbox = Self {
            queue,
            end,
            account,
            telemetry,
        };
        (Arc::new(outbox), stream)
    }

    /// Waits until the stream may be read on. `under_way` says how many of its commands are.
    pub(super) async fn has_room(&self, under_way: impl Fn() -> usize) {
        loop {
            let given_back = self.account.given_back();
            let held = self.account.held();
            if held > OUTBOX_BYTES {
                given_back.await;
            } else if self.account.budget().left() > 0 || held <= MODEST && under_way() < FEW {
                return;
            } else {
                // What others give back wakes nobody: it would be all who wait, each time.
                let _ = timeout(LOOK, given_back).await;
            }
        }
    }

    /// Waits for room for the answer to this command, if that may be large and must not be refused.
    pub(super) async fn reserve(&self, command: Option<&Wire>) -> Option<Charge> {
        let payload = match command {
            Some(Wire::Fail(fail)) => fail.result.len() + fail.error.len(),
            _ => return None,
        };
        if payload <= SMALL_ANSWER {
            return None;
        }
        loop {
            let given_back = self.account.given_back();
            if let Some(room) = self.account.try_charge(ANSWER + payload) {
                return Some(room);
            }
            tokio::select! {
                () = given_back => {}
                () = sleep(LOOK) => {}
                // Carried out all the same; the answer goes nowhere.
                () = self.closed() => return None,
            }
        }
    }

    /// Ends once nobody reads the answers any more.
    pub(super) async fn closed(&self) {
        self.queue.closed().await;
    }

    /// Answers a command that no lane has seen.
    pub(super) fn answer(&self, ticket: Ticket, answer: Answer) {
        end(&ticket, Code::Ok);
        self.ready(ticket, answer);
    }

    fn ready(&self, ticket: Ticket, answer: Answer) {
        self.put(ticket, Content::Ready(answer), self.account.charge(ANSWER));
    }

    /// The same, with what a single call would have ended with.
    pub(super) fn refuse(&self, ticket: Ticket, status: &Status) {
        end(&ticket, status.code());
        self.ready(ticket, Answer::Error(status::in_session(status)));
    }

    /// What the stream is to end with, when all that was read is answered.
    pub(super) fn end_with(&self, status: Status) {
        // Only the reader says so, once.
        let _ = self.end.set(status);
    }

    /// As [`Answers::take`], with the kept delivery.
    pub(super) fn take_with_delivery(
        &self,
        ticket: Ticket,
        id: KeyId,
        answer: Result<Reply, LaneError>,
    ) {
        self.decided(ticket, id, answer, true, None);
    }

    fn decided(
        &self,
        ticket: Ticket,
        id: KeyId,
        mut answer: Result<Reply, LaneError>,
        include_delivery: bool,
        room: Option<Charge>,
    ) {
        if let Ok(Reply::Lookup { details, .. }) = &mut answer
            && !include_delivery
        {
            details.delivery = None;
        }
        let payload = answer.as_ref().map_or(0, Reply::payload_len);
        let bytes = ANSWER + payload;
        let may_be_refused = payload > SMALL_ANSWER && answer.as_ref().is_ok_and(changed_nothing);
        let charge = match room {
            Some(mut room) if room.bytes() >= bytes => {
                room.shrink_to(bytes);
                room
            }
            _ if !may_be_refused => self.account.charge(bytes),
            _ => self.account.try_charge(bytes).unwrap_or_else(|| {
                answer = Err(LaneError::QueueFull);
                self.account.charge(ANSWER)
            }),
        };
        told::tell(&self.telemetry, &id, &ticket.about, answer.as_ref());
        end(&ticket, told::code(answer.as_ref()));
        let content = Content::Decided {
            id,
            answer,
            include_delivery,
        };
        self.put(ticket, content, charge);
    }

    fn put(&self, ticket: Ticket, content: Content, mut charge: Charge) {
        charge.put();
        let Ticket {
            number,
            window,
            budget: decided,
            ..
        } = ticket;
        drop(decided);
        // The client may be gone.
        let _ = self.queue.send(Outgoing {
            number,
            _window: window,
            content,
            charge,
        });
    }
}

/// Ends the command's span.
fn end(ticket: &Ticket, code: Code) {
    if let Some(span) = &ticket.about.origin.span {
        span.end(code as i32);
    }
}

/// Whether the command is known to have changed nothing. A Claim may have made the key dead.
fn changed_nothing(reply: &Reply) -> bool {
    match reply {
        Reply::Claim(ClaimReply::Standing(outcome)) => !matches!(outcome, Outcome::Dead { .. }),
        Reply::Lookup { .. } => true,
        Reply::Complete { repeat, .. } | Reply::Fail { repeat, .. } => *repeat,
        Reply::Claim(ClaimReply::Claimed(_)) | Reply::Extend { .. } | Reply::Checkpoint => false,
    }
}

impl Answers for Outbox {
    fn take(&self, ticket: Ticket, id: KeyId, answer: Result<Reply, LaneError>) {
        self.decided(ticket, id, answer, false, None);
    }

    fn lost(&self, ticket: Ticket) {
        if self.queue.is_closed() {
            // It was dropped because nobody asks any more.
            end(&ticket, Code::Cancelled);
        }
        self.refuse(ticket, &status::lost());
    }

    fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}

/// An outbox for the one command that room was reserved for.
#[derive(Debug)]
pub(super) struct Reserved {
    outbox: Arc<Outbox>,
    room: Mutex<Option<Charge>>,
}

impl Reserved {
    pub(super) fn new(outbox: Arc<Outbox>, room: Charge) -> Self {
        Self {
            outbox,
            room: Mutex::new(Some(room)),
        }
    }
}

impl Answers for Reserved {
    fn take(&self, ticket: Ticket, id: KeyId, answer: Result<Reply, LaneError>) {
        let room = self
            .room
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.outbox.decided(ticket, id, answer, false, room);
    }

    fn lost(&self, ticket: Ticket) {
        self.outbox.lost(ticket);
    }

    fn is_closed(&self) -> bool {
        self.outbox.is_closed()
    }
}

/// The stream's answers as HTTP/2 takes them.
#[derive(Debug)]
pub struct AnswerStream {
    queued: mpsc::UnboundedReceiver<Outgoing>,
    on_its_way: OnItsWay,
    end: Arc<OnceLock<Status>>,
    is_opened: bool,
    is_ended: bool,
    _places: [Option<OwnedSemaphorePermit>; 2],
}

impl AnswerStream {
    /// What the messages take that were taken out.
    pub(super) fn on_its_way(&self) -> &OnItsWay {
        &self.on_its_way
    }
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
            return Poll::Ready(self.end.get().cloned().map(Err));
        };
        let Outgoing {
            number,
            content,
            charge,
            ..
        } = outgoing;
        self.on_its_way.add(charge);
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
