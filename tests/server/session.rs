//! A Session: every command is answered under its number, as a single call would have been.

use std::time::Duration;

use semel_proto::v1::{
    self, FailureKind, claim_response::Outcome, fail_response, lookup_response,
    session_request::Command, session_response::Answer,
};
use tonic::{Code, Status};

use crate::support::*;

/// Retries at once, so that nobody has to wait.
fn released(key: &str, token: &[u8]) -> v1::FailRequest {
    v1::FailRequest {
        retry_after: millis(0),
        ..fail(key, token, FailureKind::Retryable)
    }
}

#[tokio::test]
async fn opened_comes_before_anything_was_sent_and_an_end_right_away_is_ok() {
    let host = Host::start("").await;
    let mut session = host.wire().await.unopened(None).await.unwrap();
    let Ok((0, Answer::Opened(opened))) = session.next().await else {
        panic!("not opened")
    };
    assert_eq!(opened.window as usize, WINDOW);
    session.finish();
    let (answers, status) = session.rest().await;
    assert!(answers.is_empty(), "{answers:?}");
    assert_eq!(status.code(), Code::Ok, "{status:?}");
}

#[tokio::test]
async fn the_end_of_the_clients_side_does_not_end_what_it_sent_before() {
    let host = Host::start("").await;
    let mut session = host.wire().await.session().await;
    let ids: Vec<_> = (0..200)
        .map(|n| session.send(claim(&format!("k{n}"), 1)))
        .collect();
    session.finish();
    let (mut answers, status) = session.rest().await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
    for id in ids {
        let answer = answers.remove(&id).expect("answered").expect("not refused");
        assert!(matches!(outcome_of(answer), Outcome::Claimed(_)));
    }
    assert!(answers.is_empty(), "{answers:?}");
}

#[tokio::test]
async fn a_claim_on_a_stream_and_a_single_one_are_the_same_claim() {
    let host = Host::start("").await;
    let wire = host.wire().await;
    let (mut session, mut client) = (wire.session().await, wire.client());
    let first = session.claimed(claim("a", 1)).await;
    let again = claimed(&mut client, claim("a", 1)).await;
    assert_eq!((&again.token, again.fence), (&first.token, first.fence));
    assert_eq!((first.attempt, first.last_error.as_str()), (1, ""));
    assert_eq!(length(first.lease), Duration::from_secs(30));

    let first = claimed(&mut client, claim("b", 1)).await;
    let again = session.claimed(claim("b", 1)).await;
    assert_eq!((&again.token, again.fence), (&first.token, first.fence));

    let Outcome::InProgress(shown) = session.outcome(claim("b", 2)).await else {
        panic!("not in progress")
    };
    assert_eq!((shown.owner.as_str(), shown.attempt), ("worker-1", 1));
    assert_eq!(shown.fence, first.fence);
}

#[tokio::test]
async fn a_result_that_came_by_stream_is_replayed_everywhere_byte_for_byte() {
    let host = Host::start("").await;
    let wire = host.wire().await;
    let (mut session, mut client) = (wire.session().await, wire.client());
    let result: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    for (key, result) in [("k", &result[..]), ("empty", b"")] {
        let granted = session.claimed(claim(key, 1)).await;
        let request = complete(key, &granted.token, result);
        let Answer::Complete(first) = session.ask(request.clone()).await.unwrap() else {
            panic!("no answer of a Complete")
        };
        assert!(!first.repeat);
        let Answer::Complete(again) = session.ask(request.clone()).await.unwrap() else {
            panic!("no answer of a Complete")
        };
        assert!(again.repeat);
        let single = client.complete(request).await.unwrap().into_inner();
        assert_eq!(single, again);
        assert_eq!(single.completed_at, first.completed_at);

        let by_stream = session.outcome(claim(key, 2)).await;
        assert_eq!(by_stream, outcome(&mut client, claim(key, 3)).await);
        let Outcome::Completed(shown) = by_stream else {
            panic!("not completed")
        };
        assert_eq!(shown.result, result);
        assert_eq!((shown.fence, shown.attempt), (granted.fence, 1));
        assert_eq!(shown.completed_at, first.completed_at);
    }
}

