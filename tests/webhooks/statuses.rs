//! Every status that a receiver answers.

use std::{sync::Arc, time::Duration};

use http::{Method, Request};
use http_body_util::Full;
use prost::Message as _;
use semel_client::{
    Claim, ClaimOutcome, Failure, OnPanic,
    webhook::{
        Preset, Receiver,
        receiver::Finality,
        signature::{Scheme, Verifier},
    },
};
use semel_proto::v1;
use tokio::sync::Semaphore;

use crate::support::*;

const KEY: [(&str, &str); 1] = [("idempotency-key", "\"k\"")];

#[tokio::test]
async fn a_duplicate_gets_status_headers_and_body_of_the_first_and_says_so() {
    let semel = Semel::start("").await;
    let service = Service::start(by_key(semel.client()), |n, _, _| Told {
        headers: vec![
            ("content-type", "text/plain"),
            ("location", "/orders/1"),
            ("set-cookie", "session=secret"),
            ("cache-control", "max-age=60"),
            ("x-own", "not replayed by default"),
        ],
        ..say(201, format!("order {n}\0\u{1F980}"))
    })
    .await;
    let caller = Caller::new();
    let first = caller.post(&service.url(), &KEY, "body").await;
    assert_eq!((first.status, first.is_replayed()), (201, false));
    assert!(
        first.header("set-cookie").is_some(),
        "it is the first caller's"
    );
    for _ in 0..3 {
        let again = caller.post(&service.url(), &KEY, "body").await;
        assert_eq!((again.status, &again.body), (201, &first.body));
        assert!(again.is_replayed());
        assert_eq!(again.header("content-type"), Some("text/plain"));
        assert_eq!(again.header("location"), Some("/orders/1"));
        for name in ["set-cookie", "cache-control", "x-own"] {
            assert_eq!(again.header(name), None, "{name}");
        }
    }
    assert_eq!(service.begun(), 1);
}

#[tokio::test]
async fn a_header_that_is_allowed_is_replayed_as_often_as_it_stood() {
    let semel = Semel::start("").await;
    let receiver = by_key(semel.client()).replayed_header("x-own".parse().unwrap());
    let service = Service::start(receiver, |_, _, _| Told {
        headers: vec![("x-own", "1"), ("x-own", "2")],
        ..say(200, "")
    })
    .await;
    let caller = Caller::new();
    caller.post(&service.url(), &KEY, "").await;
    let again = caller.post(&service.url(), &KEY, "").await;
    let values: Vec<_> = again.headers.get_all("x-own").iter().collect();
    assert_eq!(values, ["1", "2"]);
}

#[tokio::test]
#[should_panic(expected = "set-cookie is never replayed")]
async fn a_cookie_cannot_be_allowed() {
    let semel = Semel::start("").await;
    let _ = by_key(semel.client()).replayed_header(http::header::SET_COOKIE);
}

#[tokio::test]
async fn without_a_key_it_is_400_and_with_a_bad_one_too() {
    let semel = Semel::start("").await;
    let service = Service::start(by_key(semel.client()), |_, _, _| say(200, "")).await;
    let caller = Caller::new();
    let missing = caller.post(&service.url(), &[], "").await;
    assert_eq!(
        (missing.status, missing.problem().as_str()),
        (400, "missing-key")
    );
    for key in ["\"open", "", "a, b"] {
        let bad = caller
            .post(&service.url(), &[("idempotency-key", key)], "")
            .await;
        assert_eq!(
            (bad.status, bad.problem().as_str()),
            (400, "unusable-key"),
            "{key:?}"
        );
    }
    let long = "k".repeat(256);
    let bad = caller
        .post(&service.url(), &[("idempotency-key", &long)], "")
        .await;
    assert!(String::from_utf8_lossy(&bad.body).contains("at most 255"));
    assert_eq!(service.begun(), 0);
}

#[tokio::test]
async fn methods_that_are_idempotent_by_themselves_pass() {
    let semel = Semel::start("").await;
    let service = Service::start(by_key(semel.client()), |_, _, _| say(200, "")).await;
    let caller = Caller::new();
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        for _ in 0..2 {
            let mut request = Request::new(Full::default());
            *request.method_mut() = method.clone();
            *request.uri_mut() = service.url().parse().unwrap();
            let answer = caller.send(request).await;
            assert_eq!((answer.status, answer.is_replayed()), (200, false));
        }
    }
    assert_eq!(service.begun(), 6);
}

