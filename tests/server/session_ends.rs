//! How a stream ends: what was read before is answered, or carried out where nobody is left to be
//! answered.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use semel_proto::v1::{
    self, claim_response::Outcome, session_request::Command, session_response::Answer,
};
use semel_server::app::Ended;
use semel_test_postgres::Cluster;
use semel_tests::Postgres;
use sqlx::{Connection as _, Executor as _};
use tokio::{task::spawn_blocking, time::Instant};
use tonic::{Code, Status};

use crate::support::*;

fn waiting(key: &str, attempt: u8) -> v1::ClaimRequest {
    v1::ClaimRequest {
        wait: span(60, 0),
        ..claim(key, attempt)
    }
}

/// The beginning of a message of so many bytes.
fn head(flag: u8, len: u32) -> Bytes {
    [&[flag][..], &len.to_be_bytes()].concat().into()
}

#[tokio::test]
async fn what_is_no_message_ends_the_stream_when_what_came_before_is_answered() {
    let host = Host::start("").await;
    let wire = host.wire().await;
    for (n, (what, bytes)) in [
        ("no protobuf", framed(&[0xff; 20])),
        // SessionRequest.claim.key
        ("no text", framed(&[0x08, 9, 0x1a, 3, 0x12, 1, 0xff])),
        ("too large", head(0, 6 * 1024 * 1024)),
        ("compressed, not saying how", head(1, 10)),
        ("no flag", head(7, 10)),
    ]
    .into_iter()
    .enumerate()
    {
        let mut session = wire.session().await;
        let keys: Vec<_> = (0..100).map(|k| format!("{n}/{k}")).collect();
        let ids: Vec<_> = keys.iter().map(|key| session.send(claim(key, 1))).collect();
        session.send_bytes(bytes);
        let late = session.send(claim(&format!("{n}/late"), 1));
        let (mut answers, status) = session.rest().await;
        let error = Told::of(&status);
        error.expect(Code::InvalidArgument, "MALFORMED_MESSAGE");
        assert!(
            error.message.contains("cannot be read"),
            "{what}: {error:?}"
        );
        for id in ids {
            let answer = answers.remove(&id).expect(what).expect(what);
            assert!(matches!(outcome_of(answer), Outcome::Claimed(_)), "{what}");
        }
        assert!(!answers.contains_key(&late), "{what}");
        let late = word(&mut wire.client(), &format!("{n}/late")).await;
        assert_eq!(late, "absent", "{what}");
    }
    assert!(!wire.is_closed());
}

#[tokio::test]
async fn an_end_within_a_message_is_no_good_end() {
    let host = Host::start("").await;
    let mut session = host.wire().await.session().await;
    let id = session.send(claim("k", 1));
    session.send_bytes(framed(&[0; 20]).slice(..12));
    session.finish();
    let (answers, status) = session.rest().await;
    assert!(answers[&id].is_ok(), "{answers:?}");
    Told::of(&status).expect(Code::InvalidArgument, "MALFORMED_MESSAGE");
}

#[tokio::test]
async fn what_is_sent_behind_the_end_does_not_choke_the_connection() {
    let host = Host::start("").await;
    let wire = host.wire().await;
    let mut client = wire.client();
    let junk = Bytes::from(vec![0xff; 64 * 1024]);
    // Several times what the server lets a connection send ahead.
    for _ in 0..30 {
        let mut session = wire.session().await;
        session.send_bytes(framed(&[0xff; 20]));
        for _ in 0..16 {
            session.send_bytes(junk.clone());
        }
        let (_, status) = session.rest().await;
        Told::of(&status).expect(Code::InvalidArgument, "MALFORMED_MESSAGE");
    }
    let granted = claimed(&mut client, claim("k", 1)).await;
    let large = complete("k", &granted.token, &vec![1; 256 * 1024]);
    within(client.complete(large)).await.unwrap();
    assert!(!wire.is_closed());
}

