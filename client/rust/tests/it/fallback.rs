//! Where streams cannot be had, calls go alone; where the server is away, it is away.

use std::time::Instant;

use axum::http::StatusCode;
use semel_client::{Claim, Error, Transport};
use semel_proto::v1::{self as wire, SessionResponse, session_response::Answer};
use tokio::net::TcpSocket;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::support::{
    Fake, Fault, Garbled, Rpc, Sessions, claimed, ms, opened, quick, reason, soon,
};

/// Longer than a call waits for a stream, and shorter than its try.
const AT_ONCE: std::time::Duration = std::time::Duration::from_millis(700);

#[tokio::test]
async fn where_streams_are_refused_calls_go_alone_and_at_once() {
    let no_opened = Answer::Lookup(wire::LookupResponse::default());
    let no_window = Answer::Opened(wire::SessionOpened { window: 0 });
    let begin_with = |answer| {
        Sessions::BeginWith(Box::new(SessionResponse {
            id: 0,
            answer: Some(answer),
        }))
    };
    for sessions in [
        Sessions::Unknown,
        Sessions::Refused(Status::unimplemented("no sessions")),
        Sessions::Refused(Status::internal("no sessions")),
        Sessions::Refused(Status::unknown("no sessions")),
        Sessions::Refused(Status::permission_denied("no sessions")),
        Sessions::Refused(Status::unavailable("no sessions")),
        Sessions::Refused(reason(Code::ResourceExhausted, "TOO_MANY_REQUESTS", &[])),
        Sessions::Http(StatusCode::BAD_REQUEST),
        Sessions::Http(StatusCode::UNAUTHORIZED),
        Sessions::Http(StatusCode::FORBIDDEN),
        Sessions::Http(StatusCode::NOT_FOUND),
        Sessions::Http(StatusCode::UPGRADE_REQUIRED),
        Sessions::Http(StatusCode::BAD_GATEWAY),
        Sessions::Http(StatusCode::OK),
        Sessions::Empty,
        begin_with(no_opened),
        begin_with(no_window),
        Sessions::BeginWith(Box::default()),
    ] {
        let fake = Fake::with(sessions).await;
        let client = quick().channels(2).connect(fake.address()).unwrap();
        let began = Instant::now();
        let held = claimed(soon(client.claim(&Claim::new("ns", "k"))).await.unwrap()).held;
        for _ in 0..10 {
            soon(client.lookup("ns", "k")).await.unwrap();
            soon(client.checkpoint(&held, "half")).await.unwrap();
        }
        assert!(began.elapsed() < AT_ONCE * 4, "{:?}", began.elapsed());
        for rpc in [Rpc::Claim, Rpc::Lookup, Rpc::Checkpoint] {
            assert!(fake.received(rpc).iter().all(|each| each.session.is_none()));
        }
        // Once for each connection and not for each call.
        assert!(fake.sessions.attempts() <= 3);
        assert_eq!(fake.received(Rpc::Claim).len(), 1);
        assert_eq!(fake.received(Rpc::Lookup).len(), 10);
    }
}

#[tokio::test]
async fn where_streams_are_held_back_the_first_call_goes_alone_after_a_while() {
    tokio::join!(
        held_back(Sessions::Silent),
        held_back(Sessions::Mute),
        held_back(Sessions::Deaf),
    );
}

async fn held_back(sessions: Sessions) {
    let fake = Fake::with(sessions).await;
    let client = quick()
        .channels(1)
        .connect_timeout(ms(100))
        .connect(fake.address())
        .unwrap();

    let began = Instant::now();
    claimed(soon(client.claim(&Claim::new("ns", "k"))).await.unwrap());
    // In its first try, which the default lets take three seconds.
    assert!(began.elapsed() < ms(2_900), "{:?}", began.elapsed());
    assert_eq!(fake.received(Rpc::Claim).len(), 1);
    assert_eq!(fake.received(Rpc::Claim)[0].session, None);

    // Once that is known, nobody waits for it any more.
    tokio::time::sleep(ms(2_500)).await;
    let began = Instant::now();
    for _ in 0..5 {
        soon(client.lookup("ns", "k")).await.unwrap();
    }
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    assert_eq!(fake.sessions.attempts(), 1);
}