#[tokio::test]
async fn the_same_key_with_another_payload_is_422_and_shows_nothing_of_the_first() {
    let semel = Semel::start("").await;
    let service = Service::start(by_key(semel.client()), |_, _, _| say(200, "secret")).await;
    let caller = Caller::new();
    caller.post(&service.url(), &KEY, "one").await;
    let other = format!("{}other", service.url());
    for (url, body) in [(service.url(), "two"), (other, "one")] {
        let answer = caller.post(&url, &KEY, body).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (422, "key-reused")
        );
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
    }
    assert_eq!(service.begun(), 1);
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_with_and_without_a_length() {
    let semel = Semel::start("").await;
    let receiver = by_key(semel.client()).body_limit(1_000);
    let service = Service::start(receiver, |_, _, body| say(200, body)).await;
    let caller = Caller::new();
    let fits = caller.post(&service.url(), &KEY, vec![7; 1_000]).await;
    assert_eq!((fits.status, fits.body.len()), (200, 1_000));
    let over = caller
        .post(&service.url(), &[("idempotency-key", "l")], vec![7; 1_001])
        .await;
    assert_eq!(
        (over.status, over.problem().as_str()),
        (413, "body-too-large")
    );
    // In chunks, so that only counting tells.
    let mut chunked = String::from("POST / HTTP/1.1\r\nhost: x\r\nidempotency-key: m\r\n");
    chunked += "transfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    for _ in 0..11 {
        chunked += &format!("64\r\n{}\r\n", "x".repeat(100));
    }
    chunked += "0\r\n\r\n";
    let answer = raw(&service, &chunked).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert_eq!(service.begun(), 1);
}

#[tokio::test]
async fn a_body_in_many_chunks_is_read_whole() {
    let semel = Semel::start("").await;
    let service = Service::start(by_key(semel.client()), |_, _, body| say(200, body)).await;
    let send = async |last: &str| {
        let mut chunked = String::from("POST / HTTP/1.1\r\nhost: x\r\nidempotency-key: k\r\n");
        chunked += "transfer-encoding: chunked\r\nconnection: close\r\n\r\n";
        for chunk in ["first", "second", last] {
            chunked += &format!("{:x}\r\n{chunk}\r\n", chunk.len());
        }
        raw(&service, &(chunked + "0\r\n\r\n")).await
    };
    assert!(send("third").await.ends_with("firstsecondthird"));
    // A fingerprint of the first chunk alone would take this for the same.
    assert!(send("other").await.starts_with("HTTP/1.1 422"));
}

async fn raw(service: &Service, request: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut socket = within(tokio::net::TcpStream::connect(service.address))
        .await
        .unwrap();
    // It may be answered, and closed, before all of it is sent.
    let _ = socket.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = within(socket.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn while_one_is_handled_another_is_409_with_retry_after() {
    let semel = Semel::start("").await;
    let gate = Arc::new(Semaphore::new(0));
    let service = gated(by_key(semel.client()), &gate).await;
    let caller = Caller::new();
    let first = begin(&service, &KEY).await;
    let busy = caller.post(&service.url(), &KEY, "").await;
    assert_eq!((busy.status, busy.problem().as_str()), (409, "in-progress"));
    let seconds: u64 = busy.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    gate.add_permits(1);
    assert_eq!(within(first).await.unwrap().status, 200);
    assert!(caller.post(&service.url(), &KEY, "").await.is_replayed());
}

#[tokio::test]
async fn a_receiver_that_waits_gives_the_duplicate_the_answer_itself() {
    let semel = Semel::start("").await;
    let gate = Arc::new(Semaphore::new(0));
    let receiver = by_key(semel.client()).wait(Duration::from_secs(15));
    let service = gated(receiver, &gate).await;
    let caller = Caller::new();
    let send = || {
        let (caller, url) = (caller.clone(), service.url());
        tokio::spawn(async move { caller.post(&url, &KEY, "").await })
    };
    let first = send();
    until("the handler runs", || service.begun() == 1).await;
    let second = send();
    gate.add_permits(1);
    let (first, second) = (within(first).await.unwrap(), within(second).await.unwrap());
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!((first.is_replayed(), second.is_replayed()), (false, true));
    assert_eq!(service.begun(), 1);
}

#[tokio::test]
async fn with_semel_away_it_is_503_and_the_handler_does_not_run() {
    let mut semel = Semel::start("").await;
    let service = Service::start(by_key(semel.impatient_client()), |_, _, _| say(200, "")).await;
    semel.stop().await;
    let answer = Caller::new().post(&service.url(), &KEY, "").await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (503, "unavailable")
    );
    assert!(answer.header("retry-after").is_some());
    assert_eq!(service.begun(), 0);
}

#[tokio::test]
async fn who_says_so_has_deliveries_handled_while_semel_is_away() {
    let mut semel = Semel::start("").await;
    let receiver = by_key(semel.impatient_client()).handle_when_away();
    let service = Service::start(receiver, |_, _, _| say(200, "open")).await;
    semel.stop().await;
    let caller = Caller::new();
    for _ in 0..2 {
        let answer = caller.post(&service.url(), &KEY, "").await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"open"[..]));
    }
    assert_eq!(service.begun(), 2, "nothing else was promised");
}

