//! What goes onto a session, and where its answer goes.

use semel_proto::v1 as wire;
use semel_proto::v1::session_response::Answer;
use tokio::sync::oneshot;
use tonic::{Code, Status};

/// A command that waits for its turn.
pub(super) struct Command {
    pub(super) traceparent: String,
    pub(super) encoded: Encoded,
    pub(super) reply: Reply,
}

/// A [`wire::SessionRequest`] whose command is bytes already: on the wire a nested message and
/// bytes are the same. So the caller encodes, in its own task and from a reference, and what a
/// session moves about is small.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Frame {
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    #[prost(string, tag = "2")]
    pub(super) traceparent: String,
    #[prost(oneof = "Encoded", tags = "3, 4, 5, 6, 7, 8, 9")]
    pub(super) command: Option<Encoded>,
}

/// The bytes of a command, under the numbers of `SessionRequest.command`.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Encoded {
    #[prost(bytes = "vec", tag = "3")]
    Claim(Vec<u8>),
    #[prost(bytes = "vec", tag = "4")]
    Complete(Vec<u8>),
    #[prost(bytes = "vec", tag = "5")]
    Fail(Vec<u8>),
    #[prost(bytes = "vec", tag = "6")]
    Lookup(Vec<u8>),
    #[prost(bytes = "vec", tag = "7")]
    Extend(Vec<u8>),
    #[prost(bytes = "vec", tag = "8")]
    Checkpoint(Vec<u8>),
    #[prost(bytes = "vec", tag = "9")]
    Cancel(Vec<u8>),
}

impl Encoded {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Claim(bytes)
            | Self::Complete(bytes)
            | Self::Fail(bytes)
            | Self::Lookup(bytes)
            | Self::Extend(bytes)
            | Self::Checkpoint(bytes)
            | Self::Cancel(bytes) => bytes.len(),
        }
    }
}

/// Why a command has no answer.
#[derive(Debug, Clone)]
pub(crate) enum Unanswered {
    /// The server's error to this command, or the transport's to all.
    Failed(Status),
    /// It was not sent: there is no session to be had here for now, so the call is to go alone.
    GoAlone,
}

/// Where an answer of kind `A` goes.
pub(crate) type ReplyTo<A> = oneshot::Sender<Result<A, Unanswered>>;

/// Where the answer to a command goes. It fits the command's kind, so an answer of another kind
/// finds no taker.
pub(crate) enum Reply {
    Claim(ReplyTo<wire::ClaimResponse>),
    Complete(ReplyTo<wire::CompleteResponse>),
    Fail(ReplyTo<wire::FailResponse>),
    Lookup(ReplyTo<wire::LookupResponse>),
    Extend(ReplyTo<wire::ExtendResponse>),
    Checkpoint(ReplyTo<wire::CheckpointResponse>),
}

macro_rules! whatever_kind {
    ($reply:expr, $to:ident => $do:expr) => {
        match $reply {
            Reply::Claim($to) => $do,
            Reply::Complete($to) => $do,
            Reply::Fail($to) => $do,
            Reply::Lookup($to) => $do,
            Reply::Extend($to) => $do,
            Reply::Checkpoint($to) => $do,
        }
    };
}

/// An answer of another kind than its command.
#[derive(Debug)]
pub(super) struct WrongKind;

impl Reply {
    /// Hands `answer` over.
    ///
    /// # Errors
    /// `WrongKind`, and the caller has no answer.
    pub(super) fn settle(self, answer: Answer) -> Result<(), WrongKind> {
        match (self, answer) {
            (Self::Claim(to), Answer::Claim(it)) => tell(to, Ok(it)),
            (Self::Complete(to), Answer::Complete(it)) => tell(to, Ok(it)),
            (Self::Fail(to), Answer::Fail(it)) => tell(to, Ok(it)),
            (Self::Lookup(to), Answer::Lookup(it)) => tell(to, Ok(it)),
            (Self::Extend(to), Answer::Extend(it)) => tell(to, Ok(it)),
            (Self::Checkpoint(to), Answer::Checkpoint(it)) => tell(to, Ok(it)),
            (reply, Answer::Error(error)) => reply.refuse(Unanswered::Failed(status(&error))),
            _ => return Err(WrongKind),
        }
        Ok(())
    }

    /// Says that there is no answer, and why.
    pub(super) fn refuse(self, why: Unanswered) {
        whatever_kind!(self, to => tell(to, Err(why)));
    }