#[tokio::test]
async fn every_kind_of_failure_is_answered_as_to_a_single_call() {
    let host = Host::start("[namespaces.orders]\nattempts = 2\nbackoff_initial = \"40s\"").await;
    let wire = host.wire().await;
    let (mut session, mut client) = (wire.session().await, wire.client());
    for (key, kind, attempts) in [
        ("backing off", FailureKind::Retryable, 1),
        ("dead", FailureKind::Retryable, 2),
        ("failed", FailureKind::Terminal, 1),
        ("uncertain", FailureKind::Unknown, 1),
    ] {
        let mut granted = session.claimed(claim(key, 1)).await;
        for attempt in 2..=attempts {
            session.ask(released(key, &granted.token)).await.unwrap();
            granted = session.claimed(claim(key, attempt)).await;
        }
        let mut request = fail(key, &granted.token, kind);
        if kind == FailureKind::Terminal {
            request.result = vec![7; 9_000].into();
        }
        let Answer::Fail(first) = session.ask(request.clone()).await.unwrap() else {
            panic!("no answer of a Fail")
        };
        assert!(!first.repeat, "{key}");
        let mut single = client.fail(request).await.unwrap().into_inner();
        assert!(single.repeat, "{key}");
        single.repeat = false;
        assert_eq!(rest_aside(single), rest_aside(first), "{key}");
        assert_eq!(word(&mut client, key).await, key);
    }
}

/// Without what passes with time.
fn rest_aside(mut answer: v1::FailResponse) -> v1::FailResponse {
    if let Some(fail_response::Outcome::BackingOff(it)) = &mut answer.outcome {
        assert!(length(it.retry_after.take()) <= Duration::from_secs(60));
    }
    answer
}

#[tokio::test]
async fn an_extension_by_stream_is_one() {
    let host = Host::start("").await;
    let wire = host.wire().await;
    let mut session = wire.session().await;
    let granted = session.claimed(claim("k", 1)).await;
    let request = v1::ExtendRequest {
        lease: span(300, 0),
        ..extend("k", &granted.token)
    };
    let Answer::Extend(extended) = session.ask(request).await.unwrap() else {
        panic!("no answer of an Extend")
    };
    assert_eq!(length(extended.lease), Duration::from_secs(300));
    assert!(length(extended.hold) > Duration::from_secs(300));
    let lookup_response::Outcome::InProgress(shown) = stands(&mut wire.client(), "k").await else {
        panic!("not in progress")
    };
    assert!(length(shown.lease) > Duration::from_secs(60));
}

#[tokio::test]
async fn a_checkpoint_by_stream_is_handed_to_the_next_attempt() {
    let host = Host::start("").await;
    let wire = host.wire().await;
    let mut session = wire.session().await;
    let first = session.claimed(claim("k", 1)).await;
    let saved = vec![9; 16 * 1024];
    let request = checkpoint("k", &first.token, &saved);
    assert_eq!(
        session.ask(request).await.unwrap(),
        Answer::Checkpoint(v1::CheckpointResponse {})
    );
    session.ask(released("k", &first.token)).await.unwrap();
    let second = session.claimed(claim("k", 2)).await;
    assert_eq!(second.attempt, 2);
    assert_eq!(second.checkpoint.as_deref(), Some(&saved[..]));
    assert_eq!(second.last_error, "boom");
    let single = claimed(&mut wire.client(), claim("k", 2)).await;
    assert_eq!(single.checkpoint, second.checkpoint);
}

#[tokio::test]
async fn a_lookup_shows_the_kept_delivery_only_where_it_is_asked_for() {
    let host = Host::start("[namespaces.orders]\nkeep_deliveries = true").await;
    let wire = host.wire().await;
    let (mut session, mut client) = (wire.session().await, wire.client());
    let request = v1::ClaimRequest {
        delivery: Some(v1::Delivery {
            headers: vec![v1::Header {
                name: "x-event".into(),
                value: b"\xff\x00paid".to_vec().into(),
            }],
            body: vec![3; 50_000].into(),
        }),
        fingerprint: b"print".to_vec().into(),
        ..claim("k", 1)
    };
    let granted = session.claimed(request.clone()).await;
    // Uncertain, because time changes nothing in that.
    let unknown = fail("k", &granted.token, FailureKind::Unknown);
    session.ask(unknown).await.unwrap();
    for include_delivery in [true, false] {
        let asked = v1::LookupRequest {
            include_delivery,
            ..lookup("k")
        };
        let Answer::Lookup(shown) = session.ask(asked.clone()).await.unwrap() else {
            panic!("no answer of a Lookup")
        };
        let single = client.lookup(asked).await.unwrap().into_inner();
        let kept = request.delivery.as_ref().filter(|_| include_delivery);
        assert_eq!(shown, single);
        assert_eq!(shown.delivery.as_ref(), kept);
        assert_eq!(shown.fingerprint, &b"print"[..]);
    }
}