const AT_ONCE: &str = "[namespaces.api]\nbackoff_initial = \"1ms\"\nbackoff_jitter = 0\n";
const RESTING: &str = "[namespaces.api]\nbackoff_initial = \"40s\"\nbackoff_jitter = 0\n";

#[tokio::test]
async fn answers_of_2xx_and_4xx_are_final() {
    for status in [200, 204, 302, 400, 404, 422] {
        let semel = Semel::start(AT_ONCE).await;
        let service = Service::start(by_key(semel.client()), move |_, _, _| say(status, "")).await;
        let caller = Caller::new();
        for is_replayed in [false, true] {
            let answer = caller.post(&service.url(), &KEY, "").await;
            assert_eq!((answer.status, answer.is_replayed()), (status, is_replayed));
        }
        assert_eq!(service.begun(), 1, "{status}");
    }
}

#[tokio::test]
async fn answers_of_5xx_and_429_are_tried_again() {
    for status in [429, 500, 503] {
        let semel = Semel::start(AT_ONCE).await;
        let service = Service::start(by_key(semel.client()), move |n, _, _| match n {
            0 => say(status, "not now"),
            _ => say(200, "done"),
        })
        .await;
        let caller = Caller::new();
        let first = caller.post(&service.url(), &KEY, "").await;
        assert_eq!((first.status, &first.body[..]), (status, &b"not now"[..]));
        until_done(&caller, &service).await;
        assert_eq!(service.begun(), 2, "{status}");
    }
}

