//! A stream of commands, by hand on one HTTP/2 connection: it sends what a test says, also what is
//! no command, and reads when a test says.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use prost::Message as _;
use semel_proto::v1::{
    self, claim_response::Outcome, session_request::Command, session_response::Answer,
};
use tokio::sync::mpsc;
use tonic::{Code, Status};

use super::{Call, Told, Wire, told, within};

/// The window that the server tells, as it is documented.
pub const WINDOW: usize = 1_024;

/// An open stream. Dropping it hangs up.
pub struct Session {
    commands: Option<mpsc::UnboundedSender<Bytes>>,
    answers: Answers,
    last: u64,
    /// Answers that came while another one was waited for.
    others: VecDeque<(u64, Answer)>,
}

/// What comes back on a stream.
struct Answers {
    body: Incoming,
    read: BytesMut,
    trailers: Option<HeaderMap>,
}

/// One answer and its number, or what the stream ended with: that may be OK.
pub type Next = Result<(u64, Answer), Status>;

impl Wire {
    /// Opens a stream; `opened` has been read.
    pub async fn session(&self) -> Session {
        self.session_within(None).await
    }

    /// The same, as part of a trace.
    pub async fn session_in(&self, traceparent: &str) -> Session {
        let mut session = self
            .unopened_with(None, Some(traceparent))
            .await
            .expect("not refused");
        session.next().await.expect("opened");
        session
    }

    /// The same, with a `grpc-timeout`.
    pub async fn session_within(&self, timeout: Option<&str>) -> Session {
        let mut session = self.unopened(timeout).await.expect("not refused");
        match session.next().await {
            Ok((0, Answer::Opened(opened))) => {
                assert_eq!(opened.window as usize, WINDOW);
            }
            other => panic!("not opened: {other:?}"),
        }
        session
    }

    /// The same, before anything was read but the headers.
    pub async fn unopened(&self, timeout: Option<&str>) -> Result<Session, Status> {
        self.unopened_with(timeout, None).await
    }

    async fn unopened_with(
        &self,
        timeout: Option<&str>,
        traceparent: Option<&str>,
    ) -> Result<Session, Status> {
        let (commands, queued) = mpsc::unbounded_channel();
        let mut request =
            http::Request::post(format!("{}semel.v1.SessionService/Session", self.origin))
                .version(http::Version::HTTP_2)
                .header("content-type", "application/grpc")
                .header("te", "trailers");
        if let Some(timeout) = timeout {
            request = request.header("grpc-timeout", timeout);
        }
        if let Some(traceparent) = traceparent {
            request = request.header("traceparent", traceparent);
        }
        let body = tonic::body::Body::new(Queue(queued));
        let request = request.body(body).expect("a request");
        let answer = within(tower::ServiceExt::oneshot(self.clone(), request)).await;
        let (head, body) = answer.expect("the connection is there").into_parts();
        if let Some(status) = Status::from_header_map(&head.headers) {
            return Err(status);
        }
        Ok(Session {
            commands: Some(commands),
            answers: Answers {
                body,
                read: BytesMut::new(),
                trailers: None,
            },
            last: 0,
            others: VecDeque::new(),
        })
    }
}

impl Session {
    /// Sends a command under a number of its own, and goes on.
    pub fn send(&mut self, command: impl Into<Call>) -> u64 {
        self.last += 1;
        self.send_as(self.last, command.into().into_command());
        self.last
    }

    /// The same, with a trace context of its own.
    pub fn send_traced(&mut self, command: impl Into<Call>, traceparent: &str) -> u64 {
        self.last += 1;
        self.send_request(&v1::SessionRequest {
            id: self.last,
            traceparent: traceparent.to_owned(),
            command: Some(command.into().into_command()),
        });
        self.last
    }

    /// Ends the wait of the Claim with this number.
    pub fn cancel(&mut self, id: u64) -> u64 {
        self.last += 1;
        self.send_as(self.last, Command::Cancel(v1::SessionCancel { id }));
        self.last
    }

    /// Sends a command under this number.
    pub fn send_as(&mut self, id: u64, command: impl Into<Option<Command>>) {
        self.send_request(&v1::SessionRequest {
            id,
            traceparent: String::new(),
            command: command.into(),
        });
    }

    pub fn send_request(&mut self, request: &v1::SessionRequest) {
        self.send_bytes(framed(&request.encode_to_vec()));
    }