#[tokio::test]
async fn a_commands_traceparent_is_kept_and_a_malformed_one_ignored() {
    let host = Host::start("").await;
    let mut session = host.wire().await.session().await;
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let long = "0".repeat(129);
    for (n, (sent, kept)) in [(good, good), ("", ""), ("not hex!", ""), (&long, "")]
        .into_iter()
        .enumerate()
    {
        let (key, id) = (format!("k{n}"), 1_000 + n as u64);
        session.send_request(&v1::SessionRequest {
            id,
            traceparent: sent.into(),
            command: Some(Command::Claim(claim(&key, 1))),
        });
        session.answer_to(id).await.unwrap();
        let Outcome::InProgress(shown) = session.outcome(claim(&key, 2)).await else {
            panic!("not in progress")
        };
        assert_eq!(shown.traceparent, kept);
    }
}

#[tokio::test]
async fn numbers_are_the_clients_own() {
    let host = Host::start("").await;
    let mut session = host.wire().await.session().await;
    session.send_as(u64::MAX, Command::Claim(claim("a", 1)));
    session.answer_to(u64::MAX).await.unwrap();
    // Twice at once: two answers of one number.
    for key in ["b", "c"] {
        session.send_as(7, Command::Claim(claim(key, 1)));
    }
    for _ in 0..2 {
        let answer = session.answer_to(7).await.unwrap();
        assert!(matches!(outcome_of(answer), Outcome::Claimed(_)));
    }
}

#[tokio::test]
async fn number_0_and_a_missing_command_are_refused_and_the_stream_goes_on() {
    let host = Host::start("").await;
    let wire = host.wire().await;
    let mut session = wire.session().await;
    session.send_as(0, Command::Claim(claim("k", 1)));
    let error = told(session.answer_to(0).await);
    error.expect_field("id");
    session.send_as(5, None);
    let error = told(session.answer_to(5).await);
    error.expect_field("command");
    // A field that is not known: a command of a later version.
    session.send_bytes(framed(&[0x08, 6, 0xfa, 0x01, 0x00]));
    let error = told(session.answer_to(6).await);
    error.expect_field("command");
    assert_eq!(word(&mut wire.client(), "k").await, "absent");
    session.claimed(claim("k", 1)).await;
}