async fn until_done(caller: &Caller, service: &Service) {
    let looking = async {
        loop {
            let answer = caller.post(&service.url(), &KEY, "").await;
            match answer.status {
                200 => return,
                _ => assert_eq!(
                    (answer.status, answer.problem().as_str()),
                    (503, "backing-off")
                ),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within(looking).await;
}

#[tokio::test]
async fn too_early_for_the_next_attempt_it_is_503_with_the_rest_of_the_backoff() {
    let semel = Semel::start(RESTING).await;
    let service = Service::start(by_key(semel.client()), |_, _, _| say(500, "")).await;
    let caller = Caller::new();
    caller.post(&service.url(), &KEY, "").await;
    let answer = caller.post(&service.url(), &KEY, "").await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (503, "backing-off")
    );
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((30..=40).contains(&seconds), "{seconds}");
    assert_eq!(service.begun(), 1);
}

#[tokio::test]
async fn the_handlers_own_retry_after_is_kept() {
    let semel = Semel::start(AT_ONCE).await;
    let service = Service::start(by_key(semel.client()), |_, _, _| Told {
        headers: vec![("retry-after", "120")],
        ..say(503, "")
    })
    .await;
    let caller = Caller::new();
    let first = caller.post(&service.url(), &KEY, "").await;
    assert_eq!(first.header("retry-after"), Some("120"));
    let second = caller.post(&service.url(), &KEY, "").await;
    let seconds: u64 = second.header("retry-after").unwrap().parse().unwrap();
    assert!((100..=120).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn a_handler_that_panics_is_500_and_is_tried_again() {
    let semel = Semel::start(AT_ONCE).await;
    let service = Service::start(by_key(semel.client()), |n, _, _| match n {
        0 => panic!("the first time"),
        _ => say(200, ""),
    })
    .await;
    let caller = Caller::new();
    let first = caller.post(&service.url(), &KEY, "").await;
    assert_eq!(
        (first.status, first.problem().as_str()),
        (500, "handler-panicked")
    );
    until_done(&caller, &service).await;
}

#[tokio::test]
async fn attempts_that_are_used_up_are_500_for_ever() {
    let dead = "[namespaces.api]\nattempts = 1\n";
    let semel = Semel::start(dead).await;
    let service = Service::start(by_key(semel.client()), |_, _, _| say(500, "")).await;
    let caller = Caller::new();
    caller.post(&service.url(), &KEY, "").await;
    let answer = caller.post(&service.url(), &KEY, "").await;
    assert_eq!((answer.status, answer.problem().as_str()), (500, "dead"));
    assert_eq!(service.begun(), 1);
}

#[tokio::test]
async fn what_is_final_can_be_said_by_a_function_and_unknown_is_409() {
    let semel = Semel::start("").await;
    let receiver = by_key(semel.client()).finality(|status| match status.as_u16() {
        500 => Finality::Unknown,
        _ => Finality::Final,
    });
    let service = Service::start(receiver, |_, _, _| say(500, "half done")).await;
    let caller = Caller::new();
    assert_eq!(caller.post(&service.url(), &KEY, "").await.status, 500);
    let answer = caller.post(&service.url(), &KEY, "").await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (409, "uncertain")
    );
    assert_eq!(service.begun(), 1);
}

#[tokio::test]
async fn for_money_a_panic_says_that_nobody_knows() {
    let semel = Semel::start("").await;
    let receiver = by_key(semel.client()).on_panic(OnPanic::Unknown);
    let service = Service::start(receiver, |_, _, _| panic!("half way")).await;
    let caller = Caller::new();
    assert_eq!(caller.post(&service.url(), &KEY, "").await.status, 500);
    let answer = caller.post(&service.url(), &KEY, "").await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (409, "uncertain")
    );
    assert_eq!(service.begun(), 1);
}

#[tokio::test]
async fn what_somebody_stored_by_hand_is_replayed_as_it_is() {
    let semel = Semel::start("").await;
    let service = Service::start(by_key(semel.client()), |_, _, _| say(200, "")).await;
    let caller = Caller::new();
    let resolve = async |key: &str| {
        let claim = Claim::new("api", key);
        match semel.client().claim(&claim).await.unwrap() {
            ClaimOutcome::Claimed(claimed) => claimed.held,
            other => panic!("{other:?}"),
        }
    };
    let done = resolve("done").await;
    semel.client().complete(&done, "{\"ok\":1}").await.unwrap();
    let failed = resolve("failed").await;
    let failure = Failure::terminal("by hand", "{\"ok\":0}");
    semel.client().fail(&failed, &failure).await.unwrap();
    for (key, status, body) in [("done", 200, "{\"ok\":1}"), ("failed", 422, "{\"ok\":0}")] {
        let answer = caller
            .post(&service.url(), &[("idempotency-key", key)], "")
            .await;
        assert_eq!((answer.status, &answer.body[..]), (status, body.as_bytes()));
        assert!(answer.is_replayed());
    }
    assert_eq!(service.begun(), 0);
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_replaced_for_all_and_the_work_is_not_done_again() {
    let semel = Semel::start("").await;
    let receiver = by_key(semel.client()).answer_limit(10);
    is_replaced(receiver, "eleven byte").await;
}

#[tokio::test]
async fn so_is_one_that_is_too_large_for_the_namespace() {
    let semel = Semel::start("[namespaces.api]\nlargest_result_bytes = 10\n").await;
    is_replaced(by_key(semel.client()), &"x".repeat(1_024)).await;
}

async fn is_replaced(receiver: Receiver, answer: &str) {
    let answer = answer.to_owned();
    let service = Service::start(receiver, move |_, _, _| say(200, answer.clone())).await;
    let caller = Caller::new();
    let first = caller.post(&service.url(), &KEY, "").await;
    assert_eq!(
        (first.status, first.problem().as_str()),
        (500, "answer-too-large")
    );
    let again = caller.post(&service.url(), &KEY, "").await;
    assert_eq!((again.status, &again.body), (500, &first.body));
    assert!(again.is_replayed());
    assert_eq!(service.begun(), 1);
}

#[tokio::test]
async fn a_forged_delivery_is_401_and_neither_reserves_nor_finds_out_about_a_key() {
    let semel = Semel::start("").await;
    let receiver = Receiver::new(semel.client(), "hooks", Preset::standard_webhooks(secret()));
    let service = Service::start(receiver, |_, _, _| say(200, "done")).await;
    let caller = Caller::new();
    let forged = |body: &'static str| {
        let mut request = signed(&service.url(), "msg_1", "{}");
        *request.body_mut() = Full::new(body.into());
        request
    };
    let before = caller.send(forged("{\"forged\":1}")).await;
    assert_eq!(
        (before.status, before.problem().as_str()),
        (401, "bad-signature")
    );
    assert!(
        semel
            .client()
            .lookup("hooks", "msg_1")
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        caller
            .send(signed(&service.url(), "msg_1", "{}"))
            .await
            .status,
        200
    );
    let after = caller.send(forged("{\"forged\":2}")).await;
    assert_eq!(
        (after.status, after.problem().as_str()),
        (401, "bad-signature")
    );
    assert!(
        caller
            .send(signed(&service.url(), "msg_1", "{}"))
            .await
            .is_replayed()
    );
    assert_eq!(service.begun(), 1);
}

#[tokio::test]
async fn an_event_too_old_to_be_remembered_is_422() {
    let semel = Semel::start("").await;
    let receiver = Receiver::new(semel.client(), "hooks", Preset::standard_webhooks(secret()));
    let service = Service::start(receiver, |_, _, _| say(200, "")).await;
    let body = r#"{"timestamp": "2020-01-01T00:00:00Z"}"#;
    let answer = Caller::new()
        .send(signed(&service.url(), "msg_1", body))
        .await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (422, "event-too-old")
    );
    assert_eq!(service.begun(), 0);
}

#[tokio::test]
async fn a_failure_with_a_body_over_the_limit_is_a_failure_all_the_same() {
    let semel = Semel::start(AT_ONCE).await;
    let receiver = by_key(semel.client()).answer_limit(10);
    let service = Service::start(receiver, |n, _, _| match n {
        0 => say(503, "a long page about an error"),
        _ => say(200, "done"),
    })
    .await;
    let caller = Caller::new();
    assert_eq!(caller.post(&service.url(), &KEY, "").await.status, 503);
    until_done(&caller, &service).await;
    assert_eq!(service.begun(), 2);
}

#[tokio::test]
async fn an_absurd_retry_after_of_the_handler_is_cut_and_the_failure_is_not_lost() {
    let hold = "[namespaces.api]\non_lapse = \"hold\"\n";
    let semel = Semel::start(hold).await;
    let service = Service::start(by_key(semel.client()), |_, _, _| Told {
        headers: vec![("retry-after", "70000000")],
        ..say(503, "")
    })
    .await;
    let caller = Caller::new();
    caller.post(&service.url(), &KEY, "").await;
    let answer = caller.post(&service.url(), &KEY, "").await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (503, "backing-off")
    );
}