    /// Nobody waits for the answer any more.
    pub(super) fn is_abandoned(&self) -> bool {
        whatever_kind!(self, to => to.is_closed())
    }
}

fn tell<A>(to: ReplyTo<A>, answer: Result<A, Unanswered>) {
    // A caller that has gone does not need it.
    let _ = to.send(answer);
}

/// The error as a call of its own would have ended with: no source, and details that
/// `tonic_types` reads.
fn status(error: &wire::SessionError) -> Status {
    let code = Code::from_i32(error.code);
    if code == Code::Ok {
        // A call of its own that ends well without an answer is this to tonic as well.
        return Status::internal("the server sent an error that is none");
    }
    let details = match error.details.as_slice() {
        [] => Vec::new(),
        // SessionError has the fields and numbers of google.rpc.Status.
        [..] => prost::Message::encode_to_vec(error),
    };
    Status::with_details(code, error.message.clone(), details.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prost::Message as _;
    use semel_proto::v1::session_request::Command as Typed;
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;
    use crate::rpc::Rpc;

    fn assert_same_bytes<R: Rpc>(request: R, typed: fn(R) -> Typed) {
        for (id, traceparent) in [(1, ""), (u64::MAX, "00-trace-span-01")] {
            let frame = Frame {
                id,
                traceparent: traceparent.to_owned(),
                command: Some(request.command()),
            };
            let expected = wire::SessionRequest {
                id,
                traceparent: traceparent.to_owned(),
                command: Some(typed(request.clone())),
            };
            assert_eq!(frame.encode_to_vec(), expected.encode_to_vec());
        }
    }

    #[test]
    fn a_frame_is_the_session_request_byte_for_byte() {
        let key = || ("ns".to_owned(), "k".to_owned());
        let (namespace, key) = key();
        let claim = wire::ClaimRequest {
            namespace: namespace.clone(),
            key: key.clone(),
            lease: Some(Duration::from_secs(3).try_into().unwrap()),
            ..wire::ClaimRequest::default()
        };
        assert_same_bytes(claim, Typed::Claim);
        assert_same_bytes(wire::ClaimRequest::default(), Typed::Claim);
        let complete = wire::CompleteRequest {
            token: "token".into(),
            result: "done".into(),
            ..wire::CompleteRequest::default()
        };
        assert_same_bytes(complete, Typed::Complete);
        let fail = wire::FailRequest {
            kind: 2,
            ..wire::FailRequest::default()
        };
        assert_same_bytes(fail, Typed::Fail);
        let lookup = wire::LookupRequest {
            namespace,
            key,
            include_delivery: true,
        };
        assert_same_bytes(lookup, Typed::Lookup);
        assert_same_bytes(wire::ExtendRequest::default(), Typed::Extend);
        let checkpoint = wire::CheckpointRequest {
            checkpoint: "half".into(),
            ..wire::CheckpointRequest::default()
        };
        assert_same_bytes(checkpoint, Typed::Checkpoint);
    }

    #[test]
    fn a_cancel_is_one_byte_for_byte() {
        let cancel = wire::SessionCancel { id: 7 };
        let frame = Frame {
            id: 7,
            traceparent: String::new(),
            command: Some(Encoded::Cancel(cancel.encode_to_vec())),
        };
        let expected = wire::SessionRequest {
            id: 7,
            traceparent: String::new(),
            command: Some(Typed::Cancel(cancel)),
        };
        assert_eq!(frame.encode_to_vec(), expected.encode_to_vec());
    }

    #[test]
    fn an_error_has_the_details_of_a_status_and_no_source() {
        let mut details = ErrorDetails::with_retry_info(Some(Duration::from_millis(70)));
        details.set_bad_request(vec![tonic_types::FieldViolation::new("key", "empty")]);
        let alone = Status::with_error_details(Code::InvalidArgument, "no", details);
        let sent = wire::SessionError::decode(alone.details()).unwrap();

        let received = status(&sent);

        assert_eq!(
            (received.code(), received.message(), received.details()),
            (alone.code(), alone.message(), alone.details())
        );
        assert!(std::error::Error::source(&received).is_none());
        let details = received.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations.len(), 1);

        let plain = status(&wire::SessionError {
            code: 99,
            ..wire::SessionError::default()
        });
        assert_eq!((plain.code(), plain.details()), (Code::Unknown, &[][..]));
        assert_eq!(
            status(&wire::SessionError::default()).code(),
            Code::Internal
        );
    }
}