#[tokio::test]
async fn every_error_is_field_for_field_that_of_a_single_call() {
    const SETTINGS: &str = "[namespaces.orders]\nlargest_result_bytes = 1000";
    let host = Host::start(SETTINGS).await;
    let wire = host.wire().await;
    let (mut session, mut client) = (wire.session().await, wire.client());
    let token = |granted: &v1::Claimed| granted.token.clone();

    let print = |attempt, print: &'static [u8]| v1::ClaimRequest {
        fingerprint: print.into(),
        ..claim("printed", attempt)
    };
    session.claimed(print(1, b"one")).await;
    let lost = token(&session.claimed(claim("lost", 1)).await);
    session.ask(released("lost", &lost)).await.unwrap();
    session.claimed(claim("lost", 2)).await;
    let done = token(&session.claimed(claim("done", 1)).await);
    session.ask(complete("done", &done, b"r")).await.unwrap();
    let rests = token(&session.claimed(claim("rests", 1)).await);
    session.ask(released("rests", &rests)).await.unwrap();
    let held = token(&session.claimed(claim("held", 1)).await);

    let long = "k".repeat(256);
    let calls: Vec<(&str, Call)> = vec![
        ("INVALID_FIELD", claim("", 1).into()),
        ("INVALID_FIELD", claim(&long, 1).into()),
        ("INVALID_FIELD", lookup("a\nb").into()),
        ("INVALID_FIELD", complete("", &held, b"").into()),
        (
            "INVALID_FIELD",
            fail("", &held, FailureKind::Terminal).into(),
        ),
        ("INVALID_FIELD", extend("", &held).into()),
        ("INVALID_FIELD", checkpoint("", &held, b"").into()),
        (
            "INVALID_FIELD",
            v1::ClaimRequest {
                namespace: "No Such".into(),
                ..claim("k", 1)
            }
            .into(),
        ),
        (
            "INVALID_FIELD",
            v1::ClaimRequest {
                attempt_id: vec![1; 15].into(),
                ..claim("k", 1)
            }
            .into(),
        ),
        (
            "INVALID_FIELD",
            v1::ClaimRequest {
                wait: span(3_600, 0),
                ..claim("k", 1)
            }
            .into(),
        ),
        ("INVALID_FIELD", complete("held", b"no token", b"").into()),
        ("INVALID_FIELD", complete("held", &held, &[0; 1_001]).into()),
        (
            "INVALID_FIELD",
            checkpoint("held", &held, &[0; 16 * 1024 + 1]).into(),
        ),
        (
            "INVALID_FIELD",
            fail("held", &held, FailureKind::Unspecified).into(),
        ),
        ("FINGERPRINT_MISMATCH", print(2, b"two").into()),
        ("SUPERSEDED", claim("rests", 1).into()),
        ("LEASE_LOST", complete("lost", &lost, b"late").into()),
        ("LEASE_LOST", extend("lost", &lost).into()),
        ("LEASE_LOST", checkpoint("lost", &lost, b"late").into()),
        (
            "LEASE_LOST",
            fail("lost", &lost, FailureKind::Unknown).into(),
        ),
        ("RESULT_CONFLICT", complete("done", &done, b"other").into()),
        (
            "ALREADY_SETTLED",
            fail("done", &done, FailureKind::Terminal).into(),
        ),
        ("ALREADY_SETTLED", extend("done", &done).into()),
        ("KEY_NOT_FOUND", lookup("nothing").into()),
        (
            "KEY_NOT_FOUND",
            v1::LookupRequest {
                include_delivery: false,
                ..lookup("nothing")
            }
            .into(),
        ),
        ("KEY_NOT_FOUND", complete("nothing", &held, b"").into()),
    ];
    for (reason, call) in calls {
        let shown = format!("{call:?}").chars().take(200).collect::<String>();
        let by_stream = session.ask(call.clone()).await.expect_err(&shown);
        let single = call.send(&mut client).await.expect_err(&shown);
        assert_eq!(Told::of(&by_stream).reason, reason, "{shown}");
        assert_eq!(Told::of(&by_stream), Told::of(&single), "{shown}");
        assert_eq!(details(&by_stream), details(&single), "{shown}");
    }
    // Nothing of all that has done any harm, to the stream or to the claim.
    session.ask(complete("held", &held, b"r")).await.unwrap();
    assert_eq!(word(&mut client, "nothing").await, "absent");
}

/// The kinds of an error's details, in their order.
fn details(status: &Status) -> Vec<String> {
    let message: v1::SessionError = prost::Message::decode(status.details()).expect("a status");
    assert_eq!(
        (message.code, message.message.as_str()),
        (status.code() as i32, status.message())
    );
    let kinds = message.details.iter().map(|any| any.type_url.clone());
    kinds.collect()
}

#[tokio::test]
async fn a_stream_carries_several_windows_of_commands() {
    let host = Host::start("").await;
    let wire = host.wire().await;
    let mut session = wire.session().await;
    // More than a window, read beside.
    let keys: Vec<_> = (0..3 * WINDOW).map(|n| format!("k{n}")).collect();
    let claims: Vec<_> = keys.iter().map(|key| session.send(claim(key, 1))).collect();
    let mut settled = Vec::new();
    for (key, id) in keys.iter().zip(claims) {
        let Outcome::Claimed(granted) = outcome_of(session.answer_to(id).await.unwrap()) else {
            panic!("{key} is not claimed")
        };
        let request = complete(key, &granted.token, key.as_bytes());
        settled.push(session.send(request));
    }
    for id in settled {
        session.answer_to(id).await.unwrap();
    }
    let replays: Vec<_> = keys.iter().map(|key| session.send(claim(key, 2))).collect();
    for (key, id) in keys.iter().zip(replays) {
        let Outcome::Completed(shown) = outcome_of(session.answer_to(id).await.unwrap()) else {
            panic!("{key} is not completed")
        };
        assert_eq!(shown.result, key.as_bytes());
    }
    session.finish();
    let (left, status) = session.rest().await;
    assert!(left.is_empty() && status.code() == Code::Ok, "{status:?}");
}