#[tokio::test]
async fn every_method_is_verified_and_has_to_say_who_asks() {
    let semel = Semel::start("").await;
    let verifier = Verifier::new(Scheme::Standard, secret());
    let preset = Preset::idempotency_key().verified_by(verifier);
    let verified = Receiver::new(semel.client(), "api", preset);
    let known = by_key(semel.client()).principal(|_| None);
    for receiver in [verified, known] {
        let service = Service::start(receiver, |_, _, _| say(200, "")).await;
        for method in ["GET", "PUT", "DELETE", "QUERY", "post", "POST"] {
            let mut request = post(&service.url(), &KEY, "");
            *request.method_mut() = method.parse().unwrap();
            assert_eq!(Caller::new().send(request).await.status, 401, "{method}");
        }
        assert_eq!(service.begun(), 0);
    }
}

#[tokio::test]
async fn what_is_not_to_be_done_once_is_handed_on_as_it_comes() {
    let semel = Semel::start("").await;
    let receiver = by_key(semel.client()).body_limit(10).answer_limit(10);
    let service = Service::start(receiver, |_, _, body| say(200, body)).await;
    let mut request = post(&service.url(), &[], vec![7; 1_000_000]);
    *request.method_mut() = Method::PUT;
    let answer = Caller::new().send(request).await;
    assert_eq!((answer.status, answer.body.len()), (200, 1_000_000));
}