#[tokio::test]
async fn a_short_call_does_not_spend_its_time_on_a_stream_that_is_held_back() {
    for sessions in [Sessions::Silent, Sessions::Deaf] {
        let fake = Fake::with(sessions).await;
        let client = quick().deadline(ms(400)).connect(fake.address()).unwrap();
        soon(client.lookup("ns", "k")).await.unwrap();
        assert_eq!(fake.received(Rpc::Lookup).len(), 1);
    }
}

#[tokio::test]
async fn a_stream_that_answers_another_question_than_the_first_is_no_session() {
    for how in [
        Garbled::Kind,
        Garbled::UnknownId,
        Garbled::IdZero,
        Garbled::Nothing,
        Garbled::OpenedAgain,
    ] {
        let fake = Fake::start().await;
        fake.sessions.garble(how);
        let client = quick().channels(1).connect(fake.address()).unwrap();
        for _ in 0..5 {
            soon(client.lookup("ns", "k")).await.unwrap();
        }
        let came = fake.received(Rpc::Lookup);
        assert_eq!(came.len(), 5, "{how:?}");
        assert!(came.iter().all(|each| each.session.is_none()), "{how:?}");
        assert_eq!(fake.sessions.attempts(), 1, "{how:?}");
    }
}

#[tokio::test]
async fn a_stream_that_ends_when_it_has_opened_is_tried_once_more() {
    let fake = Fake::with(Sessions::BeginWith(Box::new(opened(8)))).await;
    let client = quick().channels(1).connect(fake.address()).unwrap();
    for _ in 0..5 {
        soon(client.lookup("ns", "k")).await.unwrap();
    }
    let came = fake.received(Rpc::Lookup);
    assert_eq!(came.len(), 5);
    assert!(came.iter().all(|each| each.session.is_none()));
    assert_eq!(fake.sessions.attempts(), 2);
}

#[tokio::test]
async fn where_no_stream_answers_a_call_goes_alone_after_one_try_and_then_at_once() {
    let fake = Fake::start().await;
    let client = quick()
        .channels(1)
        .try_timeout(ms(100))
        .connect(fake.address())
        .unwrap();
    fake.always(Rpc::Lookup, Fault::HangOnSession);

    let mut seen = 0;
    let mut was_on_session = false;
    loop {
        soon(client.lookup("ns", "k")).await.unwrap();
        let came = fake.received(Rpc::Lookup).split_off(seen);
        seen += came.len();
        let (first, others) = came.split_first().unwrap();
        // Several on a machine that is too busy to answer one within its try.
        assert!(others.iter().all(|each| each.session.is_none()));
        match first.session {
            None if was_on_session => break,
            None => {}
            stream => assert_eq!(stream, Some(1)),
        }
        was_on_session |= first.session.is_some();
    }
    assert_eq!(fake.sessions.attempts(), 1);
}

#[tokio::test]
async fn what_a_session_has_no_room_for_goes_alone_once() {
    let fake = Fake::start().await;
    let client = quick().channels(1).connect(fake.address()).unwrap();
    for _ in 0..2 {
        let mut details = ErrorDetails::with_retry_info(Some(ms(1)));
        details.set_error_info("QUEUE_FULL", semel_proto::ERROR_DOMAIN, []);
        let full = Status::with_error_details(Code::ResourceExhausted, "full", details);
        fake.next(Rpc::Lookup, Fault::Refuse(full));
    }

    soon(client.lookup("ns", "k")).await.unwrap();

    let came: Vec<_> = fake.received(Rpc::Lookup);
    let came: Vec<_> = came.iter().map(|each| each.session).collect();
    assert_eq!(came, [Some(1), None, Some(1)]);
}

