//! Handlers whose clients leave, work that goes on after its answer, and whose answer it is.

use std::{sync::Arc, time::Duration};

use semel_client::{
    Claim, ClaimOutcome, Context, RecordState,
    webhook::{Preset, Receiver},
};
use tokio::sync::Semaphore;

use crate::support::*;

const KEY: [(&str, &str); 1] = [("idempotency-key", "k")];

#[tokio::test]
async fn a_client_that_hangs_up_does_not_stop_the_handler_half_way() {
    let semel = Semel::start("").await;
    let gate = Arc::new(Semaphore::new(0));
    let service = gated(by_key(semel.client()), &gate).await;
    let caller = Caller::new();
    let hasty = begin(&service, &KEY).await;
    hasty.abort();
    let _ = hasty.await;
    // The server has seen that the client is gone when it takes the next one.
    assert_eq!(caller.post(&service.url(), &KEY, "").await.status, 409);
    gate.add_permits(1);
    within(service.receiver.drain()).await;
    let again = caller.post(&service.url(), &KEY, "").await;
    assert_eq!((again.status, again.is_replayed()), (200, true));
    assert_eq!(service.begun(), 1);
}

#[tokio::test]
async fn one_principals_answer_is_never_anothers() {
    let semel = Semel::start("").await;
    let receiver = by_key(semel.client()).principal(|parts| {
        let account = parts.headers.get("x-account")?.to_str().ok()?;
        Some(account.to_owned())
    });
    let service = Service::start(receiver, |_, headers, _| {
        let account = headers["x-account"].to_str().unwrap().to_owned();
        say(200, format!("for {account}"))
    })
    .await;
    let caller = Caller::new();
    for (account, is_replayed) in [("a", false), ("b", false), ("a", true), ("b", true)] {
        let headers = [KEY[0], ("x-account", account)];
        let answer = caller.post(&service.url(), &headers, "").await;
        assert_eq!(answer.body, format!("for {account}"));
        assert_eq!(answer.is_replayed(), is_replayed);
    }
    let nobody = caller.post(&service.url(), &KEY, "").await;
    assert_eq!(
        (nobody.status, nobody.problem().as_str()),
        (401, "no-principal")
    );
}

#[tokio::test]
async fn the_handler_is_told_of_its_claim_and_has_keys_for_its_own_calls() {
    let semel = Semel::start("").await;
    let receiver = by_key(semel.client());
    let app = axum::Router::new()
        .route(
            "/",
            axum::routing::post(
                |axum::Extension(work): axum::Extension<Context>| async move {
                    format!(
                        "{} {} {}",
                        work.fence(),
                        work.attempt(),
                        work.downstream_key("charge")
                    )
                },
            ),
        )
        .layer(receiver);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let answer = Caller::new().post(&url, &KEY, "").await;
    let said = String::from_utf8_lossy(&answer.body).into_owned();
    let [fence, attempt, key] = said.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{said}")
    };
    let record = semel.client().lookup("api", "k").await.unwrap().unwrap();
    let RecordState::Completed(completed) = record.state else {
        panic!("not completed")
    };
    assert_eq!(fence, completed.fence.to_string());
    assert_eq!(attempt, "1");
    assert!(key.starts_with("semel-") && key.len() == 38, "{key}");
    server.abort();
}

#[tokio::test]
async fn it_works_under_plain_hyper_too() {
    use tower::ServiceExt as _;
    let semel = Semel::start("").await;
    let handler = tower::service_fn(|request: http::Request<_>| async move {
        let body: semel_client::webhook::receiver::Body = request.into_body();
        Ok::<_, std::convert::Infallible>(http::Response::new(body))
    });
    let service = tower::Layer::layer(&by_key(semel.client()), handler);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let service = service.clone();
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(
                hyper_util::rt::TokioIo::new(socket),
                hyper::service::service_fn(move |request| service.clone().oneshot(request)),
            ));
        }
    });
    let caller = Caller::new();
    for is_replayed in [false, true] {
        let answer = caller.post(&url, &KEY, "echo").await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"echo"[..]));
        assert_eq!(answer.is_replayed(), is_replayed);
    }
    server.abort();
}