#[tokio::test]
async fn headers_that_were_for_somebody_else_are_not_replayed_whoever_stored_them() {
    let semel = Semel::start("").await;
    let service = Service::start(by_key(semel.client()), |_, _, _| say(200, "")).await;
    let header = |name: &str, value: &'static str| v1::Header {
        name: name.to_owned(),
        value: value.into(),
    };
    let stored = v1::StoredAnswer {
        status: 200,
        headers: vec![
            header("set-cookie", "session=1"),
            header("content-length", "1"),
            header("x-own", "kept"),
        ],
        body: "whole".into(),
        is_too_large: false,
    };
    let claim = Claim::new("api", "k");
    let ClaimOutcome::Claimed(claimed) = semel.client().claim(&claim).await.unwrap() else {
        panic!("not claimed")
    };
    let stored = stored.encode_to_vec();
    semel
        .client()
        .complete(&claimed.held, stored)
        .await
        .unwrap();
    let answer = Caller::new().post(&service.url(), &KEY, "").await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"whole"[..]));
    assert_eq!(answer.header("set-cookie"), None);
    assert_eq!(answer.header("x-own"), Some("kept"));
}

#[tokio::test]
async fn more_deliveries_at_once_than_allowed_are_503() {
    let semel = Semel::start("").await;
    let gate = Arc::new(Semaphore::new(0));
    let service = gated(by_key(semel.client()).concurrency(1), &gate).await;
    let caller = Caller::new();
    let first = begin(&service, &KEY).await;
    let over = caller
        .post(&service.url(), &[("idempotency-key", "l")], "")
        .await;
    assert_eq!(
        (over.status, over.problem().as_str()),
        (503, "too-many-deliveries")
    );
    gate.add_permits(1);
    assert_eq!(within(first).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_408_and_gives_its_place_back() {
    use tokio::io::AsyncWriteExt as _;
    let semel = Semel::start("").await;
    let receiver = by_key(semel.client())
        .concurrency(1)
        .body_timeout(Duration::from_millis(200));
    let service = Service::start(receiver, |_, _, _| say(200, "")).await;
    let mut socket = tokio::net::TcpStream::connect(service.address)
        .await
        .unwrap();
    let head = "POST / HTTP/1.1\r\nhost: x\r\nidempotency-key: k\r\ncontent-length: 9\r\n\r\nx";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let reading = tokio::io::AsyncReadExt::read_exact(&mut socket, &mut answer);
    within(reading).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert_eq!(
        Caller::new().post(&service.url(), &KEY, "").await.status,
        200
    );
}

#[tokio::test]
async fn a_body_that_breaks_off_claims_nothing() {
    use tokio::io::AsyncWriteExt as _;
    let semel = Semel::start("").await;
    let service = Service::start(by_key(semel.client()), |_, _, _| say(200, "")).await;
    let mut socket = tokio::net::TcpStream::connect(service.address)
        .await
        .unwrap();
    let head = "POST / HTTP/1.1\r\nhost: x\r\nidempotency-key: k\r\n\
                transfer-encoding: chunked\r\nconnection: close\r\n\r\nzz\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let reading = tokio::io::AsyncReadExt::read_to_string(&mut socket, &mut answer);
    within(reading).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(semel.client().lookup("api", "k").await.unwrap().is_none());
    assert_eq!(service.begun(), 0);
}

#[tokio::test]
async fn a_claim_that_semel_refuses_is_500() {
    let semel = Semel::start("").await;
    let receiver = Receiver::new(semel.client(), "no namespace", Preset::idempotency_key());
    let service = Service::start(receiver, |_, _, _| say(200, "")).await;
    let answer = Caller::new().post(&service.url(), &KEY, "").await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (500, "not-claimed")
    );
}

#[tokio::test]
async fn a_caller_is_answered_also_when_the_recording_takes_long() {
    let mut semel = Semel::start("").await;
    let gate = Arc::new(Semaphore::new(0));
    let receiver = by_key(semel.client()).answer_within(Duration::from_millis(100));
    let service = gated(receiver, &gate).await;
    let first = begin(&service, &KEY).await;
    let address = semel.address().to_string();
    semel.stop().await;
    gate.add_permits(1);
    // Semel is away for as long as it takes.
    let first = within(first).await.unwrap();
    assert_eq!((first.status, &first.body[..]), (200, &b"done"[..]));
    semel.start_at(&address).await;
    within(service.receiver.drain()).await;
    assert!(
        Caller::new()
            .post(&service.url(), &KEY, "")
            .await
            .is_replayed()
    );
    assert_eq!(service.begun(), 1);
}

#[tokio::test]
async fn who_lost_the_key_meanwhile_is_503_and_the_others_answer_stands() {
    let toml =
        "[namespaces.api]\nlongest_hold = \"1s\"\nlongest_lease = \"1s\"\ndefault_lease = \"1s\"\n";
    let semel = Semel::start(toml).await;
    let gate = Arc::new(Semaphore::new(0));
    let service = gated(by_key(semel.client()), &gate).await;
    let first = begin(&service, &KEY).await;
    // Another takes over when the longest hold is over.
    let taking_over = async {
        loop {
            let claim = Claim::new("api", "k").wait(Duration::from_secs(3));
            if let ClaimOutcome::Claimed(it) = semel.client().claim(&claim).await.unwrap() {
                return it;
            }
        }
    };
    let other = within(taking_over).await;
    semel
        .client()
        .complete(&other.held, "the other's")
        .await
        .unwrap();
    gate.add_permits(1);
    let answer = within(first).await.unwrap();
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (503, "taken-over")
    );
    let again = Caller::new().post(&service.url(), &KEY, "").await;
    assert_eq!((again.status, &again.body[..]), (200, &b"the other's"[..]));
}