#[tokio::test]
async fn a_caller_that_semel_itself_refuses_is_told_so() {
    for code in [Code::Unauthenticated, Code::PermissionDenied] {
        let fake = Fake::with(Sessions::AtFirst(vec![reason(code, "NOT_ALLOWED", &[])])).await;
        let client = quick().channels(1).connect(fake.address()).unwrap();

        let refused = soon(client.lookup("ns", "k")).await.unwrap_err();

        let is_told = match code {
            Code::Unauthenticated => matches!(refused, Error::Unauthenticated { .. }),
            _ => matches!(refused, Error::PermissionDenied { .. }),
        };
        assert!(is_told, "{refused:?}");
        assert_eq!(fake.received(Rpc::Lookup).len(), 0);
        // And asks again for the next.
        soon(client.lookup("ns", "k")).await.unwrap();
        assert_eq!(fake.received(Rpc::Lookup)[0].session, Some(2));
    }
}

#[tokio::test]
async fn a_server_that_is_about_to_stop_is_asked_again() {
    let stopping = reason(Code::Unavailable, "SHUTTING_DOWN", &[]);
    let fake = Fake::with(Sessions::AtFirst(vec![stopping.clone(), stopping])).await;
    let client = quick().channels(1).connect(fake.address()).unwrap();
    soon(client.lookup("ns", "k")).await.unwrap();
    assert_eq!(fake.received(Rpc::Lookup)[0].session, Some(3));
}

#[tokio::test]
async fn a_server_that_was_away_is_no_reason_to_go_alone() {
    let fake = Fake::start().await;
    // A port that is taken, and that nobody listens on yet.
    let port = TcpSocket::new_v4().unwrap();
    port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = format!("http://{}", port.local_addr().unwrap());
    let client = quick().connect(address).unwrap();
    for _ in 0..10 {
        let short = client.with_deadline(ms(50));
        let away = soon(short.lookup("ns", "k")).await.unwrap_err();
        assert!(away.is_unavailable(), "{away:?}");
    }
    fake.network.also_at(port.listen(16).unwrap());
    soon(client.lookup("ns", "k")).await.unwrap();
    assert!(fake.received(Rpc::Lookup)[0].session.is_some());
}

#[tokio::test]
async fn a_network_that_hangs_up_again_and_again_is_no_session_and_no_spin() {
    let fake = Fake::start().await;
    fake.network.hang_up(true);
    let client = quick()
        .channels(1)
        .backoff(ms(20), ms(20))
        .connect(fake.address())
        .unwrap();
    let away = soon(client.with_deadline(ms(500)).lookup("ns", "k")).await;
    assert!(away.unwrap_err().is_unavailable());
    // One for each try, which are 10 ms apart on average.
    assert!(
        fake.network.connections() < 150,
        "{}",
        fake.network.connections()
    );

    fake.network.hang_up(false);
    soon(client.lookup("ns", "k")).await.unwrap();
    assert_eq!(fake.received(Rpc::Lookup).len(), 1);
}

#[tokio::test]
async fn a_client_that_is_to_use_sessions_only_fails_without() {
    let fake = Fake::with(Sessions::Unknown).await;
    let client = quick()
        .transport(Transport::Session)
        .connect(fake.address())
        .unwrap();
    let error = soon(client.lookup("ns", "k")).await.unwrap_err();
    assert!(
        matches!(&error, Error::Other(status) if status.code() == Code::Unimplemented),
        "{error:?}"
    );

    let fake = Fake::with(Sessions::Silent).await;
    let client = quick()
        .deadline(ms(300))
        .transport(Transport::Session)
        .connect(fake.address())
        .unwrap();
    let error = soon(client.lookup("ns", "k")).await.unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
    assert!(fake.received(Rpc::Lookup).is_empty());
}

#[tokio::test]
async fn a_client_that_is_to_do_without_sessions_opens_none() {
    let fake = Fake::start().await;
    let client = quick()
        .transport(Transport::Unary)
        .connect(fake.address())
        .unwrap();
    soon(client.lookup("ns", "k")).await.unwrap();
    assert_eq!(fake.sessions.attempts(), 0);
    assert_eq!(fake.received(Rpc::Lookup)[0].session, None);
}
