//! What streams may take: commands, bytes, streams. One that does not read is not read on, and
//! keeps nobody else waiting.

use std::{sync::Arc, time::Duration};

use semel_proto::v1::{self, claim_response::Outcome, session_response::Answer};
use semel_tests::Postgres;
use sqlx::{Connection as _, Executor as _};
use tokio::time::Instant;
use tonic::Code;

use crate::support::*;

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn the_largest_messages_go_through_a_stream() {
    let host = Host::start("[namespaces.orders]\nlargest_result_bytes = 4194304").await;
    let wire = host.wire().await;
    let mut session = wire.session().await;
    let granted = session.claimed(claim("k", 1)).await;
    let request = v1::FailRequest {
        result: vec![0xa5; 4 * MIB].into(),
        error: "e".repeat(4 * 1024),
        ..fail("k", &granted.token, v1::FailureKind::Terminal)
    };
    for repeat in [false, true] {
        let Answer::Fail(answer) = session.ask(request.clone()).await.unwrap() else {
            panic!("no answer of a Fail")
        };
        let Some(v1::fail_response::Outcome::Failed(shown)) = answer.outcome else {
            panic!("not failed")
        };
        assert_eq!(answer.repeat, repeat);
        assert!(shown.result == request.result && shown.error == request.error);
    }
    let shown = session.outcome(claim("k", 2)).await;
    assert!(matches!(shown, Outcome::Failed(shown) if shown.result == request.result));
}

/// How many of these keys are there.
async fn there(session: &mut Session, keys: &[String]) -> usize {
    let mut there = 0;
    for keys in keys.chunks(WINDOW / 2) {
        let ids: Vec<_> = keys.iter().map(|key| session.send(lookup(key))).collect();
        for id in ids {
            there += usize::from(session.answer_to(id).await.is_ok());
        }
    }
    there
}

