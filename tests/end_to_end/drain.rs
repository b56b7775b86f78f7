//! SIGTERM: what is under way is finished, and nothing keeps the server for ever.

use std::{
    collections::BTreeMap,
    error::Error as _,
    io::Write as _,
    net::TcpStream,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use semel_client::{ClaimOutcome, RecordState};
use semel_proto::v1::{self as wire, claim_response};
use tokio::{sync::watch, task::JoinSet};
use tonic::{Code, Request, Response, Status};

use crate::support::{Engine, Health, PATIENCE, Server, figure, raw, within};

const NAMESPACE: &str = "drain";
const CALLERS: usize = 24;
const HELD: usize = 5;
const WAITERS: usize = 4;
/// Much longer than anything here needs.
const DRAIN: Duration = Duration::from_secs(10);

/// One call, seen from outside.
#[derive(Debug)]
struct Seen {
    key: String,
    claim: bool,
    begun: Instant,
    ended: Instant,
    outcome: Outcome,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Ok,
    /// The server said UNAVAILABLE.
    Unavailable,
    /// Never carried out: its connection was being closed (GOAWAY) before it was its turn to be
    /// sent, or the server said that it had not begun it. Only this process's own HTTP/2 says so,
    /// so it is proved below: after the restart, nothing must be there of it.
    NotBegun,
    /// Anything else.
    Lost(String),
}

impl Outcome {
    fn of(status: Option<&Status>) -> Self {
        let Some(status) = status else {
            return Self::Ok;
        };
        // Tonic gives a source to those that it made itself, and none to the server's.
        if status.code() == Code::Unavailable && status.source().is_none() {
            return Self::Unavailable;
        }
        let mut source = status.source();
        while let Some(error) = source {
            let canceled = error.downcast_ref().is_some_and(hyper::Error::is_canceled);
            // GOAWAY with NO_ERROR, in the words of the crate h2. A call that the server had begun
            // and then dropped would end in a broken pipe.
            if canceled || error.to_string().contains("not a result of an error") {
                return Self::NotBegun;
            }
            source = error.source();
        }
        Self::Lost(format!("{status:?}"))
    }
}

#[derive(Default)]
struct Told {
    calls: Vec<Seen>,
    claimed: Vec<(String, i64)>,
    completed: Vec<(String, Bytes)>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_answers_every_call_on_sqlite() {
    a_stop_under_load_answers_every_call(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_answers_every_call_on_postgres() {
    a_stop_under_load_answers_every_call(Engine::Postgres).await;
}

async fn a_stop_under_load_answers_every_call(engine: Engine) {
    let config = format!("drain = \"{}s\"\n", DRAIN.as_secs());
    let mut server = Server::start(&engine.place().await, &config).await;
    let address = server.address();
    let waiters = wait_for_held_keys(&address).await;

    let told = Arc::new(Mutex::new(Told::default()));
    let answered = watch::Sender::new(0usize);
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        callers.spawn(work_until_refused(
            address.clone(),
            number,
            told.clone(),
            answered.clone(),
        ));
    }
    let mut enough = answered.subscribe();
    within(PATIENCE, "some answers", enough.wait_for(|n| *n >= 400))
        .await
        .expect("the callers are at work");

    let asked = Instant::now();
    server.terminate();
    let status = server.ended(DRAIN).await;
    let stopped = asked.elapsed();
    assert!(status.success(), "{status}");
    assert!(server.logged("stopped"));
    assert!(
        !server.logged("end of the drain time"),
        "something kept the server"
    );

    within(PATIENCE, "the callers' end", callers.join_all()).await;
    let mut waited = 0;
    for waiter in within(PATIENCE, "the waiters' end", waiters.join_all()).await {
        let answer = waiter.expect("a wait is answered").into_inner().outcome;
        assert!(
            matches!(answer, Some(claim_response::Outcome::InProgress(_))),
            "a waiter was told {answer:?}"
        );
        waited += 1;
    }

    let told = std::mem::take(&mut *told.lock().expect("nobody panicked"));
    let mut under_way = BTreeMap::<Outcome, usize>::new();
    for call in &told.calls {
        // Begun before the signal, and still under way while it was sent.
        if call.begun < asked && call.ended > asked {
            *under_way.entry(call.outcome.clone()).or_default() += 1;
        }
    }
    assert!(
        !under_way.keys().any(|end| matches!(end, Outcome::Lost(_))),
        "calls were lost: {under_way:#?}"
    );
    assert_eq!(waited, HELD * WAITERS);
    assert!(
        under_way.contains_key(&Outcome::Ok),
        "no call was under way: {under_way:?}"
    );

    server.restart().await;
    let client = server.client();
    for (key, fence) in &told.claimed {
        let record = client.lookup(NAMESPACE, key).await.expect("answered");
        let state = record.expect("a claim that was acknowledged stands").state;
        match state {
            RecordState::InProgress(it) => assert_eq!(it.fence.get(), *fence, "{key}"),
            RecordState::Completed(it) => assert_eq!(it.fence.get(), *fence, "{key}"),
            other => panic!("{key}: {other:?}"),
        }
    }
    for call in &told.calls {
        if call.outcome == Outcome::NotBegun {
            let record = client.lookup(NAMESPACE, &call.key).await.expect("answered");
            let state = record.map(|record| record.state);
            let untouched = match &state {
                None => call.claim,
                Some(state) => !call.claim && matches!(state, RecordState::InProgress(_)),
            };
            assert!(untouched, "{call:?} was carried out: {state:?}");
        }
    }
    for (key, result) in &told.completed {
        let again = semel_client::Claim::new(NAMESPACE, key);
        match client.claim(&again).await.expect("answered") {
            ClaimOutcome::Completed(it) => assert_eq!(it.result, *result, "{key}"),
            other => panic!("{key}: completed, and now {other:?}"),
        }
    }
    figure(
        &format!("a stop under load on {engine:?}"),
        &format!(
            "{} calls, {} completions acknowledged, under way at the signal {under_way:?} and \
             {waited} waiters, stopped after {stopped:?}",
            told.calls.len(),
            told.completed.len()
        ),
    );
}

type Answers = JoinSet<Result<Response<wire::ClaimResponse>, Status>>;

/// Claims that wait for keys whose holders do not settle.
async fn wait_for_held_keys(address: &str) -> Answers {
    let mut waiters = JoinSet::new();
    let mut stub = raw(address);
    for number in 0..HELD {
        let key = format!("held-{number}");
        let answer = stub
            .claim(claim(&key))
            .await
            .expect("answered")
            .into_inner();
        assert!(matches!(
            answer.outcome,
            Some(claim_response::Outcome::Claimed(_))
        ));
        for _ in 0..WAITERS {
            let mut stub = raw(address);
            let mut request = claim(&key);
            request.wait = Some(prost_types::Duration {
                seconds: 60,
                nanos: 0,
            });
            let mut request = Request::new(request);
            request.set_timeout(Duration::from_secs(90));
            waiters.spawn(async move { stub.claim(request).await });
        }
    }
    waiters
}

/// Claims and completes, key after key, until it is not answered OK.
async fn work_until_refused(
    address: String,
    number: usize,
    told: Arc<Mutex<Told>>,
    answered: watch::Sender<usize>,
) {
    let mut stub = raw(&address);
    let note = |key: &str, claim: bool, begun: Instant, status: Option<&Status>| {
        let seen = Seen {
            key: key.to_owned(),
            claim,
            begun,
            ended: Instant::now(),
            outcome: Outcome::of(status),
        };
        told.lock().expect("nobody panicked").calls.push(seen);
        answered.send_modify(|n| *n += 1);
    };
    for turn in 0.. {
        let key = format!("work-{number}-{turn}");
        let begun = Instant::now();
        let answer = within(PATIENCE, "a claim", stub.claim(claim(&key))).await;
        note(&key, true, begun, answer.as_ref().err());
        let Ok(answer) = answer else { return };
        let Some(claim_response::Outcome::Claimed(claimed)) = answer.into_inner().outcome else {
            panic!("{key}: not granted");
        };
        let fence = (key.clone(), claimed.fence);
        told.lock().expect("nobody panicked").claimed.push(fence);

        let result = Bytes::from(format!("result of {key}"));
        let request = wire::CompleteRequest {
            namespace: NAMESPACE.into(),
            key: key.clone(),
            token: claimed.token,
            result: result.clone(),
        };
        let begun = Instant::now();
        let answer = within(PATIENCE, "a completion", stub.complete(request)).await;
        note(&key, false, begun, answer.as_ref().err());
        if answer.is_err() {
            return;
        }
        told.lock()
            .expect("nobody panicked")
            .completed
            .push((key, result));
    }
}

fn claim(key: &str) -> wire::ClaimRequest {
    wire::ClaimRequest {
        namespace: NAMESPACE.into(),
        key: key.into(),
        attempt_id: rand::random::<[u8; 16]>().to_vec().into(),
        lease: Some(prost_types::Duration {
            seconds: 600,
            nanos: 0,
        }),
        ..wire::ClaimRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_never_end_keep_the_server_for_the_drain_time_and_no_longer() {
    let place = Engine::Sqlite.place().await;
    let mut server = Server::start(&place, "drain = \"1s\"\n").await;
    let client = server.client();
    let claim = semel_client::Claim::new(NAMESPACE, "before");
    let ClaimOutcome::Claimed(claimed) = client.claim(&claim).await.expect("answered") else {
        panic!("not granted");
    };
    client.complete(&claimed.held, "done").await.expect("done");

    let connect = || TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
    // Says nothing; stops in the middle of a preface; never ends a call's body; reads for ever.
    let silent = connect();
    let mut hesitant = connect();
    hesitant.write_all(b"PRI * HTTP/2.0").expect("written");
    let mut endless = connect();
    endless
        .write_all(&a_call_that_never_ends())
        .expect("written");
    let mut watching = Health::of(&server.address()).await;
    watching.until(true).await;

    let asked = Instant::now();
    server.terminate();
    let status = server.ended(Duration::from_secs(10)).await;
    let stopped = asked.elapsed();
    assert!(status.success(), "{status}");
    assert!(server.logged("end of the drain time"), "nothing kept it");
    assert!(
        (Duration::from_secs(1)..Duration::from_secs(4)).contains(&stopped),
        "stopped after {stopped:?}"
    );
    drop((silent, hesitant, endless, watching));

    server.restart().await;
    let outcome = server
        .client()
        .claim(&claim.fresh())
        .await
        .expect("answered");
    assert!(matches!(outcome, ClaimOutcome::Completed(it) if it.result == "done"));
    figure(
        "a stop with connections that never end",
        &format!("4 connections, drain time 1 s, stopped after {stopped:?}"),
    );
}

/// HTTP/2 by hand: the preface, no settings, and the headers of a Claim whose body is yet to come.
fn a_call_that_never_ends() -> Vec<u8> {
    let mut headers = vec![
        0x83, // :method POST
        0x86, // :scheme http
    ];
    let mut named = |name: &[u8], value: &str| {
        headers.extend_from_slice(name);
        headers.push(u8::try_from(value.len()).expect("short"));
        headers.extend_from_slice(value.as_bytes());
    };
    // Literals with names from the static table: :path, :authority, content-type; and a new name.
    named(&[0x44], "/semel.v1.IdempotencyService/Claim");
    named(&[0x41], "127.0.0.1");
    named(&[0x5f], "application/grpc");
    named(&[0x40, 2, b't', b'e'], "trailers");

    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // An empty SETTINGS frame, and HEADERS with END_HEADERS on stream 1.
    bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let len = u8::try_from(headers.len()).expect("short");
    bytes.extend_from_slice(&[0, 0, len, 1, 4, 0, 0, 0, 1]);
    bytes.extend_from_slice(&headers);
    bytes
}
