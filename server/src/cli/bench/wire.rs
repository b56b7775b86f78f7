//! The messages of a session as bytes: written from borrowed parts and read without a copy.
//!
//! By hand, because the load shares its machine with the server: a command is a few `memcpy`s, and
//! of an answer only what is looked at is read. The tests hold it against the generated types.

use bytes::{BufMut as _, BytesMut};
use prost::{decode_length_delimiter, encode_length_delimiter, length_delimiter_len};
use tonic::{Code, Status};

use super::keys::{Keys, NUMBER_BYTES};
use super::outcome::{Grant, Outcome, nanos};

/// Who the claims are said to be of.
pub(super) const OWNER: &str = "bench";

/// A message is preceded by a flag, whether it is compressed, and its length.
const FRAME_HEADER: usize = 5;
/// No answer of a server is longer.
const LONGEST_ANSWER: usize = 8 * 1024 * 1024;

/// Field numbers, as in `session.proto`, `idempotency.proto` and `outcome.proto`.
mod tag {
    pub const ID: u8 = 1;
    pub const CLAIM: u8 = 3;
    pub const COMPLETE: u8 = 4;

    pub const NAMESPACE: u8 = 1;
    pub const KEY: u8 = 2;
    pub const ATTEMPT_ID: u8 = 3;
    pub const OWNER: u8 = 5;
    pub const TOKEN: u8 = 3;
    pub const RESULT: u8 = 4;

    pub const OPENED: u8 = 2;
    pub const CLAIM_ANSWER: u8 = 3;
    pub const COMPLETE_ANSWER: u8 = 4;
    pub const ERROR: u8 = 10;
    pub const WINDOW: u8 = 1;

    pub const CLAIMED: u8 = 1;
    pub const IN_PROGRESS: u8 = 2;
    pub const BACKING_OFF: u8 = 3;
    pub const COMPLETED: u8 = 4;
    pub const FAILED: u8 = 5;
    pub const DEAD: u8 = 6;
    pub const UNCERTAIN: u8 = 7;
    pub const TOKEN_OF_CLAIMED: u8 = 1;
    pub const LEASE: u8 = 4;
    pub const RESULT_OF_COMPLETED: u8 = 1;
    pub const SECONDS: u8 = 1;
    pub const NANOS: u8 = 2;

    pub const ERROR_CODE: u8 = 1;
    pub const ERROR_MESSAGE: u8 = 2;
}

/// Appends the Claim of the key of `number`, framed.
pub(super) fn put_claim(
    to: &mut BytesMut,
    id: u64,
    namespace: &str,
    (keys, number): (&Keys, u64),
    attempt_id: &[u8; 16],
) {
    let len = field_len(namespace.len())
        + field_len(keys.len())
        + field_len(attempt_id.len())
        + field_len(OWNER.len());
    put_head(to, id, tag::CLAIM, len);
    put_field(to, tag::NAMESPACE, namespace.as_bytes());
    put_key(to, keys, number);
    put_field(to, tag::ATTEMPT_ID, attempt_id);
    put_field(to, tag::OWNER, OWNER.as_bytes());
}

/// Appends the Complete of the key of `number`, framed.
pub(super) fn put_complete(
    to: &mut BytesMut,
    id: u64,
    namespace: &str,
    (keys, number): (&Keys, u64),
    token: &[u8],
    result: &[u8],
) {
    let len = field_len(namespace.len())
        + field_len(keys.len())
        + field_len(token.len())
        + field_len(result.len());
    put_head(to, id, tag::COMPLETE, len);
    put_field(to, tag::NAMESPACE, namespace.as_bytes());
    put_key(to, keys, number);
    put_field(to, tag::TOKEN, token);
    put_field(to, tag::RESULT, result);
}

/// Everything before a command of `len` bytes.
fn put_head(to: &mut BytesMut, id: u64, command: u8, len: usize) {
    let id = id as usize;
    let message = 1 + length_delimiter_len(id) + field_len(len);
    to.reserve(FRAME_HEADER + message);
    to.put_u8(0);
    to.put_u32(message as u32);
    to.put_u8(tag::ID << 3);
    put_varint(to, id);
    to.put_u8(command << 3 | 2);
    put_varint(to, len);
}

fn put_key(to: &mut BytesMut, keys: &Keys, number: u64) {
    debug_assert!(keys.len() >= NUMBER_BYTES);
    to.put_u8(tag::KEY << 3 | 2);
    put_varint(to, keys.len());
    keys.put(number, to);
}

fn put_field(to: &mut BytesMut, tag: u8, bytes: &[u8]) {
    to.put_u8(tag << 3 | 2);
    put_varint(to, bytes.len());
    to.put_slice(bytes);
}

/// The bytes of a field of bytes: its tags are all below 16.
fn field_len(bytes: usize) -> usize {
    1 + length_delimiter_len(bytes) + bytes
}

fn put_varint(to: &mut BytesMut, value: usize) {
    // A BytesMut grows, so there is always room.
    let _ = encode_length_delimiter(value, to);
}