/// Waits until no more of these keys come, and says how many there are.
pub async fn settled(session: &mut Session, keys: &[String]) -> usize {
    let mut last = 0;
    for _ in 0..100 {
        let now = there(session, keys).await;
        if now == last && now > 0 {
            return now;
        }
        last = now;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    panic!("more and more: {last}")
}

#[tokio::test]
async fn a_client_that_does_not_read_is_not_read_on_and_keeps_nobody_waiting() {
    let host = Host::start("").await;
    let narrow = Wire::narrow(host.address()).await;
    let mut unread = narrow.session().await;
    let keys: Vec<_> = (0..8 * WINDOW).map(|n| format!("k{n}")).collect();
    for key in &keys {
        unread.send(claim(key, 1));
    }
    // Everybody else is answered meanwhile: on the same connection, and on another one.
    for (key, wire) in [("one", &narrow), ("two", &host.wire().await)] {
        let mut other = wire.session().await;
        let read = settled(&mut other, &keys).await;
        // A window, and what was on its way to the client.
        assert!((WINDOW..4 * WINDOW).contains(&read), "{read} were read");
        let client = &mut wire.client();
        let granted = claimed(client, claim(key, 1)).await;
        client
            .complete(complete(key, &granted.token, b""))
            .await
            .unwrap();
        let shown = other.outcome(claim("k0", 2)).await;
        assert!(matches!(shown, Outcome::InProgress(_)), "{shown:?}");
    }
    // Once it reads, every command is answered, once.
    unread.finish();
    let (answers, status) = unread.rest().await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
    assert_eq!(answers.len(), keys.len());
    for (id, answer) in answers {
        let shown = outcome_of(answer.unwrap());
        assert!(matches!(shown, Outcome::Claimed(_)), "{id}: {shown:?}");
    }
}

#[tokio::test]
async fn a_stream_whose_large_answers_nobody_takes_is_not_read_on() {
    let host = Host::start("[namespaces.orders]\nlargest_result_bytes = 1048576").await;
    let wire = host.wire().await;
    let mut client = wire.client();
    let granted = claimed(&mut client, claim("large", 1)).await;
    let done = complete("large", &granted.token, &vec![1; MIB]);
    client.complete(done).await.unwrap();

    let mut unread = Wire::narrow(host.address()).await.session().await;
    for _ in 0..10 {
        unread.send(claim("large", 2));
    }
    // Commands are read until those answers are there, and no more then.
    let mut read = 0;
    loop {
        let key = format!("probe {read}");
        unread.send(claim(&key, 1));
        let reading = until("it is read", || {
            let (mut client, key) = (client.clone(), key.clone());
            async move { client.lookup(lookup(&key)).await.ok() }
        });
        let soon = tokio::time::timeout(Duration::from_millis(700), reading).await;
        if soon.is_err() {
            break;
        }
        read += 1;
        assert!(read < 100, "it is read on");
    }
    unread.finish();
    let (answers, status) = unread.rest().await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
    assert_eq!(answers.len(), 10 + read + 1);
    for (id, answer) in answers {
        match outcome_of(answer.expect("one stream has room for so much")) {
            Outcome::Completed(shown) => assert!(id <= 10 && shown.result.len() == MIB),
            Outcome::Claimed(_) => assert!(id > 10),
            other => panic!("{id}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_dropped_unread_gives_back_all_that_it_took() {
    const CALLS: usize = 100;
    on_postgres(|database: Arc<Postgres>| async move {
        let toml = format!("lanes = 1\nmax_calls = {CALLS}\npurge_interval = \"0s\"");
        let host = Host::on_url(&database.url(), &toml).await;
        let wire = host.wire().await;
        let mut client = wire.client();
        let granted = claimed(&mut client, claim("held", 1)).await;
        let mut locker = database.connect().await;
        let lock = "BEGIN; LOCK TABLE records IN ACCESS EXCLUSIVE MODE";
        for n in 0..12 {
            let narrow = Wire::narrow(host.address()).await;
            let mut session = narrow.session().await;
            // With the store standing still, with it, and with answers that nobody reads.
            if n % 2 == 0 {
                locker.execute(lock).await.unwrap();
            }
            for m in 0..WINDOW {
                session.send(claim(&format!("{n}/{m}"), 1));
                // Few, because each is a command of a holder, and these come first.
                if m % 40 == 0 {
                    session.send(extend("held", &granted.token));
                }
                session.send(waiting("held", 2));
                session.send_as(0, None);
            }
            if n % 2 == 0 {
                until("all places of streams are taken", || {
                    let wire = wire.clone();
                    async move {
                        // Refused without the store, once it has a place.
                        let mut probe = wire.session().await;
                        let id = probe.send(claim("", 1));
                        let answer = probe.answer_to(id);
                        let soon = tokio::time::timeout(Duration::from_millis(50), answer).await;
                        soon.is_err().then_some(())
                    }
                })
                .await;
            } else {
                let first = format!("{n}/0");
                until("it is read", || {
                    let mut client = client.clone();
                    let first = first.clone();
                    async move { client.lookup(lookup(&first)).await.ok() }
                })
                .await;
            }
            if n % 3 == 0 {
                drop(session);
            } else {
                drop((narrow, session));
            }
            if n % 2 == 0 {
                locker.execute("ROLLBACK").await.unwrap();
            }
        }
        within(client.extend(extend("held", &granted.token)))
            .await
            .expect("holders have places, too");
        // Every place comes back, once what the last stream left is carried out: with all places but
        // one taken, a command that comes behind is read. It is refused without the store.
        let bound = Instant::now() + Duration::from_secs(30);
        loop {
            locker.execute(lock).await.unwrap();
            let mut session = wire.session().await;
            let claims: Vec<_> = (1..CALLS)
                .map(|m| session.send(claim(&format!("last {m}"), 1)))
                .collect();
            let last = session.send(claim("", 1));
            let answer = session.answer_to(last);
            let soon = tokio::time::timeout(Duration::from_millis(500), answer).await;
            locker.execute("ROLLBACK").await.unwrap();
            // Answered behind what was left.
            for id in claims {
                session.answer_to(id).await.unwrap();
            }
            if soon.is_ok() {
                break;
            }
            assert!(Instant::now() < bound, "places are lost");
        }
        locker.close().await.unwrap();
        drop((client, wire));
        host.stop().await;
    })
    .await;
}

fn waiting(key: &str, attempt: u8) -> v1::ClaimRequest {
    v1::ClaimRequest {
        wait: span(60, 0),
        ..claim(key, attempt)
    }
}

#[tokio::test]
async fn streams_that_nobody_reads_do_not_keep_the_budget_from_others() {
    // Less than one window, and three of them.
    let host = Host::start("max_calls = 100").await;
    let wire = host.wire().await;
    let (mut session, mut client) = (wire.session().await, wire.client());
    let mut unread = Vec::new();
    for n in 0..3 {
        let mut session = Wire::narrow(host.address()).await.session().await;
        for m in 0..2 * WINDOW {
            let key = format!("{n}/{m}");
            session.send(claim(&key, 1));
            session.send(extend(&key, b"no token"));
        }
        until("more is answered than the budget has places", || {
            let mut client = client.clone();
            async move { client.lookup(lookup(&format!("{n}/500"))).await.ok() }
        })
        .await;
        unread.push(session);
    }
    let granted = claimed(&mut client, claim("single", 1)).await;
    let done = complete("single", &granted.token, b"");
    within(client.complete(done)).await.unwrap();
    session.claimed(claim("by stream", 1)).await;
}

#[tokio::test]
async fn a_stream_that_has_all_places_of_streams_leaves_single_calls_theirs() {
    on_postgres(|database: Arc<Postgres>| async move {
        let toml = "lanes = 1\nmax_calls = 10\nmax_queue = 5\npurge_interval = \"0s\"";
        let host = Host::on_url(&database.url(), toml).await;
        let wire = host.wire().await;
        let (mut session, mut client) = (wire.session().await, wire.client());
        let granted = session.claimed(claim("held", 1)).await;
        let mut locker = database.connect().await;
        let lock = "BEGIN; LOCK TABLE records IN ACCESS EXCLUSIVE MODE";
        locker.execute(lock).await.unwrap();
        let claims: Vec<_> = (0..40)
            .map(|n| session.send(claim(&format!("k{n}"), 1)))
            .collect();
        // Behind what waits on the lock, the stream's commands fill every place they can have: one
        // of another stream is not taken in any more.
        let mut other = wire.session().await;
        let held_back = other.send(claim("held back", 1));
        // A single call and what a holder says are.
        let mut caller = client.clone();
        let single = tokio::spawn(async move { caller.claim(claim("single", 1)).await });
        let mut holder = client.clone();
        let done = complete("held", &granted.token, b"done");
        let done = tokio::spawn(async move { holder.complete(done).await });
        locker.execute("ROLLBACK").await.unwrap();
        within(single).await.unwrap().expect("it has a place");
        within(done).await.unwrap().expect("it has a place");
        // The streams were never refused anything: they were held back.
        for id in claims {
            session.answer_to(id).await.unwrap();
        }
        other.answer_to(held_back).await.unwrap();
        within(client.claim(claim("single", 1))).await.unwrap();
        locker.close().await.unwrap();
        drop((session, other, client, wire));
        host.stop().await;
    })
    .await;
}

#[tokio::test]
async fn more_streams_than_allowed_on_a_connection_are_refused_until_one_ends() {
    let host = Host::start("").await;
    let wire = host.wire().await;
    let mut streams = Vec::new();
    let refused = loop {
        match wire.unopened(None).await {
            Ok(stream) => streams.push(stream),
            Err(refused) => break refused,
        }
        assert!(streams.len() <= 32);
    };
    assert_eq!(streams.len(), 32);
    Told::of(&refused)
        .expect(Code::ResourceExhausted, "TOO_MANY_REQUESTS")
        .expect_retry();
    // Single calls and other connections do not mind.
    claimed(&mut wire.client(), claim("k", 1)).await;
    host.wire().await.session().await;
    drop(streams.pop());
    until("there is a place again", || async {
        wire.unopened(None).await.ok()
    })
    .await;
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused_until_one_ends() {
    const STREAMS: usize = 4_096;
    const ON_ONE_CONNECTION: usize = 32;
    let host = Host::start("").await;
    let mut wires = Vec::new();
    let mut streams = Vec::new();
    while streams.len() < STREAMS {
        if streams.len() % ON_ONE_CONNECTION == 0 {
            wires.push(host.wire().await);
        }
        let wire = wires.last().expect("just pushed");
        streams.push(wire.unopened(None).await.expect("there is a place"));
    }
    let wire = host.wire().await;
    let refused = wire.unopened(None).await.err().expect("no place");
    Told::of(&refused)
        .expect(Code::ResourceExhausted, "TOO_MANY_REQUESTS")
        .expect_retry();
    // Single calls do not mind, and neither do the streams that are there.
    claimed(&mut wire.client(), claim("k", 1)).await;
    let mut first = streams.swap_remove(0);
    assert!(matches!(first.next().await, Ok((0, Answer::Opened(_)))));
    let shown = first.outcome(claim("k", 2)).await;
    assert!(matches!(shown, Outcome::InProgress(_)), "{shown:?}");
    // One ends well, another is hung up.
    first.finish();
    first.rest().await;
    drop(streams.pop());
    let mut more = Vec::new();
    for _ in 0..2 {
        let session = until("there is a place again", || async {
            wire.unopened(None).await.ok()
        });
        more.push(session.await);
    }
    assert!(wire.unopened(None).await.is_err());
}
