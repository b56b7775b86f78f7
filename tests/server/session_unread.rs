//! Streams that nobody reads: what they take is bounded, nobody else stands still because of them,
//! and they are given up in the end.

use std::{fs, time::Duration};

use semel_proto::v1::{
    self, FailureKind, claim_response::Outcome, fail_response::Outcome::Failed,
    session_response::Answer,
};
use tonic::Code;

use crate::{session_bounds::settled, support::*};

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn streams_that_stand_still_leave_room_for_calls_on_their_connection() {
    // As many as a connection may have.
    const STREAMS: usize = 32;
    let host = Host::start("").await;
    let wire = Wire::narrow(host.address()).await;
    let mut client = wire.client();
    let held = claimed(&mut client, claim("held", 1)).await;
    let long = "x".repeat(200);
    let mut unread = Vec::new();
    let mut last = Vec::new();
    for stream in 0..STREAMS {
        let mut session = wire.session().await;
        for n in 0..3 * WINDOW {
            // Refused, which costs the server little; the last stream's show how far it is read.
            if stream == STREAMS - 1 {
                last.push(format!("{long}{n}"));
                session.send(claim(&last[n], 1));
            } else {
                session.send(v1::CompleteRequest {
                    result: vec![0; 200].into(),
                    ..complete("", b"", b"")
                });
            }
        }
        unread.push(session);
    }
    let read = settled(&mut host.wire().await.session().await, &last).await;
    assert!(read < last.len(), "it does not stand still");
    let large = complete("held", &held.token, &vec![1; 200 * 1024]);
    within(client.complete(large)).await.unwrap();
    assert!(!wire.is_closed());
}

#[tokio::test]
async fn short_commands_that_are_not_read_do_not_end_their_connection() {
    let host = Host::start("").await;
    let wire = Wire::narrow(host.address()).await;
    let mut unread = wire.session().await;
    let keys: Vec<_> = (0..4 * WINDOW).map(|n| format!("{n}")).collect();
    for key in &keys {
        unread.send(claim(key, 1));
    }
    for _ in 0..30_000 {
        unread.send(lookup("k"));
    }
    let read = settled(&mut host.wire().await.session().await, &keys).await;
    assert!(read < keys.len(), "it does not stand still");
    claimed(&mut wire.client(), claim("other", 1)).await;
    assert!(!wire.is_closed());
}

#[tokio::test]
async fn a_stream_whose_answers_nobody_takes_is_given_up() {
    let host = Host::start("").await;
    let wire = Wire::narrow(host.address()).await;
    let mut unread = wire.session().await;
    for n in 0..100 {
        unread.send(claim(&format!("k{n}"), 1));
    }
    // The last is carried out, so all are read; more is answered than the client takes.
    let mut client = host.client().await;
    until("all are answered", || {
        let mut client = client.clone();
        async move { client.lookup(lookup("k99")).await.ok() }
    })
    .await;
    // From here on time passes when there is nothing to do: long enough for any patience.
    tokio::time::pause();
    for _ in 0..70 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::resume();
    let (answers, status) = unread.rest().await;
    assert!(answers.len() < 100, "{}", answers.len());
    assert_ne!(status.code(), Code::Ok, "{status:?}");
    // Only the stream is gone; what it asked for stands.
    assert!(!wire.is_closed());
    let mut again = wire.session().await;
    let shown = again.outcome(claim("k99", 2)).await;
    assert!(matches!(shown, Outcome::InProgress(_)), "{shown:?}");
    claimed(&mut client, claim("other", 1)).await;
}

