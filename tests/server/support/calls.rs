//! Requests with everything in its place, for tests to change one field of.

use std::time::Duration;

use semel_proto::v1::{
    self, claim_response, lookup_response, session_request, session_response::Answer,
};
use tonic::{Request, Status};

use super::{Client, within};

/// A request of any of the RPCs.
#[derive(Debug, Clone)]
pub enum Call {
    Claim(v1::ClaimRequest),
    Complete(v1::CompleteRequest),
    Fail(v1::FailRequest),
    Lookup(v1::LookupRequest),
    Extend(v1::ExtendRequest),
    Checkpoint(v1::CheckpointRequest),
}

impl Call {
    /// Sends it, and only says whether it was refused.
    pub async fn send(self, client: &mut Client) -> Result<(), Status> {
        self.answer(client).await.map(drop)
    }

    /// Sends it as a call of its own; the answer as a stream would have it.
    pub async fn answer(self, client: &mut Client) -> Result<Answer, Status> {
        let answer = async {
            Ok(match self {
                Self::Claim(it) => Answer::Claim(client.claim(it).await?.into_inner()),
                Self::Complete(it) => Answer::Complete(client.complete(it).await?.into_inner()),
                Self::Fail(it) => Answer::Fail(client.fail(it).await?.into_inner()),
                Self::Lookup(it) => Answer::Lookup(client.lookup(it).await?.into_inner()),
                Self::Extend(it) => Answer::Extend(client.extend(it).await?.into_inner()),
                Self::Checkpoint(it) => {
                    Answer::Checkpoint(client.checkpoint(it).await?.into_inner())
                }
            })
        };
        within(answer).await
    }

    /// As a stream has it.
    pub fn into_command(self) -> session_request::Command {
        use session_request::Command;
        match self {
            Self::Claim(request) => Command::Claim(request),
            Self::Complete(request) => Command::Complete(request),
            Self::Fail(request) => Command::Fail(request),
            Self::Lookup(request) => Command::Lookup(request),
            Self::Extend(request) => Command::Extend(request),
            Self::Checkpoint(request) => Command::Checkpoint(request),
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Claim(_) => "Claim",
            Self::Complete(_) => "Complete",
            Self::Fail(_) => "Fail",
            Self::Lookup(_) => "Lookup",
            Self::Extend(_) => "Extend",
            Self::Checkpoint(_) => "Checkpoint",
        }
    }
}

macro_rules! calls {
    ($($variant:ident($request:ident)),+) => {
        $(impl From<v1::$request> for Call {
            fn from(request: v1::$request) -> Self {
                Self::$variant(request)
            }
        })+
    };
}
calls!(
    Claim(ClaimRequest),
    Complete(CompleteRequest),
    Fail(FailRequest),
    Lookup(LookupRequest),
    Extend(ExtendRequest),
    Checkpoint(CheckpointRequest)
);

/// The namespace that requests are made for unless told otherwise.
pub const NAMESPACE: &str = "orders";

/// Attempt `n`'s Claim.
pub fn claim(key: &str, n: u8) -> v1::ClaimRequest {
    v1::ClaimRequest {
        namespace: NAMESPACE.into(),
        key: key.into(),
        attempt_id: vec![n; 16].into(),
        owner: format!("worker-{n}"),
        ..Default::default()
    }
}

pub fn complete(key: &str, token: &[u8], result: &[u8]) -> v1::CompleteRequest {
    v1::CompleteRequest {
        namespace: NAMESPACE.into(),
        key: key.into(),
        token: token.to_vec().into(),
        result: result.to_vec().into(),
    }
}

pub fn fail(key: &str, token: &[u8], kind: v1::FailureKind) -> v1::FailRequest {
    v1::FailRequest {
        namespace: NAMESPACE.into(),
        key: key.into(),
        token: token.to_vec().into(),
        kind: kind.into(),
        error: "boom".into(),
        ..Default::default()
    }
}

/// Settles a claim: as done where no failure is named. It has to be recorded.
pub async fn settle(client: &mut Client, key: &str, token: &[u8], kind: Option<v1::FailureKind>) {
    match kind {
        None => drop(client.complete(complete(key, token, b"")).await.unwrap()),
        Some(kind) => drop(client.fail(fail(key, token, kind)).await.unwrap()),
    }
}

pub fn lookup(key: &str) -> v1::LookupRequest {
    v1::LookupRequest {
        namespace: NAMESPACE.into(),
        key: key.into(),
        include_delivery: true,
    }
}

pub fn extend(key: &str, token: &[u8]) -> v1::ExtendRequest {
    v1::ExtendRequest {
        namespace: NAMESPACE.into(),
        key: key.into(),
        token: token.to_vec().into(),
        lease: None,
    }
}

pub fn checkpoint(key: &str, token: &[u8], checkpoint: &[u8]) -> v1::CheckpointRequest {
    v1::CheckpointRequest {
        namespace: NAMESPACE.into(),
        key: key.into(),
        token: token.to_vec().into(),
        checkpoint: checkpoint.to_vec().into(),
    }
}

pub fn millis(millis: i64) -> Option<prost_types::Duration> {
    span(millis / 1_000, (millis % 1_000 * 1_000_000) as i32)
}

pub fn span(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos })
}

/// A duration of the wire, which has to be there and not be negative.
#[track_caller]
pub fn length(duration: Option<prost_types::Duration>) -> Duration {
    let duration = duration.expect("a duration");
    duration.try_into().expect("not negative")
}

/// Sends a Claim and says what stands.
pub async fn outcome(client: &mut Client, request: v1::ClaimRequest) -> claim_response::Outcome {
    let answer = within(client.claim(request)).await.expect("an answer");
    answer.into_inner().outcome.expect("always set")
}

/// Sends a Claim that has to be granted.
pub async fn claimed(client: &mut Client, request: v1::ClaimRequest) -> v1::Claimed {
    match outcome(client, request).await {
        claim_response::Outcome::Claimed(claimed) => claimed,
        other => panic!("not claimed: {other:?}"),
    }
}

/// Looks a key up that has to be there.
pub async fn looked_up(client: &mut Client, key: &str) -> v1::LookupResponse {
    let answer = within(client.lookup(lookup(key))).await;
    answer.expect("something stands").into_inner()
}

/// What a Lookup finds under a key that has to be there.
pub async fn stands(client: &mut Client, key: &str) -> lookup_response::Outcome {
    looked_up(client, key).await.outcome.expect("always set")
}

/// What a Lookup finds, in a word.
pub async fn word(client: &mut Client, key: &str) -> &'static str {
    use lookup_response::Outcome;
    match within(client.lookup(lookup(key))).await {
        Ok(answer) => match answer.into_inner().outcome.expect("always set") {
            Outcome::InProgress(_) => "in progress",
            Outcome::BackingOff(_) => "backing off",
            Outcome::Completed(_) => "completed",
            Outcome::Failed(_) => "failed",
            Outcome::Dead(_) => "dead",
            Outcome::Uncertain(_) => "uncertain",
        },
        Err(status) if status.code() == tonic::Code::NotFound => "absent",
        Err(status) => panic!("{status}"),
    }
}

/// A request with a deadline, as its caller would put it on the wire.
pub fn by<T>(request: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(request);
    request.set_timeout(timeout);
    request
}
