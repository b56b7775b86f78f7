//! One session's stream: commands out in batches, answers in.
//!
//! Below tonic's own streams, which encode and decode message by message: here whatever is ready
//! together is one piece of the body, and what has come together is read together.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode, header};
use hyper::body::{Body as _, Frame};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::Channel;
use tower::ServiceExt as _;

use super::wire::{self, Answer};

/// A stream that takes longer to open is none.
const OPENING: Duration = Duration::from_secs(5);
/// Answers are handled when this many bytes of them have come, even if there are more.
const ENOUGH: usize = 256 * 1024;

/// An open stream.
#[derive(Debug)]
pub(super) struct Stream {
    queue: mpsc::UnboundedSender<Bytes>,
    /// Commands that were not sent yet.
    pub out: BytesMut,
    answers: tonic::body::Body,
    /// Answers that were not handled yet; the last may not be all there.
    received: Vec<u8>,
    /// How it ended.
    end: Option<Status>,
    /// How many commands the server takes on.
    pub window: usize,
}

impl Stream {
    pub async fn open(channel: &Channel) -> Result<Self, Status> {
        timeout(OPENING, Self::opened(channel))
            .await
            .unwrap_or_else(|_| Err(Status::unavailable("the server does not open a session")))
    }

    async fn opened(channel: &Channel) -> Result<Self, Status> {
        let (queue, queued) = mpsc::unbounded_channel();
        let request = Request::post("/semel.v1.SessionService/Session")
            .version(http::Version::HTTP_2)
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(tonic::body::Body::new(Batches(queued)))
            .map_err(|error| Status::from_error(error.into()))?;
        let response = channel
            .clone()
            .oneshot(request)
            .await
            .map_err(|error| Status::from_error(error.into()))?;
        let (head, answers) = response.into_parts();
        // Refused: the headers are all there is.
        if let Some(status) = Status::from_header_map(&head.headers) {
            return Err(status);
        }
        if head.status != StatusCode::OK {
            let problem = format!("answered with HTTP status {}", head.status);
            return Err(Status::unimplemented(problem));
        }
        let mut stream = Self {
            queue,
            out: BytesMut::new(),
            answers,
            received: Vec::new(),
            end: None,
            window: 0,
        };
        // Comes before all else.
        while stream.window == 0 {
            stream.receive().await?;
            let mut window = 0;
            stream.handle(|_, answer, _| match answer {
                Answer::Opened { window: opened } => {
                    window = opened.max(1);
                    Ok(())
                }
                _ => Err(Status::internal("the session did not begin with `opened`")),
            })?;
            stream.window = window;
        }
        Ok(stream)
    }

    /// Sends what is in `out`.
    pub fn flush(&mut self) {
        if !self.out.is_empty() {
            // When the stream is over, receiving says so.
            let _ = self.queue.send(self.out.split().freeze());
        }
    }

    /// Waits until answers have come. Nothing is lost when it is dropped.
    ///
    /// # Errors
    /// Says how the stream ended.
    pub async fn receive(&mut self) -> Result<(), Status> {
        std::future::poll_fn(|context| self.poll_receive(context)).await
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let before = self.received.len();
        while self.end.is_none() && self.received.len() - before < ENOUGH {
            let frame = match Pin::new(&mut self.answers).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(status))) => {
                    self.end = Some(status);
                    break;
                }
                Poll::Ready(None) => {
                    self.end = Some(Status::unavailable("the session ended"));
                    break;
                }
                Poll::Pending if self.received.len() > before => break,
                Poll::Pending => return Poll::Pending,
            };
            match frame.into_data() {
                Ok(data) => self.received.extend_from_slice(&data),
                Err(frame) => self.end = frame.into_trailers().ok().and_then(ended),
            }
        }
        match &self.end {
            // First what came before.
            Some(status) if self.received.len() == before => Poll::Ready(Err(status.clone())),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Hands each answer that has come to `each`, with the id of its command, and what to add
    /// commands to.
    pub fn handle(
        &mut self,
        mut each: impl FnMut(u64, Answer<'_>, &mut BytesMut) -> Result<(), Status>,
    ) -> Result<(), Status> {
        let mut rest = self.received.as_slice();
        while let Some(message) = wire::take_message(&mut rest)? {
            let (id, answer) = wire::read_answer(message)?;
            each(id, answer, &mut self.out)?;
        }
        let handled = self.received.len() - rest.len();
        self.received.drain(..handled);
        Ok(())
    }
}

/// What the trailers say. A session that is over with OK is over, too.
fn ended(trailers: http::HeaderMap) -> Option<Status> {
    let status = Status::from_header_map(&trailers)?;
    Some(match status.code() {
        tonic::Code::Ok => Status::unavailable("the server ended the session"),
        _ => status,
    })
}

/// The body of the request: ends with its sender.
struct Batches(mpsc::UnboundedReceiver<Bytes>);

impl hyper::body::Body for Batches {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let batch = ready!(self.0.poll_recv(context));
        Poll::Ready(batch.map(|batch| Ok(Frame::data(batch))))
    }
}