/// The process's resident memory.
fn resident(id: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<usize>().ok()).expect("KiB") * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_that_nobody_reads_take_bounded_memory() {
    const STREAMS: usize = 20;
    const COMMANDS: usize = 100;
    const KEYS: usize = 64;
    let scratch = Scratch::new();
    let data = scratch.path("data");
    // Room in the queue for all, so that nobody else is refused.
    let settings = "max_queue = 10000\nmax_batch = 64\n\
                    [namespaces.orders]\nlargest_result_bytes = 1048576";
    let config = scratch.file("semel.toml", settings);
    let mut command = semel(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    command
        .args(["--data-dir", data.to_str().unwrap()])
        .args(["--config", config.to_str().unwrap()]);
    let server = Process::start(command);
    let address = server.serving().await;
    let wire = Wire::connect(address).await;
    let mut client = wire.client();
    let result = |n: usize| vec![n as u8; MIB];
    let mut tokens = Vec::new();
    for n in 0..KEYS {
        let (done, failed) = (format!("done {n}"), format!("failed {n}"));
        let granted = claimed(&mut client, claim(&done, 1)).await;
        let call = complete(&done, &granted.token, &result(n));
        client.complete(call).await.unwrap();
        let granted = claimed(&mut client, claim(&failed, 1)).await;
        let call = v1::FailRequest {
            result: result(n).into(),
            ..fail(&failed, &granted.token, FailureKind::Terminal)
        };
        client.fail(call).await.unwrap();
        tokens.push(granted.token);
    }

    // All together they ask for 2 GiB: by Claims, and by Fails that are told what was failed with
    // when they are sent again.
    let mut unread = Vec::new();
    for n in 0..STREAMS {
        let mut session = Wire::connect(address).await.session().await;
        for m in 0..COMMANDS {
            let key = (n + m) % KEYS;
            if n % 2 == 0 {
                session.send(claim(&format!("done {key}"), 2));
            } else {
                let key_name = format!("failed {key}");
                session.send(fail(&key_name, &tokens[key], FailureKind::Terminal));
            }
        }
        unread.push(session);
    }
    // The lanes go on: others are answered, also those who ask for the same.
    let mut most = 0;
    for n in 0..20 {
        most = most.max(resident(server.id()));
        let request = claim(&format!("done {}", n % KEYS), 3);
        let Outcome::Completed(shown) = outcome(&mut client, request).await else {
            panic!("not completed")
        };
        assert!(shown.result == result(n % KEYS));
    }
    // Also on a stream, also where the answers of others take much of the room.
    let mut other = wire.session().await;
    for _ in 0..5 {
        let shown = other.outcome(claim("done 0", 3)).await;
        assert!(matches!(shown, Outcome::Completed(_)));
    }
    // Answers of all streams; what one round reads, and the memory that it used for it; the server
    // itself.
    let bound = (256 + 4 * KEYS + 192) * MIB;
    assert!(most < bound, "{} MiB", most / MIB);

    // Who reads is answered; what found no room is to be asked again. One after the other, or this
    // process itself would hold all of it.
    for (n, session) in unread.into_iter().enumerate() {
        let byte = |id: u64| ((n + id as usize - 1) % KEYS) as u8;
        match within(read_large(session, byte)).await {
            (read, Code::Ok) => {
                assert_eq!(read.results + read.refused, COMMANDS, "every command once");
                assert!(read.results > 0, "{n} had no part of the room");
            }
            // It had to make room for others.
            (read, _) => assert!(read.results + read.refused < COMMANDS),
        }
    }
    drop((client, wire));
    server.signal("TERM").await;
    server.ended().await.expect_code(0);
}

#[derive(Default)]
struct Read {
    results: usize,
    /// Told to be asked for again.
    refused: usize,
}

/// Reads all answers, whose results consist of this byte, and what the stream ends with.
async fn read_large(mut session: Session, byte: impl Fn(u64) -> u8) -> (Read, Code) {
    session.finish();
    let mut read = Read::default();
    loop {
        let (id, answer) = match session.next().await {
            Ok(next) => next,
            Err(status) => return (read, status.code()),
        };
        let result = match answer {
            Answer::Claim(v1::ClaimResponse {
                outcome: Some(Outcome::Completed(shown)),
            }) => shown.result,
            Answer::Fail(v1::FailResponse {
                repeat: true,
                outcome: Some(Failed(shown)),
            }) => shown.result,
            answer => {
                session_error(answer)
                    .expect(Code::ResourceExhausted, "QUEUE_FULL")
                    .expect_retry();
                read.refused += 1;
                continue;
            }
        };
        assert!(result == vec![byte(id); MIB]);
        read.results += 1;
    }
}