/// An answer, as far as it is looked at.
#[derive(Debug)]
pub(super) enum Answer<'a> {
    Opened {
        window: usize,
    },
    Claim(Outcome<'a>),
    Complete,
    Error(Status),
    /// To a command that we do not send.
    Other,
}

/// Takes the first message off `bytes`; `None` while it is not all there.
pub(super) fn take_message<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Status> {
    let Some((&[flag, a, b, c, d], rest)) = bytes.split_first_chunk::<FRAME_HEADER>() else {
        return Ok(None);
    };
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if flag != 0 || len > LONGEST_ANSWER {
        return Err(Status::internal("the server sent what is no message"));
    }
    let Some((message, rest)) = rest.split_at_checked(len) else {
        return Ok(None);
    };
    *bytes = rest;
    Ok(Some(message))
}

/// Reads an answer: the id of its command, and what it says.
pub(super) fn read_answer(message: &[u8]) -> Result<(u64, Answer<'_>), Status> {
    let mut id = 0;
    let mut answer = Answer::Other;
    let mut fields = Fields(message);
    while let Some((tag, value)) = fields.next()? {
        match (tag, value) {
            (tag::ID, Value::Number(number)) => id = number,
            (tag::OPENED, Value::Bytes(opened)) => {
                let window = number(opened, tag::WINDOW)? as usize;
                answer = Answer::Opened { window };
            }
            (tag::CLAIM_ANSWER, Value::Bytes(claim)) => {
                answer = Answer::Claim(read_outcome(claim)?);
            }
            (tag::COMPLETE_ANSWER, Value::Bytes(_)) => answer = Answer::Complete,
            (tag::ERROR, Value::Bytes(error)) => answer = Answer::Error(read_error(error)?),
            _ => {}
        }
    }
    Ok((id, answer))
}

fn read_outcome(claim: &[u8]) -> Result<Outcome<'_>, Status> {
    let mut fields = Fields(claim);
    while let Some((tag, value)) = fields.next()? {
        let Value::Bytes(outcome) = value else {
            continue;
        };
        return Ok(match tag {
            tag::CLAIMED => Outcome::Claimed(read_grant(outcome)?),
            tag::COMPLETED => Outcome::Completed(bytes(outcome, tag::RESULT_OF_COMPLETED)?),
            tag::IN_PROGRESS => Outcome::InProgress,
            tag::BACKING_OFF => Outcome::BackingOff,
            tag::FAILED => Outcome::Failed,
            tag::DEAD => Outcome::Dead,
            tag::UNCERTAIN => Outcome::Uncertain,
            _ => Outcome::Unknown,
        });
    }
    Ok(Outcome::Unknown)
}

fn read_grant(claimed: &[u8]) -> Result<Grant<'_>, Status> {
    let lease = bytes(claimed, tag::LEASE)?;
    // Two's complement, as the wire has it.
    let seconds = number(lease, tag::SECONDS)? as i64;
    let lease = nanos(seconds, number(lease, tag::NANOS)? as i32);
    let token = bytes(claimed, tag::TOKEN_OF_CLAIMED)?;
    Ok(Grant { token, lease })
}

/// A `SessionError` has the fields and numbers of a google.rpc.Status, which is what the details of
/// a status are.
fn read_error(error: &[u8]) -> Result<Status, Status> {
    let code = Code::from_i32(number(error, tag::ERROR_CODE)? as i32);
    let message = String::from_utf8_lossy(bytes(error, tag::ERROR_MESSAGE)?);
    let details = bytes::Bytes::copy_from_slice(error);
    Ok(Status::with_details(code, message, details))
}

/// The field's bytes; empty when it is not there.
fn bytes(message: &[u8], wanted: u8) -> Result<&[u8], Status> {
    let mut fields = Fields(message);
    while let Some((tag, value)) = fields.next()? {
        if let (true, Value::Bytes(bytes)) = (tag == wanted, value) {
            return Ok(bytes);
        }
    }
    Ok(&[])
}

/// The field's number; 0 when it is not there.
fn number(message: &[u8], wanted: u8) -> Result<u64, Status> {
    let mut fields = Fields(message);
    while let Some((tag, value)) = fields.next()? {
        if let (true, Value::Number(number)) = (tag == wanted, value) {
            return Ok(number);
        }
    }
    Ok(0)
}

/// The fields of a message, in their order.
struct Fields<'a>(&'a [u8]);

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a fixed width; nothing that is looked at is.
    Fixed,
}

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<(u8, Value<'a>)>, Status> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.take(usize::try_from(len).unwrap_or(usize::MAX))?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(malformed()),
        };
        // What has a larger number came after this was written, and is passed over.
        let tag = u8::try_from(key >> 3).unwrap_or(u8::MAX);
        Ok(Some((tag, value)))
    }

    fn varint(&mut self) -> Result<u64, Status> {
        if let Some((&byte @ ..0x80, rest)) = self.0.split_first() {
            self.0 = rest;
            return Ok(byte.into());
        }
        decode_length_delimiter(&mut self.0)
            .map(|value| value as u64)
            .map_err(|_| malformed())
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Status> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(taken)
    }
}

