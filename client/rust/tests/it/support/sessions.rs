//! The fake server's sessions: the calls of the other service, and ways for streams not to be had.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use prost::Message as _;
use semel_proto::v1::idempotency_service_server::{IdempotencyService, IdempotencyServiceServer};
use semel_proto::v1::session_request::Command;
use semel_proto::v1::session_response::Answer;
use semel_proto::v1::session_service_server::{SessionService, SessionServiceServer};
use semel_proto::v1::{self as wire, SessionRequest, SessionResponse};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use super::fake::Service;
use super::soon;

/// What becomes of attempts to open a stream.
#[derive(Clone)]
pub enum Sessions {
    /// They open, for so many unanswered commands.
    Served { window: u32 },
    /// The server is of a version without them.
    Unknown,
    /// They end with this.
    Refused(Status),
    /// A proxy answers instead.
    Http(StatusCode),
    /// Nothing comes back.
    Silent,
    /// The headers of the answer come back and nothing else.
    Mute,
    /// They open, and nothing that the client says arrives, as behind a proxy that waits for the
    /// end of a request before it passes it on.
    Deaf,
    /// They end well without a message.
    Empty,
    /// They begin with this.
    BeginWith(Box<SessionResponse>),
    /// They end with that as often, and are served from then on.
    AtFirst(Vec<Status>),
}

/// How the next answer on any session is spoilt.
#[derive(Debug, Clone, Copy)]
pub enum Garbled {
    Kind,
    UnknownId,
    IdZero,
    Nothing,
    OpenedAgain,
    Cancelled,
}

/// What happened on sessions.
#[derive(Clone, Default)]
pub struct SessionLog {
    attempts: watch::Sender<usize>,
    ended: watch::Sender<Vec<Ending>>,
    most_unanswered: watch::Sender<usize>,
    garble: Arc<Mutex<VecDeque<Garbled>>>,
}

/// How a client left a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It ended its side.
    HalfClosed,
    /// It reset the stream, or the connection broke.
    Broken,
}

/// Where a command came from.
#[derive(Clone)]
pub struct OnSession {
    pub number: usize,
    pub end: Arc<Notify>,
}

impl SessionLog {
    /// Attempts to open a stream so far.
    pub fn attempts(&self) -> usize {
        *self.attempts.borrow()
    }

    /// The most commands that were unanswered at once on one stream.
    pub fn most_unanswered(&self) -> usize {
        *self.most_unanswered.borrow()
    }

    /// The next answer comes out wrong.
    pub fn garble(&self, how: Garbled) {
        self.garble.lock().unwrap().push_back(how);
    }

    /// Waits until `n` streams were left by their clients.
    pub async fn have_ended(&self, n: usize) -> Vec<Ending> {
        let mut ended = self.ended.subscribe();
        let all = soon(ended.wait_for(|all| all.len() >= n)).await;
        all.unwrap().clone()
    }
}

impl Sessions {
    pub fn beside(self, service: Service, log: SessionLog) -> Routes {
        let calls = IdempotencyServiceServer::new(service.clone());
        let routes = Routes::new(calls);
        match self {
            Self::Unknown => routes,
            Self::Http(status) => {
                let answer = move || {
                    log.attempts.send_modify(|n| *n += 1);
                    std::future::ready(status)
                };
                let path = "/semel.v1.SessionService/Session";
                let router = routes.into_axum_router();
                router.route(path, axum::routing::post(answer)).into()
            }
            sessions => routes.add_service(SessionServiceServer::new(Server {
                service,
                log,
                sessions,
            })),
        }
    }
}

struct Server {
    service: Service,
    log: SessionLog,
    sessions: Sessions,
}

type Answers = Pin<Box<dyn Stream<Item = Result<SessionResponse, Status>> + Send>>;

#[tonic::async_trait]
impl SessionService for Server {
    type SessionStream = Answers;

    async fn session(
        &self,
        request: Request<Streaming<SessionRequest>>,
    ) -> Result<Response<Answers>, Status> {
        self.log.attempts.send_modify(|n| *n += 1);
        let number = self.log.attempts();
        let window = match self.sessions.clone() {
            Sessions::Served { window } => window,
            Sessions::AtFirst(refusals) => match refusals.get(number - 1) {
                Some(status) => return Err(status.clone()),
                None => 256,
            },
            Sessions::Refused(status) => return Err(status),
            Sessions::Silent => std::future::pending().await,
            Sessions::Mute => return Ok(Response::new(Box::pin(tokio_stream::pending()))),
            Sessions::Deaf => {
                let opened = tokio_stream::once(Ok(opened(256)));
                return Ok(Response::new(Box::pin(
                    opened.chain(tokio_stream::pending()),
                )));
            }
            Sessions::Empty => return Ok(Response::new(Box::pin(tokio_stream::empty()))),
            Sessions::BeginWith(message) => {
                return Ok(Response::new(Box::pin(tokio_stream::once(Ok(*message)))));
            }
            Sessions::Unknown | Sessions::Http(_) => unreachable!("not routed here"),
        };
        let (metadata, _, commands) = request.into_parts();
        let (answers, taken) = mpsc::unbounded_channel();
        let on = OnSession {
            number,
            end: Arc::default(),
        };
        let serving = Serving {
            service: self.service.clone(),
            log: self.log.clone(),
            metadata,
            on,
            answers,
        };
        tokio::spawn(serving.run(commands, window));
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(taken))))
    }
}