    /// Sends what may be no message.
    pub fn send_bytes(&mut self, bytes: impl Into<Bytes>) {
        let commands = self.commands.as_ref().expect("this side has not ended");
        // The server may have ended the stream already.
        let _ = commands.send(bytes.into());
    }

    /// Ends this side.
    pub fn finish(&mut self) {
        self.commands = None;
    }

    /// The next message, whatever it answers.
    pub async fn next(&mut self) -> Next {
        if let Some((id, answer)) = self.others.pop_front() {
            return Ok((id, answer));
        }
        within(self.answers.next()).await
    }

    /// The answer to this command; those to others are kept.
    pub async fn answer_to(&mut self, id: u64) -> Result<Answer, Status> {
        if let Some(place) = self.others.iter().position(|(other, _)| *other == id) {
            let (_, answer) = self.others.remove(place).expect("it is there");
            return of(answer);
        }
        let reading = async {
            loop {
                match self.answers.next().await {
                    Ok((it, answer)) if it == id => return of(answer),
                    Ok((other, answer)) => self.others.push_back((other, answer)),
                    Err(status) => panic!("ended before {id} was answered: {status:?}"),
                }
            }
        };
        within(reading).await
    }

    /// Whether the command was answered, of what was read so far.
    pub fn has_read(&self, id: u64) -> bool {
        self.others.iter().any(|(other, _)| *other == id)
    }

    /// Sends a command and reads its answer.
    pub async fn ask(&mut self, command: impl Into<Call>) -> Result<Answer, Status> {
        let id = self.send(command);
        self.answer_to(id).await
    }

    /// Sends a Claim and says what stands.
    pub async fn outcome(&mut self, request: v1::ClaimRequest) -> Outcome {
        outcome_of(self.ask(request).await.expect("not refused"))
    }

    /// Sends a Claim that has to be granted.
    pub async fn claimed(&mut self, request: v1::ClaimRequest) -> v1::Claimed {
        match self.outcome(request).await {
            Outcome::Claimed(claimed) => claimed,
            other => panic!("not claimed: {other:?}"),
        }
    }

    /// Reads to the end: the answers by number, none twice, and what the stream ended with.
    pub async fn rest(mut self) -> (BTreeMap<u64, Result<Answer, Status>>, Status) {
        let mut answers = BTreeMap::new();
        loop {
            match self.next().await {
                Ok((id, answer)) => {
                    let twice = answers.insert(id, of(answer));
                    assert!(twice.is_none(), "{id} was answered twice: {twice:?}");
                }
                Err(status) => return (answers, status),
            }
        }
    }
}

/// What a Claim's answer says.
#[track_caller]
pub fn outcome_of(answer: Answer) -> Outcome {
    match answer {
        Answer::Claim(claim) => claim.outcome.expect("always set"),
        other => panic!("no answer of a Claim: {other:?}"),
    }
}

/// What an answer that has to be an error says.
#[track_caller]
pub fn session_error(answer: Answer) -> Told {
    told(of(answer))
}

/// An answer, or the error that a single call would have ended with.
fn of(answer: Answer) -> Result<Answer, Status> {
    match answer {
        Answer::Error(error) => {
            let details = error.encode_to_vec().into();
            let code = Code::from_i32(error.code);
            assert_ne!(code, Code::Ok, "an error that is none: {error:?}");
            Err(Status::with_details(code, error.message, details))
        }
        answer => Ok(answer),
    }
}

/// A message as gRPC frames it.
pub fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len().try_into().expect("a message"));
    framed.put(message);
    framed.freeze()
}

impl Answers {
    async fn next(&mut self) -> Next {
        loop {
            if let Some(len) = self.read.get(1..5) {
                let len = u32::from_be_bytes(len.try_into().expect("four")) as usize;
                if self.read.len() >= 5 + len {
                    assert_eq!(self.read[0], 0, "not compressed");
                    self.read.advance(5);
                    let message = self.read.split_to(len).freeze();
                    let message = v1::SessionResponse::decode(message).expect("a message");
                    let answer = message.answer.expect("always set");
                    return Ok((message.id, answer));
                }
            }
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.read.put(data),
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                Some(Err(error)) => return Err(Status::unknown(error.to_string())),
                None => {
                    assert!(self.read.is_empty(), "ended within a message");
                    let status = self.trailers.as_ref().and_then(Status::from_header_map);
                    return Err(status.unwrap_or_else(|| Status::unknown("no trailers")));
                }
            }
        }
    }
}

/// A request's body that ends with the sender.
struct Queue(mpsc::UnboundedReceiver<Bytes>);

impl hyper::body::Body for Queue {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