fn malformed() -> Status {
    Status::internal("the server sent an answer that cannot be read")
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use semel_proto::v1::{self, claim_response, session_request, session_response};
    use tonic_types::StatusExt as _;

    use super::*;

    /// The message of a frame.
    fn unframed(framed: &[u8]) -> v1::SessionRequest {
        let mut rest = framed;
        let message = take_message(&mut rest).unwrap().expect("all of it");
        assert!(rest.is_empty());
        v1::SessionRequest::decode(message).expect("a message")
    }

    #[test]
    fn commands_are_what_the_generated_types_read() {
        let keys = Keys::new(None, 200, 1);
        for (id, namespace) in [(1, "n"), (300, "bench"), (u64::from(u32::MAX), "a.b_c")] {
            let mut framed = BytesMut::new();
            put_claim(&mut framed, id, namespace, (&keys, 7), &[9; 16]);
            let claim = v1::ClaimRequest {
                namespace: namespace.into(),
                key: keys.of(7),
                attempt_id: vec![9; 16].into(),
                owner: OWNER.into(),
                ..Default::default()
            };
            let expected = v1::SessionRequest {
                id,
                traceparent: String::new(),
                command: Some(session_request::Command::Claim(claim)),
            };
            assert_eq!(unframed(&framed), expected);
            assert_eq!(framed[FRAME_HEADER..], expected.encode_to_vec());

            let mut framed = BytesMut::new();
            put_complete(&mut framed, id, namespace, (&keys, 8), b"token", &[1; 300]);
            let complete = v1::CompleteRequest {
                namespace: namespace.into(),
                key: keys.of(8),
                token: "token".into(),
                result: vec![1; 300].into(),
            };
            let command = Some(session_request::Command::Complete(complete));
            assert_eq!(unframed(&framed).command, command);
        }
    }

    fn encoded(id: u64, answer: session_response::Answer) -> Vec<u8> {
        let answer = Some(answer);
        v1::SessionResponse { id, answer }.encode_to_vec()
    }

    fn claim_of(outcome: claim_response::Outcome) -> session_response::Answer {
        let outcome = Some(outcome);
        session_response::Answer::Claim(v1::ClaimResponse { outcome })
    }

    #[test]
    fn outcomes_are_read_as_the_generated_types_write_them() {
        let claimed = v1::Claimed {
            token: "token".into(),
            fence: i64::MAX,
            attempt: 3,
            lease: Some(prost_types::Duration {
                seconds: 30,
                nanos: 7,
            }),
            ..Default::default()
        };
        let message = encoded(
            u64::MAX,
            claim_of(claim_response::Outcome::Claimed(claimed)),
        );
        let (id, answer) = read_answer(&message).unwrap();
        assert_eq!(id, u64::MAX);
        let grant = Grant {
            token: b"token",
            lease: 30_000_000_007,
        };
        assert!(matches!(answer, Answer::Claim(Outcome::Claimed(it)) if it == grant));

        let completed = v1::Completed {
            fence: 1,
            ..Default::default()
        };
        let message = encoded(1, claim_of(claim_response::Outcome::Completed(completed)));
        let (_, answer) = read_answer(&message).unwrap();
        assert!(matches!(answer, Answer::Claim(Outcome::Completed(b""))));

        let busy = claim_response::Outcome::InProgress(v1::InProgress::default());
        let message = encoded(1, claim_of(busy));
        let (_, answer) = read_answer(&message).unwrap();
        assert!(matches!(answer, Answer::Claim(Outcome::InProgress)));

        let message = encoded(2, session_response::Answer::Complete(Default::default()));
        let (_, answer) = read_answer(&message).unwrap();
        assert!(matches!(answer, Answer::Complete));
    }

    #[test]
    fn an_error_keeps_its_reason() {
        let details = tonic_types::ErrorDetails::with_error_info("QUEUE_FULL", "semel.dev", []);
        let status = Status::with_error_details(Code::ResourceExhausted, "full", details);
        let error = v1::SessionError::decode(status.details()).unwrap();
        let message = encoded(4, session_response::Answer::Error(error));
        let (id, answer) = read_answer(&message).unwrap();
        assert_eq!(id, 4);
        let Answer::Error(status) = answer else {
            panic!("no error: {answer:?}");
        };
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "full");
        assert_eq!(
            status.get_details_error_info().unwrap().reason,
            "QUEUE_FULL"
        );
    }

    #[test]
    fn a_part_of_an_answer_is_waited_for_and_rubbish_is_refused() {
        let opened = v1::SessionOpened { window: 1_024 };
        let message = encoded(0, session_response::Answer::Opened(opened));
        let mut framed = vec![0, 0, 0, 0, message.len() as u8];
        framed.extend(&message);
        for len in 0..framed.len() {
            assert!(take_message(&mut &framed[..len]).unwrap().is_none());
        }
        let (_, answer) = read_answer(&message).unwrap();
        assert!(matches!(answer, Answer::Opened { window: 1_024 }));

        assert!(take_message(&mut &b"HTTP/1.1 400"[..]).is_err());
        for bad in [
            &b"\x0a\x05abc"[..],
            b"\x0f",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(read_answer(bad).is_err(), "{bad:?}");
        }
    }
}
