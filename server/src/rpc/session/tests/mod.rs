//! An outbox by itself, and a stream's deadline without a network.

mod body;
mod bounds;
mod patience;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use semel_proto::v1::{session_response::Answer, session_service_server::SessionServiceServer};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout},
};
use tokio_stream::StreamExt as _;
use tonic::{Code, body::Body};
use tower::ServiceExt as _;

use super::{outbox::Reserved, *};
use crate::{
    key::{
        Fence, KeyId, Timestamp,
        transition::{ClaimReply, Outcome, Reply},
    },
    lanes::{Answers as _, LaneError, LaneSettings, Ticket},
    store::{
        SharedStore,
        sqlite::{SqliteOptions, SqliteStore},
    },
    telemetry::{About, TelemetrySettings},
};

const SOON: Duration = Duration::from_secs(10);
const MIB: usize = 1024 * 1024;

fn place() -> OwnedSemaphorePermit {
    let places = Arc::new(Semaphore::new(1));
    places.try_acquire_owned().unwrap()
}

fn ticket(number: u64) -> Ticket {
    Ticket {
        about: About::default(),
        number,
        window: place(),
        budget: place(),
    }
}

fn telemetry() -> Arc<Telemetry> {
    Telemetry::local(&TelemetrySettings::default())
}

fn key() -> KeyId {
    KeyId::parse("test", "k").unwrap()
}

/// The answer of a Claim whose key has a result of so many bytes.
fn completed(bytes: usize) -> Result<Reply, LaneError> {
    Ok(Reply::Claim(ClaimReply::Standing(Outcome::Completed {
        result: vec![7; bytes].into(),
        completed_at: Timestamp::from_micros(1),
        fence: Fence::from_i64(1),
        attempt: 1,
        traceparent: String::new(),
    })))
}

fn open(budget: &Arc<Budget>) -> (Arc<Outbox>, AnswerStream) {
    let account = Account::open(budget.clone());
    Outbox::open(account, [Some(place()), None], telemetry())
}

/// The next answer, as if it were written by now.
async fn next(answers: &mut AnswerStream) -> Option<Result<v1::SessionResponse, Status>> {
    let answer = timeout(SOON, answers.next()).await.expect("a message");
    drop(answers.on_its_way().take());
    answer
}

/// Takes the next answer out, and says whether it is a result. Else it is to be asked again.
async fn is_result(answers: &mut AnswerStream) -> bool {
    match next(answers).await.unwrap().unwrap().answer.unwrap() {
        Answer::Claim(_) | Answer::Fail(_) => true,
        Answer::Error(error) => {
            assert_eq!(error.code, Code::ResourceExhausted as i32);
            false
        }
        _ => panic!("another answer"),
    }
}

async fn opened(answers: &mut AnswerStream) {
    let first = next(answers).await.unwrap().unwrap();
    assert!(matches!(first.answer, Some(Answer::Opened(_))), "{first:?}");
}

#[tokio::test]
async fn the_budget_has_its_place_back_when_an_answer_is_decided_and_the_window_when_it_is_taken() {
    let (outbox, mut answers) = open(&Budget::new(MIB));
    opened(&mut answers).await;
    let places = || Arc::new(Semaphore::new(1));
    let (window, budget) = (places(), places());
    let ticket = Ticket {
        about: About::default(),
        number: 1,
        window: window.clone().try_acquire_owned().unwrap(),
        budget: budget.clone().try_acquire_owned().unwrap(),
    };
    outbox.take(ticket, key(), completed(10));
    let free = |it: &Arc<Semaphore>| it.available_permits();
    assert_eq!((free(&window), free(&budget)), (0, 1));
    assert!(is_result(&mut answers).await);
    assert_eq!((free(&window), free(&budget)), (1, 1));
}

#[tokio::test]
async fn the_stream_ends_when_the_last_answer_is_taken_and_says_how() {
    for end in [None, Some(status::deadline_exceeded())] {
        let (outbox, mut answers) = open(&Budget::new(MIB));
        opened(&mut answers).await;
        if let Some(end) = &end {
            outbox.end_with(end.clone());
        }
        outbox.take(ticket(1), key(), completed(1));
        outbox.lost(ticket(2));
        drop(outbox);
        assert!(is_result(&mut answers).await);
        let lost = next(&mut answers).await.unwrap().unwrap();
        let Some(Answer::Error(error)) = lost.answer else {
            panic!("{lost:?}")
        };
        assert_eq!((lost.id, error.code), (2, Code::Unavailable as i32));
        assert_eq!(error.details.len(), 2, "{error:?}");
        let last = next(&mut answers).await.map(|end| end.unwrap_err().code());
        assert_eq!(last, end.map(|status| status.code()));
        assert!(next(&mut answers).await.is_none());
    }
}

/// Sends one Lookup to a service of its own and ends, with this deadline. What comes back: how many
/// messages, and the status.
async fn look_up_by(deadline: Deadline) -> (usize, String) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), SqliteOptions::default())
        .await
        .unwrap();
    let store: SharedStore = Arc::new(store);
    let policies = Policies::seed(&store, None, vec![]).await.unwrap();
    let policies = Arc::new(policies);
    let lanes = Arc::new(Lanes::start(
        &store,
        &policies,
        &LaneSettings::default(),
        &telemetry(),
    ));
    let stop = CancellationToken::new();
    let service = SessionRpc::new(
        lanes.clone(),
        policies,
        Admission::new(10),
        telemetry(),
        stop,
    );

    let command = v1::SessionRequest {
        id: 1,
        traceparent: String::new(),
        command: Some(v1::session_request::Command::Lookup(v1::LookupRequest {
            namespace: "test".into(),
            key: "k".into(),
            include_delivery: false,
        })),
    };
    let mut framed = vec![0];
    let message = command.encode_to_vec();
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    let request = http::Request::post("/semel.v1.SessionService/Session")
        .extension(deadline)
        .body(Body::new(Full::new(Bytes::from(framed))))
        .unwrap();
    let response = SessionServiceServer::new(service).oneshot(request).await;
    let body = response.unwrap().into_body().collect();
    let body = timeout(SOON, body).await.unwrap().unwrap();
    let status = body.trailers().unwrap()["grpc-status"].to_str().unwrap();
    let status = status.to_owned();
    let mut bytes = body.to_bytes();
    let mut messages = 0;
    while !bytes.is_empty() {
        let len = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
        v1::SessionResponse::decode(bytes.split_to(5 + len).slice(5..)).unwrap();
        messages += 1;
    }
    lanes.close().await;
    store.close().await;
    (messages, status)
}

#[tokio::test]
async fn only_a_deadline_of_the_callers_ends_a_stream() {
    let passed = Instant::now();
    let by_server = look_up_by(Deadline::of_the_server(passed)).await;
    assert_eq!(by_server, (2, "0".into()));
    let by_caller = look_up_by(Deadline::of_the_caller(passed)).await;
    assert_eq!(by_caller, (1, (Code::DeadlineExceeded as i32).to_string()));
}

#[test]
fn an_error_without_details_is_still_one_in_a_stream() {
    let bare = status::in_session(&Status::internal("oops"));
    assert_eq!(
        (bare.code, bare.message.as_str()),
        (Code::Internal as i32, "oops")
    );
    let full = status::in_session(&status::deadline_exceeded());
    assert_eq!(full.code, Code::DeadlineExceeded as i32);
    assert_eq!(full.details.len(), 1);
}
