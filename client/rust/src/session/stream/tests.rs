//! What becomes of commands and answers when a stream ends while both are under way. From outside
//! that is a race; here the two halves of a stream are in the test's hands.

use std::convert::Infallible;

use axum::body::Body;
use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use semel_proto::v1::session_response::Answer;
use semel_proto::v1::{LookupRequest, LookupResponse};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;
use tonic::codec::Codec as _;
use tonic_prost::ProstCodec;

use super::super::ended::was_lost;
use super::*;
use crate::rpc::Rpc as _;

/// Longer than anything here takes on a busy machine.
const SOON: Duration = Duration::from_secs(20);

type Answered = oneshot::Receiver<Result<LookupResponse, Unanswered>>;

/// A running stream: the caller's side, and the server's.
struct Stream {
    queue: mpsc::Sender<Command>,
    frames: mpsc::UnboundedReceiver<Vec<Frame>>,
    answers: mpsc::UnboundedSender<Result<Bytes, Infallible>>,
    end: JoinHandle<End>,
}

impl Stream {
    fn start(window: usize) -> Self {
        let (queue, mut queued) = mpsc::channel(window);
        let (to, frames) = mpsc::unbounded_channel();
        let (answers, taken) = mpsc::unbounded_channel();
        let body = Body::from_stream(UnboundedReceiverStream::new(taken));
        let decoder = ProstCodec::<Frame, SessionResponse>::default().decoder();
        let opened = Opened {
            answers: Streaming::new_response(decoder, body, 200.try_into().unwrap(), None, None),
            frames: to,
            window,
        };
        let running = Running::new(opened, SOON);
        Self {
            queue,
            frames,
            answers,
            end: tokio::spawn(async move { running.run(None, &mut queued).await }),
        }
    }

    async fn ask(&self) -> Answered {
        let (to, answered) = oneshot::channel();
        let command = Command {
            traceparent: String::new(),
            encoded: LookupRequest::default().command(),
            reply: LookupRequest::reply(to),
        };
        soon(self.queue.send(command)).await.ok().unwrap();
        answered
    }

    /// The ids of the next `n` commands that the stream sends.
    async fn sent(&mut self, n: usize) -> Vec<u64> {
        let mut ids = Vec::new();
        while ids.len() < n {
            let turn = soon(self.frames.recv()).await.expect("a turn");
            ids.extend(turn.iter().map(|frame| frame.id));
        }
        ids
    }

    /// Answers all of these at once: one piece of bytes for HTTP/2.
    fn answer(&self, ids: &[u64]) {
        let mut bytes = BytesMut::new();
        for id in ids {
            let message = SessionResponse {
                id: *id,
                answer: Some(Answer::Lookup(LookupResponse::default())),
            };
            bytes.put_u8(0);
            bytes.put_u32(message.encoded_len() as u32);
            message.encode(&mut bytes).unwrap();
        }
        self.answers.send(Ok(bytes.freeze())).unwrap();
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("in time")
}

async fn refusal(answered: Answered) -> Status {
    match soon(answered).await.expect("told") {
        Err(Unanswered::Failed(status)) => status,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_was_answered_before_the_end_is_told_though_nothing_can_be_sent_any_more() {
    const ANSWERED: usize = 3 * ANSWERS_A_TURN;
    let mut stream = Stream::start(ANSWERED + 1);
    let mut answered = Vec::new();
    for _ in 0..ANSWERED {
        answered.push(stream.ask().await);
    }
    let lost = stream.ask().await;
    let ids = stream.sent(ANSWERED + 1).await;

    // The server ends the stream, and there are answers for several turns and commands to send.
    let mut unsent = Vec::new();
    for _ in 0..10 {
        unsent.push(stream.ask().await);
    }
    stream.frames.close();
    stream.answer(&ids[..ANSWERED]);
    let Stream { answers, end, .. } = stream;
    drop(answers);

    for answered in answered {
        soon(answered).await.expect("told").expect("answered");
    }
    assert!(was_lost(&refusal(lost).await));
    for unsent in unsent {
        let status = refusal(unsent).await;
        assert_eq!(status.code(), Code::Unavailable);
        assert!(!was_lost(&status), "it was never sent");
    }
    assert!(matches!(soon(end).await.unwrap(), End::Stream(_)));
}

#[tokio::test]
async fn an_answer_to_what_could_not_be_sent_is_none() {
    let mut stream = Stream::start(8);
    stream.frames.close();
    let unsent = stream.ask().await;
    let is_taken = async {
        while stream.queue.capacity() < 8 {
            tokio::task::yield_now().await;
        }
    };
    soon(is_taken).await;
    stream.answer(&[1]);

    let status = refusal(unsent).await;
    assert!(!was_lost(&status));
}