#[tokio::test]
async fn a_handlers_own_500_that_is_final_is_replayed_as_it_was() {
    let semel = Semel::start("").await;
    let receiver = by_key(semel.client()).finality(|_| Finality::Final);
    let service = Service::start(receiver, |_, _, _| say(500, "")).await;
    for is_replayed in [false, true] {
        let answer = Caller::new().post(&service.url(), &KEY, "").await;
        assert_eq!((answer.status, answer.is_replayed()), (500, is_replayed));
        assert_eq!(answer.body, "");
    }
}

/// A handler that is no axum service, and fails in its own ways.
async fn failing(receiver: &Receiver, with: &'static str) -> Answer {
    use tower::{Layer as _, ServiceExt as _};
    let handler = tower::service_fn(move |_: http::Request<_>| async move {
        match with {
            "an error" => Err(std::io::Error::other(with)),
            _ => Ok(http::Response::new(Breaking)),
        }
    });
    let request = post("http://service.example/", &KEY, "");
    let answer = receiver.layer(handler).oneshot(request).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = http_body_util::BodyExt::collect(body).await.unwrap();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: body.to_bytes(),
    }
}

struct Breaking;

impl http_body::Body for Breaking {
    type Data = bytes::Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        std::task::Poll::Ready(Some(Err(std::io::Error::other("broken"))))
    }
}

#[tokio::test]
async fn a_handler_that_gives_no_answer_is_500_and_what_it_says_of_the_work_is_a_setting() {
    for with in ["an error", "half an answer"] {
        let semel = Semel::start(RESTING).await;
        let receiver = by_key(semel.client());
        let answer = failing(&receiver, with).await;
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (500, "handler-failed")
        );
        assert_eq!(failing(&receiver, with).await.problem(), "backing-off");

        let semel = Semel::start("").await;
        let receiver = by_key(semel.client()).on_panic(OnPanic::Unknown);
        assert_eq!(failing(&receiver, with).await.status, 500);
        assert_eq!(failing(&receiver, with).await.problem(), "uncertain");
    }
}