/// Looks again and again until the key is in the state.
async fn until_state(semel: &Semel, is_it: impl Fn(&RecordState) -> bool) {
    let looking = async {
        loop {
            let record = semel.client().lookup("api", "k").await.unwrap().unwrap();
            if is_it(&record.state) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within(looking).await;
}

fn at_once(semel: &Semel, most: usize) -> Receiver {
    by_key(semel.client()).accept_at_once(most)
}

#[tokio::test]
async fn accepted_at_once_it_is_202_for_all_and_the_work_is_done_afterwards() {
    let semel = Semel::start("").await;
    let gate = Arc::new(Semaphore::new(0));
    let service = gated(at_once(&semel, 8), &gate).await;
    let caller = Caller::new();
    let first = caller.post(&service.url(), &KEY, "").await;
    assert_eq!((first.status, first.is_replayed()), (202, false));
    let meanwhile = caller.post(&service.url(), &KEY, "").await;
    assert_eq!((meanwhile.status, meanwhile.is_replayed()), (202, true));
    let other = caller.post(&service.url(), &KEY, "another").await;
    assert_eq!(
        (other.status, other.problem().as_str()),
        (422, "key-reused")
    );
    until("the handler runs", || service.begun() == 1).await;
    gate.add_permits(1);
    until_state(&semel, |state| matches!(state, RecordState::Completed(_))).await;
    let afterwards = caller.post(&service.url(), &KEY, "").await;
    assert_eq!((afterwards.status, afterwards.is_replayed()), (202, true));
    assert_eq!(service.begun(), 1);
}

#[tokio::test]
async fn accepted_work_that_fails_or_panics_is_tried_again_without_the_sender() {
    let semel = Semel::start("[namespaces.api]\nbackoff_initial = \"1ms\"\n").await;
    let service = Service::start(at_once(&semel, 8), |n, _, _| match n {
        0 => say(503, "not now"),
        1 => panic!("the second time"),
        _ => say(200, "done"),
    })
    .await;
    let answer = Caller::new().post(&service.url(), &KEY, "").await;
    assert_eq!(answer.status, 202);
    until("the third attempt has ended", || {
        service.ended.load(std::sync::atomic::Ordering::SeqCst) == 2
    })
    .await;
    within(service.receiver.drain()).await;
    let record = semel.client().lookup("api", "k").await.unwrap().unwrap();
    let RecordState::Completed(completed) = record.state else {
        panic!("not completed")
    };
    assert_eq!(completed.attempt, 3);
}

#[tokio::test]
async fn accepted_work_is_bounded_and_what_is_over_comes_again() {
    let semel = Semel::start("").await;
    let gate = Arc::new(Semaphore::new(0));
    let service = gated(at_once(&semel, 1), &gate).await;
    let caller = Caller::new();
    assert_eq!(caller.post(&service.url(), &KEY, "").await.status, 202);
    let second = [("idempotency-key", "l")];
    let over = caller.post(&service.url(), &second, "").await;
    assert_eq!(
        (over.status, over.problem().as_str()),
        (503, "too-much-work")
    );
    assert!(over.header("retry-after").is_some());
    assert!(
        semel.client().lookup("api", "l").await.unwrap().is_none(),
        "nothing was claimed"
    );
    gate.add_permits(2);
    let accepted = async {
        while caller.post(&service.url(), &second, "").await.status != 202 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within(accepted).await;
}

#[tokio::test]
async fn what_a_process_accepted_that_ended_is_taken_up_when_it_comes_again() {
    let semel = Semel::start("").await;
    // The other process: it has claimed, and says no more.
    let claim = Claim::new("hooks", "msg_1").lease(Duration::from_secs(3));
    let ClaimOutcome::Claimed(_) = semel.client().claim(&claim).await.unwrap() else {
        panic!("not claimed")
    };
    let preset = Preset::standard_webhooks(secret());
    let receiver = Receiver::new(semel.client(), "hooks", preset).accept_at_once(8);
    let service = Service::start(receiver, |_, _, _| say(200, "done")).await;
    let caller = Caller::new();
    for _ in 0..3 {
        let answer = caller.send(signed(&service.url(), "msg_1", "{}")).await;
        assert_eq!((answer.status, answer.is_replayed()), (202, true));
    }
    until("the work is taken up", || service.begun() == 1).await;
    within(service.receiver.drain()).await;
    let record = semel
        .client()
        .lookup("hooks", "msg_1")
        .await
        .unwrap()
        .unwrap();
    let RecordState::Completed(completed) = record.state else {
        panic!("not completed")
    };
    assert_eq!(completed.attempt, 2);
    assert_eq!(service.begun(), 1, "by one of the three");
}

#[tokio::test]
async fn one_key_of_another_process_takes_one_place_however_often_it_comes() {
    let semel = Semel::start("").await;
    let claim = Claim::new("hooks", "msg_1").lease(Duration::from_secs(30));
    let ClaimOutcome::Claimed(_) = semel.client().claim(&claim).await.unwrap() else {
        panic!("not claimed")
    };
    let preset = Preset::standard_webhooks(secret());
    let receiver = Receiver::new(semel.client(), "hooks", preset).accept_at_once(2);
    let service = Service::start(receiver, |_, _, _| say(200, "")).await;
    let caller = Caller::new();
    for id in ["msg_1", "msg_1", "msg_1", "msg_2"] {
        let answer = caller.send(signed(&service.url(), id, "{}")).await;
        assert_eq!(answer.status, 202, "{id}");
    }
}

#[tokio::test]
async fn accepted_while_semel_is_away_it_is_handled_where_that_was_asked_for() {
    let mut semel = Semel::start("").await;
    let receiver = by_key(semel.impatient_client()).accept_at_once(8);
    let service = Service::start(receiver.clone(), |_, _, _| say(200, "")).await;
    let open = Service::start(receiver.handle_when_away(), |_, _, _| say(200, "")).await;
    semel.stop().await;
    let caller = Caller::new();
    let refused = caller.post(&service.url(), &KEY, "").await;
    assert_eq!(
        (refused.status, refused.problem().as_str()),
        (503, "unavailable")
    );
    // By the handler itself, since nobody could look after what has no claim.
    assert_eq!(caller.post(&open.url(), &KEY, "").await.status, 200);
    assert_eq!((open.begun(), service.begun()), (1, 0));
}

#[tokio::test]
async fn what_was_done_while_semel_went_away_is_recorded_when_it_is_back() {
    let mut semel = Semel::start("").await;
    let gate = Arc::new(Semaphore::new(0));
    let service = gated(by_key(semel.client()), &gate).await;
    let caller = Caller::new();
    let first = begin(&service, &KEY).await;
    let address = semel.address().to_string();
    semel.stop().await;
    gate.add_permits(1);
    until("the handler has ended", || {
        service.ended.load(std::sync::atomic::Ordering::SeqCst) == 1
    })
    .await;
    semel.start_at(&address).await;
    assert_eq!(within(first).await.unwrap().status, 200);
    within(service.receiver.drain()).await;
    assert!(caller.post(&service.url(), &KEY, "").await.is_replayed());
    assert_eq!(service.begun(), 1);
}

#[tokio::test]
async fn nothing_is_accepted_any_more_that_nobody_would_look_after() {
    let semel = Semel::start("").await;
    let service = Service::start(at_once(&semel, 8), |_, _, _| say(200, "")).await;
    within(service.receiver.drain()).await;
    let answer = Caller::new().post(&service.url(), &KEY, "").await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (503, "stopping")
    );
    assert_eq!(service.begun(), 0);
}

#[tokio::test]
async fn accepted_work_that_rests_does_not_hold_up_the_end_of_the_program() {
    let semel = Semel::start("[namespaces.api]\nbackoff_initial = \"40s\"\n").await;
    let service = Service::start(at_once(&semel, 8), |_, _, _| say(503, "")).await;
    assert_eq!(
        Caller::new().post(&service.url(), &KEY, "").await.status,
        202
    );
    until("the handler has ended", || {
        service.ended.load(std::sync::atomic::Ordering::SeqCst) == 1
    })
    .await;
    within(service.receiver.drain()).await;
    assert_eq!(service.begun(), 1);
}

#[tokio::test]
async fn accepted_work_gets_over_semels_absence_between_two_attempts() {
    let mut semel =
        Semel::start("[namespaces.api]\nbackoff_initial = \"3s\"\nbackoff_jitter = 0\n").await;
    let receiver = by_key(semel.impatient_client()).accept_at_once(8);
    let service = Service::start(receiver, |n, _, _| say(if n == 0 { 503 } else { 200 }, "")).await;
    assert_eq!(
        Caller::new().post(&service.url(), &KEY, "").await.status,
        202
    );
    until_state(&semel, |state| matches!(state, RecordState::BackingOff(_))).await;
    let address = semel.address().to_string();
    semel.stop().await;
    // Over the end of the backoff, so that the next attempt finds nobody.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    semel.start_at(&address).await;
    until("the second attempt is made", || service.begun() == 2).await;
}

#[tokio::test]
async fn what_was_settled_otherwise_while_the_handler_ran_is_what_stands() {
    let semel = Semel::start("").await;
    let client = semel.client();
    let app = axum::Router::new()
        .route(
            "/",
            axum::routing::post(
                move |axum::Extension(work): axum::Extension<Context>| async move {
                    // By somebody who has the token, such as an operator.
                    client
                        .complete(work.held(), "the operator's")
                        .await
                        .unwrap();
                    "the handler's"
                },
            ),
        )
        .layer(by_key(semel.client()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let caller = Caller::new();
    let first = caller.post(&url, &KEY, "").await;
    assert_eq!(
        (first.status, first.problem().as_str()),
        (503, "taken-over")
    );
    let again = caller.post(&url, &KEY, "").await;
    assert_eq!(
        (again.status, &again.body[..]),
        (200, &b"the operator's"[..])
    );
    server.abort();
}
