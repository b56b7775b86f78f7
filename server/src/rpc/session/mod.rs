//! `semel.v1.SessionService`: the calls of the other service, pipelined on one stream.
//!
//! # How a stream flows
//! A task reads commands, checks them and hands them to the lanes; the lanes put each answer into
//! the stream's [`Outbox`]; HTTP/2 takes the answers out of it as fast as the client reads.
//!
//! # What is bounded, and by what
//! - **Commands**: a command has a place of its stream's [`WINDOW`] from before it is read until its
//!   answer was taken out, and one of the server's budget ([`Admission`]) until it is decided. Where
//!   there is none, the stream is not read on, and HTTP/2 flow control holds the client back.
//! - **Answers**: every answer takes room from when it is decided until it is written to the socket:
//!   [`ALL_OUTBOX_BYTES`] over all streams; see [`Outbox`]. Beyond that go only answers to what
//!   changed something, and small ones: each has 22 KiB at most, a checkpoint and an error text. When
//!   the room is used up, no more of them come than of the commands that have a place of the budget
//!   by then, and of a few for each stream: of 2 × 16,384 places 0.7 GiB, and of 4,096 streams, 116
//!   KiB each, 0.5 GiB. Without checkpoints and error texts it is 180 MiB together.
//! - **Bytes of one stream**: one with more than [`OUTBOX_BYTES`] of answers is not read on.
//! - **Time**: a stream whose client leaves answers unread for half a minute is given up, and earlier
//!   where others need the room; see [`patience`].
//! - **Waits**: [`WAITS`] of the window. Claims beyond that are answered at once with what stands.
//! - **Streams**: [`STREAMS`], and [`SESSIONS`](super::SESSIONS) on one connection.
//!
//! So a client that does not read costs a window of commands and what their answers take, for as
//! long as that patience lasts. Lanes never wait for an outbox. Of others it holds up
//! - large answers, if it and its like have taken all the room: to Claim, Lookup and a Fail that is
//!   sent again `QUEUE_FULL` is told, and a Fail with a large result waits;
//! - streams with more than a few commands under way, if the room is used up by small answers.
//!
//! Both end when those that do not read are given up, 5 to 10 seconds later.
//!
//! # How it ends
//! When the client ends its side, its deadline passes, it sends what is no message, or the server
//! stops: nothing more is read, what was read is answered, and the stream ends. When the client is
//! gone, or the stream is given up, the same as for single calls: what holders said is carried out,
//! what callers asked is dropped where it was not begun. A stream that is given up is reset, because
//! a status would come behind what the client does not read.

mod account;
mod body;
mod outbox;
mod patience;
mod reader;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use semel_proto::v1::{self, session_service_server::SessionService};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

pub(super) use self::body::OnItsWay;
use self::{
    account::{Account, Budget},
    outbox::{AnswerStream, Outbox},
    reader::Reader,
};
use super::{Admission, Deadline, connection::OnConnection, status};
use crate::{lanes::Lanes, policies::Policies, telemetry::Telemetry};

/// Commands of one stream that may be unanswered.
const WINDOW: u32 = 1_024;
/// Claims of one stream that may wait at once, so that a window full of waits does not keep out the
/// settlement, or the cancellation, that would end them.
const WAITS: usize = WINDOW as usize / 2;
/// Streams that may be open at once, over all connections.
const STREAMS: usize = 4_096;
/// Bytes of answers that one stream may keep waiting before it is not read on.
const OUTBOX_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of answers that all streams together may keep waiting.
const ALL_OUTBOX_BYTES: usize = 256 * 1024 * 1024;

/// The service over lanes and policies.
#[derive(Debug, Clone)]
pub struct SessionRpc {
    lanes: Arc<Lanes>,
    policies: Arc<Policies>,
    admission: Admission,
    streams: Arc<Semaphore>,
    answer_bytes: Arc<Budget>,
    telemetry: Arc<Telemetry>,
    stop: CancellationToken,
}

impl SessionRpc {
    /// How many streams are open, whenever it is asked.
    pub fn open_streams(&self) -> impl Fn() -> usize + Send + Sync + 'static {
        let streams = self.streams.clone();
        move || STREAMS - streams.available_permits()
    }

    /// A service that carries commands to `lanes`, within `admission`, until `stop`.
    pub fn new(
        lanes: Arc<Lanes>,
        policies: Arc<Policies>,
        admission: Admission,
        telemetry: Arc<Telemetry>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            lanes,
            policies,
            admission,
            streams: Arc::new(Semaphore::new(STREAMS)),
            answer_bytes: Budget::new(ALL_OUTBOX_BYTES),
            telemetry,
            stop,
        }
    }
}

#[tonic::async_trait]
impl SessionService for SessionRpc {
    type SessionStream = AnswerStream;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<AnswerStream>, Status> {
        let place = self.streams.clone().try_acquire_owned();
        let place = place.map_err(|_| status::too_many_requests())?;
        let connection = request.extensions().get::<OnConnection>().cloned();
        let of_connection = match &connection {
            Some(connection) => {
                let place = connection.place();
                Some(place.ok_or_else(status::too_many_requests)?)
            }
            None => None,
        };
        let deadline = request.extensions().get().and_then(Deadline::named);
        let account = Account::open(self.answer_bytes.clone());
        if let Some(connection) = connection {
            let stream = Arc::downgrade(&account);
            tokio::spawn(async move {
                if patience::is_used_up(stream).await {
                    tracing::info!("a stream is given up: its client does not read the answers");
                    connection.give_up();
                }
            });
        }
        let (outbox, answers) = Outbox::open(
            account,
            [Some(place), of_connection],
            self.telemetry.clone(),
        );
        let origin = request.extensions().get().cloned().unwrap_or_default();
        let on_its_way = answers.on_its_way().clone();
        let reader = Reader::new(self, outbox, deadline, origin);
        tokio::spawn(reader.run(request.into_inner()));
        let mut response = Response::new(answers);
        response.extensions_mut().insert(on_its_way);
        Ok(response)
    }
}
