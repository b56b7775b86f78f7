//! Opens a stream, and judges why one did not open.
//!
//! A stream counts as open when it has carried something both ways: the server's `opened`, and the
//! answer to a command that changes nothing. A proxy may pass on what the server says and keep what
//! the client says to itself until the request is complete, which this one never is.

use std::error::Error as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use prost::Message as _;
use semel_proto::v1::session_response::Answer;
use semel_proto::v1::{SessionCancel, SessionOpened, SessionResponse};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::Stream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt as _;

use super::command::{Encoded, Frame};
use super::ended::{Fate, ended};

const PATH: &str = "/semel.v1.SessionService/Session";

/// The id of the command that shows that commands get through. The others are counted from 1.
const PROBE: u64 = u64::MAX;

/// The most unanswered commands on one stream, whatever the server says.
const LARGEST_WINDOW: u32 = 16_384;

/// This many attempts in a row that broke off before the stream was open are not taken for the
/// network's doing any more.
const BROKEN_ATTEMPTS: u32 = 2;

/// A stream that carries something both ways.
pub(super) struct Opened {
    pub(super) answers: Streaming<SessionResponse>,
    /// Takes the frames of one turn at a time; dropping it ends this side of the stream. It has no
    /// bound of its own: what is in it is unanswered, so it holds a window at most.
    pub(super) frames: mpsc::UnboundedSender<Vec<Frame>>,
    pub(super) window: usize,
}

/// Why a stream did not open.
#[derive(Debug)]
pub(super) enum NotOpened {
    /// There was no `opened`, no answer to the probe, or never an answer to a command, in time.
    Silent,
    /// It ended well without a message.
    Ended,
    /// It began with something else.
    Malformed,
    /// The status that it ended with.
    Failed(Status),
}

/// What to do about a stream that did not open.
#[derive(Debug)]
pub(super) enum Remedy {
    /// Tell those who wait, and try again with the next command.
    Tell(Status),
    /// Let calls go alone for a while.
    GoAlone(Rest),
}

/// How long calls go alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Long: streams were clearly refused.
    Refused,
    /// Short: it may pass by itself.
    Doubtful,
}

/// Opens a stream within `limit`, which includes connecting.
pub(super) async fn open(
    grpc: &mut Grpc<Channel>,
    authorization: Option<&AsciiMetadataValue>,
    limit: Duration,
) -> Result<Opened, NotOpened> {
    match timeout(limit, shake_hands(grpc, authorization)).await {
        Ok(opened) => opened,
        Err(_) => Err(NotOpened::Silent),
    }
}

async fn shake_hands(
    grpc: &mut Grpc<Channel>,
    authorization: Option<&AsciiMetadataValue>,
) -> Result<Opened, NotOpened> {
    let (frames, queued) = mpsc::unbounded_channel();
    // Beside the request, so that it costs no time of its own.
    let _ = frames.send(vec![probe()]);
    let mut request = Request::new(Frames {
        queued,
        turn: Vec::new().into_iter(),
    });
    if let Some(authorization) = authorization {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", authorization.clone());
    }
    grpc.ready()
        .await
        .map_err(|error| NotOpened::Failed(Status::from_error(error.into())))?;
    let path = PathAndQuery::from_static(PATH);
    let codec: ProstCodec<Frame, SessionResponse> = ProstCodec::default();
    let response = grpc.streaming(request, path, codec).await;
    let mut answers = response.map_err(NotOpened::Failed)?.into_inner();
    let window = match answers.message().await.map_err(NotOpened::Failed)? {
        Some(SessionResponse {
            id: 0,
            answer:
                Some(Answer::Opened(SessionOpened {
                    window: window @ 1..,
                })),
        }) => window.min(LARGEST_WINDOW) as usize,
        Some(_) => return Err(NotOpened::Malformed),
        None => return Err(NotOpened::Ended),
    };
    match answers.message().await.map_err(NotOpened::Failed)? {
        // Whatever the server makes of it, it came through.
        Some(SessionResponse {
            id: PROBE,
            answer: Some(Answer::Cancelled(_) | Answer::Error(_)),
        }) => Ok(Opened {
            answers,
            frames,
            window,
        }),
        Some(_) => Err(NotOpened::Malformed),
        // With a source, because that says nothing about streams: a server that stops does this.
        None => {
            let how = "it ended before it was known to carry commands";
            Err(NotOpened::Failed(ended(Fate::NotSent, how, None)))
        }
    }
}

/// Ends a wait that there is not: answered at once, without the store, and nothing changes.
fn probe() -> Frame {
    let cancel = SessionCancel { id: PROBE };
    Frame {
        id: PROBE,
        traceparent: String::new(),
        command: Some(Encoded::Cancel(cancel.encode_to_vec())),
    }
}

/// The request side of a stream: all frames of a turn are ready at once, which tonic packs into as
/// few HTTP/2 frames as they fit.
struct Frames {
    queued: mpsc::UnboundedReceiver<Vec<Frame>>,
    turn: std::vec::IntoIter<Frame>,
}

impl Stream for Frames {
    type Item = Frame;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        loop {
            if let Some(frame) = self.turn.next() {
                return Poll::Ready(Some(frame));
            }
            match ready!(self.queued.poll_recv(cx)) {
                Some(turn) => self.turn = turn.into_iter(),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl NotOpened {
    /// It broke off, on a connection that stood. Once, that is the network; it says nothing about
    /// streams.
    pub(super) fn broke_off(&self) -> bool {
        match self {
            Self::Failed(status) => status.source().is_some() && !could_not_connect(status),
            Self::Silent | Self::Ended | Self::Malformed => false,
        }
    }

    /// What to do where calls may go alone, when this was the `broken`-th attempt in a row that
    /// broke off.
    ///
    /// A server that is away, or that refuses this caller, is told of as it is: going alone would
    /// find the same.
    pub(super) fn remedy(self, broken: u32) -> Remedy {
        let broke_off = self.broke_off();
        let status = match self {
            // A proxy that holds streams back, or a server that stands still.
            Self::Silent | Self::Ended => return Remedy::GoAlone(Rest::Doubtful),
            Self::Malformed => return Remedy::GoAlone(Rest::Refused),
            Self::Failed(status) => status,
        };
        match status.code() {
            _ if broke_off && broken >= BROKEN_ATTEMPTS => Remedy::GoAlone(Rest::Doubtful),
            _ if broke_off || could_not_connect(&status) => Remedy::Tell(status),
            Code::Unavailable | Code::Unauthenticated | Code::PermissionDenied
                if is_from_semel(&status) =>
            {
                Remedy::Tell(status)
            }
            // Too many streams, or a proxy whose server is away.
            Code::Unavailable | Code::ResourceExhausted => Remedy::GoAlone(Rest::Doubtful),
            _ => Remedy::GoAlone(Rest::Refused),
        }
    }

    /// The same for callers that do not want their calls to go alone.
    pub(super) fn into_status(self) -> Status {
        match self {
            Self::Failed(status) => status,
            Self::Silent => ended(
                Fate::NotSent,
                "no session within the time to open one",
                None,
            ),
            Self::Ended => ended(Fate::NotSent, "it ended before it was open", None),
            Self::Malformed => ended(Fate::NotSent, "it did not begin as a session does", None),
        }
    }
}

fn could_not_connect(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Semel names a reason in its own domain; a proxy's refusal has none.
fn is_from_semel(status: &Status) -> bool {
    let details = status.get_details_error_info();
    details.is_some_and(|info| info.domain == semel_proto::ERROR_DOMAIN)
}