#[tokio::test]
async fn a_deadline_ends_the_stream_after_its_answers() {
    let host = Host::start("").await;
    let wire = host.wire().await;
    let granted = claimed(&mut wire.client(), claim("held", 1)).await;
    for timeout in ["400m", "0n"] {
        let started = Instant::now();
        let mut session = wire.session_within(Some(timeout)).await;
        if timeout == "400m" {
            session.claimed(claim("k", 1)).await;
            // Held back for as long as there is time, and answered within it.
            let Outcome::InProgress(shown) = session.outcome(waiting("held", 2)).await else {
                panic!("not in progress")
            };
            assert_eq!(shown.fence, granted.fence);
            let took = started.elapsed();
            let (least, most) = (Duration::from_millis(100), Duration::from_millis(400));
            assert!(least < took && took < most, "{took:?}");
        }
        let (answers, status) = session.rest().await;
        assert!(answers.is_empty(), "{answers:?}");
        Told::of(&status).expect(Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
        if timeout == "400m" {
            let took = started.elapsed();
            let (least, most) = (Duration::from_millis(400), Duration::from_secs(5));
            assert!(least <= took && took < most, "{took:?}");
        }
    }
}

#[tokio::test]
async fn a_deadline_ends_also_a_stream_that_is_never_silent() {
    let host = Host::start("").await;
    let mut session = host.wire().await.session_within(Some("300m")).await;
    let mut under_way = 0;
    let ended = async {
        loop {
            while under_way < WINDOW / 2 {
                session.send(lookup("nothing"));
                under_way += 1;
            }
            match session.next().await {
                Ok(_) => under_way -= 1,
                Err(status) => return status,
            }
        }
    };
    let status = within(ended).await;
    Told::of(&status).expect(Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
}

#[tokio::test]
async fn what_a_holder_said_is_carried_out_though_it_hung_up() {
    on_postgres(|database: Arc<Postgres>| async move {
        let host = Host::on_url(&database.url(), "lanes = 1\npurge_interval = \"0s\"").await;
        let mut client = host.client().await;
        let wire = host.wire().await;
        let mut session = wire.session().await;
        let mut tokens = Vec::new();
        for key in ["done", "failed", "saved"] {
            tokens.push(session.claimed(claim(key, 1)).await.token);
        }
        let mut locker = database.connect().await;
        let lock = "BEGIN; LOCK TABLE records IN ACCESS EXCLUSIVE MODE";
        locker.execute(lock).await.unwrap();
        session.send(complete("done", &tokens[0], b"r"));
        session.send(fail("failed", &tokens[1], v1::FailureKind::Terminal));
        session.send(checkpoint("saved", &tokens[2], b"page 7"));
        // Refused without the store: so what came before has been read.
        session.send_as(0, None);
        session.answer_to(0).await.unwrap_err();
        drop((session, wire));
        locker.execute("ROLLBACK").await.unwrap();
        until("all three are carried out", || {
            let mut client = client.clone();
            async move {
                let words = [
                    word(&mut client, "done").await,
                    word(&mut client, "failed").await,
                ];
                let saved = looked_up(&mut client, "saved").await.checkpoint;
                let all = words == ["completed", "failed"] && saved.as_deref() == Some(b"page 7");
                all.then_some(())
            }
        })
        .await;
        // And told to whoever asks again.
        let again = complete("done", &tokens[0], b"r");
        assert!(client.complete(again).await.unwrap().into_inner().repeat);
        locker.close().await.unwrap();
        drop(client);
        host.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_stop_ends_silent_and_waiting_streams_with_ok() {
    let host = Host::start("drain = \"10s\"").await;
    let wire = host.wire().await;
    let (silent, mut session) = (wire.session().await, wire.session().await);
    session.claimed(claim("k", 1)).await;
    let waits = session.send(waiting("k", 2));
    session.ask(lookup("k")).await.unwrap();
    host.ask_to_stop();
    let (mut answers, status) = session.rest().await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
    let shown = outcome_of(answers.remove(&waits).expect("answered").unwrap());
    assert!(matches!(shown, Outcome::InProgress(_)), "{shown:?}");
    let (answers, status) = silent.rest().await;
    assert!(
        answers.is_empty() && status.code() == Code::Ok,
        "{status:?}"
    );
    assert_eq!(host.stop().await, Ended::Drained);
}

/// Sends claims without end, and reads their answers until the stream ends. Says how many it has
/// sent.
async fn claims_without_end(
    mut session: Session,
    name: usize,
    enough: tokio::sync::watch::Sender<usize>,
) -> (u64, Vec<(u64, Answer)>, Status) {
    let (mut sent, mut answers) = (0, Vec::new());
    loop {
        while sent < answers.len() as u64 + 700 {
            sent += 1;
            session.send_as(sent, Command::Claim(claim(&format!("{name}/{sent}"), 1)));
        }
        match session.next().await {
            Ok((id, answer)) => {
                answers.push((id, answer));
                enough.send_modify(|all| *all += 1);
            }
            Err(status) => return (sent, answers, status),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_answers_what_was_read_and_leaves_nothing_of_the_rest() {
    let scratch = Scratch::new();
    let host = Host::on(&scratch, "drain = \"10s\"").await;
    let answered = tokio::sync::watch::Sender::new(0);
    let mut streams = tokio::task::JoinSet::new();
    for name in 0..4 {
        let session = host.wire().await.session().await;
        let answered = answered.clone();
        streams.spawn(async move {
            let told = claims_without_end(session, name, answered).await;
            (name, told)
        });
    }
    let mut enough = answered.subscribe();
    within(enough.wait_for(|all| *all > 2_000)).await.unwrap();
    host.ask_to_stop();
    let told = within(streams.join_all()).await;
    assert_eq!(host.stop().await, Ended::Drained);

    let host = Host::on(&scratch, "").await;
    let mut session = host.wire().await.session().await;
    for (name, (sent, mut answers, status)) in told {
        assert_eq!(status.code(), Code::Ok, "{status:?}");
        answers.sort_by_key(|(id, _)| *id);
        let numbers: Vec<_> = answers.iter().map(|(id, _)| *id).collect();
        // Read in their order, each answered once, and none that was not.
        let expected: Vec<_> = (1..=answers.len() as u64).collect();
        assert_eq!(numbers, expected);
        let unread = numbers.len() as u64 + 1..=sent;
        let looks: Vec<_> = unread
            .map(|id| session.send(lookup(&format!("{name}/{id}"))))
            .collect();
        for look in looks {
            let error = Told::of(&session.answer_to(look).await.unwrap_err());
            error.expect(Code::NotFound, "KEY_NOT_FOUND");
        }
        // Whether it was answered or not, the same claim again is fine.
        let again: Vec<_> = (1..=sent)
            .map(|id| session.send(claim(&format!("{name}/{id}"), 1)))
            .collect();
        let mut answers = answers.into_iter();
        for id in again {
            let Outcome::Claimed(again) = outcome_of(session.answer_to(id).await.unwrap()) else {
                panic!("not claimed")
            };
            assert_eq!(again.attempt, 1);
            if let Some((_, answer)) = answers.next() {
                let Outcome::Claimed(first) = outcome_of(answer) else {
                    panic!("not claimed")
                };
                assert_eq!((again.fence, again.token), (first.fence, first.token));
            }
        }
    }
}

#[tokio::test]
async fn a_server_as_a_process_exits_well_with_streams_open() {
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let mut command = semel(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    command.args(["--data-dir", data.to_str().unwrap()]);
    let server = Process::start(command);
    let wire = Wire::connect(server.serving().await).await;
    let mut session = wire.session().await;
    session.claimed(claim("k", 1)).await;
    server.signal("TERM").await;
    let (_, status) = session.rest().await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
    let ended = server.ended().await;
    ended.expect_code(0);
    assert!(ended.stderr.contains("\"stopped\""), "{ended:#?}");
}

#[tokio::test]
async fn a_store_that_is_away_is_told_to_each_command_and_the_stream_goes_on() {
    let cluster = spawn_blocking(Cluster::start)
        .await
        .unwrap()
        .expect("a Postgres");
    let host = Host::on_url(&cluster.url("postgres"), "").await;
    let wire = host.wire().await;
    let mut session = wire.session().await;
    let granted = session.claimed(claim("k", 1)).await;
    let cluster = spawn_blocking(move || cluster.stop_fast().map(|()| cluster));
    let cluster = cluster.await.unwrap().expect("it stops");

    let calls: [Call; 8] = [
        claim("new", 1).into(),
        waiting("other", 1).into(),
        claim("k", 1).into(),
        complete("k", &granted.token, b"done").into(),
        extend("k", &granted.token).into(),
        checkpoint("k", &granted.token, b"c").into(),
        lookup("k").into(),
        v1::LookupRequest {
            include_delivery: false,
            ..lookup("k")
        }
        .into(),
    ];
    let ids: Vec<_> = calls.into_iter().map(|call| session.send(call)).collect();
    for id in ids {
        let error = told(session.answer_to(id).await);
        error
            .expect(Code::Unavailable, "STORE_UNAVAILABLE")
            .expect_retry();
        assert_eq!(error.get("namespace"), Some(NAMESPACE));
        assert!(error.message.contains("may have been applied"), "{error:?}");
        assert!(!error.message.contains("127.0.0.1"), "{error:?}");
    }

    let cluster = spawn_blocking(move || cluster.restart().map(|()| cluster));
    let cluster = cluster.await.unwrap().expect("it starts again");
    let bound = Instant::now() + Duration::from_secs(20);
    while let Err(status) = session.ask(complete("k", &granted.token, b"done")).await {
        Told::of(&status).expect(Code::Unavailable, "STORE_UNAVAILABLE");
        assert!(Instant::now() < bound, "the store does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(word(&mut wire.client(), "k").await, "completed");
    drop((session, wire));
    host.stop().await;
    drop(cluster);
}