/// One stream.
struct Serving {
    service: Service,
    log: SessionLog,
    metadata: MetadataMap,
    on: OnSession,
    answers: mpsc::UnboundedSender<Result<SessionResponse, Status>>,
}

impl Serving {
    async fn run(self, mut commands: Streaming<SessionRequest>, window: u32) {
        let _ = self.answers.send(Ok(opened(window)));
        let mut under_way = JoinSet::new();
        loop {
            tokio::select! {
                _ = self.on.end.notified() => return,
                command = commands.message() => match command {
                    Ok(Some(command)) => {
                        let (service, call) = (self.service.clone(), self.call(&command));
                        under_way.spawn(async move {
                            (command.id, answer(&service, command, call).await)
                        });
                        let unanswered = under_way.len();
                        self.log.most_unanswered.send_if_modified(|most| {
                            let more = unanswered > *most;
                            *most = unanswered.max(*most);
                            more
                        });
                    }
                    Ok(None) => return self.ended(Ending::HalfClosed),
                    Err(_) => return self.ended(Ending::Broken),
                },
                Some(answered) = under_way.join_next() => {
                    let (id, answer) = answered.unwrap();
                    self.answer(id, answer);
                }
            }
        }
    }

    fn ended(&self, how: Ending) {
        self.log.ended.send_modify(|all| all.push(how));
    }

    /// A call with what a call of its own would have had beside its message.
    fn call(&self, command: &SessionRequest) -> Request<()> {
        let mut call = Request::new(());
        *call.metadata_mut() = self.metadata.clone();
        if let Ok(traceparent) = command.traceparent.parse()
            && !command.traceparent.is_empty()
        {
            call.metadata_mut().insert("traceparent", traceparent);
        }
        call.extensions_mut().insert(self.on.clone());
        call
    }

    fn answer(&self, id: u64, answer: Result<Answer, Status>) {
        let answer = answer.unwrap_or_else(|status| Answer::Error(error(&status)));
        let garbled = self.log.garble.lock().unwrap().pop_front();
        match garbled {
            None => self.say(id, answer),
            Some(Garbled::Kind) => match answer {
                Answer::Claim(_) => self.say(id, Answer::Lookup(wire::LookupResponse::default())),
                // A lookup that finds nothing is an error, so a wrong answer that would allow
                // something stands in for all others.
                _ => self.say(id, Answer::Claim(claimed())),
            },
            Some(Garbled::UnknownId) => self.say(id.wrapping_add(1_000), answer),
            Some(Garbled::IdZero) => self.say(0, answer),
            Some(Garbled::Nothing) => {
                let _ = self.answers.send(Ok(SessionResponse { id, answer: None }));
            }
            Some(Garbled::OpenedAgain) => {
                self.say(0, Answer::Opened(wire::SessionOpened { window: 1 }));
            }
            Some(Garbled::Cancelled) => self.say(id, Answer::Cancelled(wire::SessionCancelled {})),
        }
    }

    fn say(&self, id: u64, answer: Answer) {
        let answer = Some(answer);
        // A client that has gone does not need it.
        let _ = self.answers.send(Ok(SessionResponse { id, answer }));
    }
}

async fn answer(
    service: &Service,
    command: SessionRequest,
    call: Request<()>,
) -> Result<Answer, Status> {
    macro_rules! call {
        ($method:ident, $ask:expr, $answer:ident) => {
            service
                .$method(call.map(|()| $ask))
                .await
                .map(|it| Answer::$answer(it.into_inner()))
        };
    }
    match command.command {
        Some(Command::Claim(ask)) => call!(claim, ask, Claim),
        Some(Command::Complete(ask)) => call!(complete, ask, Complete),
        Some(Command::Fail(ask)) => call!(fail, ask, Fail),
        Some(Command::Lookup(ask)) => call!(lookup, ask, Lookup),
        Some(Command::Extend(ask)) => call!(extend, ask, Extend),
        Some(Command::Checkpoint(ask)) => call!(checkpoint, ask, Checkpoint),
        Some(Command::Cancel(_)) => Ok(Answer::Cancelled(wire::SessionCancelled {})),
        None => Err(Status::invalid_argument("no command")),
    }
}

fn error(status: &Status) -> wire::SessionError {
    let details = wire::SessionError::decode(status.details()).unwrap();
    wire::SessionError {
        code: status.code() as i32,
        message: status.message().to_owned(),
        details: details.details,
    }
}

/// The first message of a session.
pub fn opened(window: u32) -> SessionResponse {
    SessionResponse {
        id: 0,
        answer: Some(Answer::Opened(wire::SessionOpened { window })),
    }
}

fn claimed() -> wire::ClaimResponse {
    let claimed = wire::Claimed {
        token: "stray".into(),
        fence: 1,
        ..wire::Claimed::default()
    };
    wire::ClaimResponse {
        outcome: Some(wire::claim_response::Outcome::Claimed(claimed)),
    }
}
