//! Claims that wait, on a stream.

use std::{sync::Arc, time::Duration};

use semel_proto::v1::{
    self, FailureKind, claim_response::Outcome, lookup_response, session_response::Answer,
};
use semel_tests::Postgres;
use sqlx::{Connection as _, Executor as _, Row as _};
use tokio::time::Instant;
use tonic::Code;

use crate::support::*;

fn waiting(key: &str, attempt: u8) -> v1::ClaimRequest {
    v1::ClaimRequest {
        wait: span(60, 0),
        ..claim(key, attempt)
    }
}

fn released(key: &str, token: &[u8]) -> v1::FailRequest {
    v1::FailRequest {
        retry_after: millis(0),
        ..fail(key, token, FailureKind::Retryable)
    }
}

/// Comes back when the stream has answered what was sent before: a wait has begun by then.
async fn reached(session: &mut Session) {
    session.ask(lookup("nothing")).await.unwrap_err();
}

#[tokio::test]
async fn a_claim_that_waits_does_not_hold_up_what_comes_behind_it() {
    let host = Host::start("").await;
    let mut session = host.wire().await.session().await;
    session.claimed(claim("k", 1)).await;
    let waits = session.send(waiting("k", 2));
    for n in 0..50 {
        session.claimed(claim(&format!("other {n}"), 1)).await;
    }
    assert!(!session.has_read(waits));
}

#[tokio::test]
async fn a_wait_ends_with_the_settlement_by_a_single_call() {
    let host = Host::start("").await;
    let wire = host.wire().await;
    let (mut session, mut client) = (wire.session().await, wire.client());
    let granted = claimed(&mut client, claim("k", 1)).await;
    let waits = session.send(waiting("k", 2));
    reached(&mut session).await;
    assert!(!session.has_read(waits));
    let done = complete("k", &granted.token, b"done");
    client.complete(done).await.unwrap();
    let Outcome::Completed(shown) = outcome_of(session.answer_to(waits).await.unwrap()) else {
        panic!("not completed")
    };
    assert_eq!(shown.result, &b"done"[..]);
}

#[tokio::test]
async fn a_wait_ends_with_the_settlement_by_the_same_stream() {
    let host = Host::start("").await;
    let mut session = host.wire().await.session().await;
    let granted = session.claimed(claim("k", 1)).await;
    let waits = session.send(waiting("k", 2));
    reached(&mut session).await;
    session.ask(released("k", &granted.token)).await.unwrap();
    let Outcome::Claimed(next) = outcome_of(session.answer_to(waits).await.unwrap()) else {
        panic!("not claimed")
    };
    assert_eq!(next.attempt, 2);
}

#[tokio::test]
async fn a_single_calls_wait_ends_with_the_settlement_by_a_stream() {
    let host = Host::start("").await;
    let wire = host.wire().await;
    let mut session = wire.session().await;
    let granted = session.claimed(claim("k", 1)).await;
    let mut client = wire.client();
    let waits = tokio::spawn(async move { outcome(&mut client, waiting("k", 2)).await });
    let done = complete("k", &granted.token, b"done");
    session.ask(done).await.unwrap();
    let shown = within(waits).await.unwrap();
    assert!(matches!(shown, Outcome::Completed(_)), "{shown:?}");
}

#[tokio::test]
async fn a_wait_that_runs_out_answers_in_progress() {
    let host = Host::start("").await;
    let mut session = host.wire().await.session().await;
    session.claimed(claim("k", 1)).await;
    let started = Instant::now();
    let short = v1::ClaimRequest {
        wait: millis(100),
        ..claim("k", 2)
    };
    let shown = session.outcome(short).await;
    assert!(matches!(shown, Outcome::InProgress(_)), "{shown:?}");
    assert!(started.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn a_wait_that_was_cancelled_is_told_so_and_never_claims_the_key() {
    let host = Host::start("").await;
    let wire = host.wire().await;
    let mut session = wire.session().await;
    let granted = session.claimed(claim("k", 1)).await;
    let waits = session.send(waiting("k", 2));
    reached(&mut session).await;
    let cancels = session.cancel(waits);
    assert_eq!(
        session.answer_to(cancels).await.unwrap(),
        Answer::Cancelled(v1::SessionCancelled {})
    );
    let error = told(session.answer_to(waits).await);
    error.expect(Code::Cancelled, "CANCELLED");
    assert_eq!(error.get("namespace"), Some(NAMESPACE));
    assert_eq!(error.get("key"), Some("k"));
    session.ask(released("k", &granted.token)).await.unwrap();
    let next = claimed(&mut wire.client(), claim("k", 3)).await;
    assert_eq!(next.attempt, 2, "nobody was in between");
}

#[tokio::test]
async fn a_cancel_that_comes_right_behind_its_claim_is_heard() {
    let host = Host::start("").await;
    let wire = host.wire().await;
    let mut session = wire.session().await;
    let granted = session.claimed(claim("k", 1)).await;
    let mut waits = Vec::new();
    for attempt in 2..102 {
        let wait = session.send(waiting("k", attempt));
        session.cancel(wait);
        waits.push(wait);
    }
    for wait in waits {
        let error = told(session.answer_to(wait).await);
        error.expect(Code::Cancelled, "CANCELLED");
    }
    session.ask(released("k", &granted.token)).await.unwrap();
    assert_eq!(session.claimed(claim("k", 200)).await.attempt, 2);
}

#[tokio::test]
async fn a_cancel_of_what_does_not_wait_has_no_effect() {
    let host = Host::start("").await;
    let mut session = host.wire().await.session().await;
    let granted = session.claimed(claim("k", 1)).await;
    // Of a number that never was, of one that is answered, and of a wait that is over.
    let over = session.send(waiting("free", 1));
    session.answer_to(over).await.unwrap();
    for number in [77, 1, over, 0] {
        let cancels = session.cancel(number);
        session.answer_to(cancels).await.unwrap();
    }
    // A number that is used again is another command's.
    let waits = session.send(waiting("k", 2));
    reached(&mut session).await;
    let done = complete("k", &granted.token, b"done");
    session.ask(done).await.unwrap();
    let shown = outcome_of(session.answer_to(waits).await.unwrap());
    assert!(matches!(shown, Outcome::Completed(_)), "{shown:?}");
}

/// A claim's look at its key is on its way through the store while it is cancelled: whatever it is
/// told then has to be what came of the look.
#[tokio::test]
async fn a_claim_that_is_told_cancelled_has_not_claimed_meanwhile() {
    on_postgres(|database: Arc<Postgres>| async move {
        let toml = "lanes = 1\npurge_interval = \"0s\"\n[defaults]\ndefault_lease = \"1s\"";
        let host = Host::on_url(&database.url(), toml).await;
        let wire = host.wire().await;
        let mut session = wire.session().await;
        session.claimed(claim("k", 1)).await;
        let waits = session.send(waiting("k", 2));
        reached(&mut session).await;
        let mut locker = database.connect().await;
        let lock = "BEGIN; LOCK TABLE records IN ACCESS EXCLUSIVE MODE";
        locker.execute(lock).await.unwrap();
        let mut watcher = database.connect().await;
        // The look is in the store, and hangs.
        let hangs = "SELECT count(*) FROM pg_locks \
                     WHERE relation = 'records'::regclass AND NOT granted";
        let bound = Instant::now() + Duration::from_secs(10);
        loop {
            let row = watcher.fetch_one(hangs).await.unwrap();
            if row.get::<i64, _>(0) > 0 {
                break;
            }
            assert!(Instant::now() < bound, "it does not look again");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let cancels = session.cancel(waits);
        session.answer_to(cancels).await.unwrap();
        // Meanwhile the lease lapses, so that the look would find the key free.
        let lapse = "SELECT pg_sleep(1.1)";
        watcher.execute(lapse).await.unwrap();
        locker.execute("ROLLBACK").await.unwrap();
        let told = session.answer_to(waits).await;
        let lookup_response::Outcome::InProgress(shown) = stands(&mut wire.client(), "k").await
        else {
            panic!("not in progress")
        };
        match told.map(outcome_of) {
            Ok(Outcome::Claimed(granted)) => {
                assert_eq!((shown.fence, shown.attempt), (granted.fence, 2));
            }
            Err(status) => {
                assert_eq!(status.code(), Code::Cancelled, "{status:?}");
                let holder = (shown.owner.as_str(), shown.attempt);
                assert_eq!(holder, ("worker-1", 1), "claimed in secret");
            }
            other => panic!("neither claimed nor cancelled: {other:?}"),
        }
        locker.close().await.unwrap();
        watcher.close().await.unwrap();
        drop((session, wire));
        host.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_client_that_hangs_up_waits_no_more_and_never_claims_the_key() {
    let host = Host::start("max_calls = 2\nmax_waiters = 1").await;
    let mut holder = host.client().await;
    let granted = claimed(&mut holder, claim("k", 1)).await;
    for attempt in [2, 3] {
        let wire = host.wire().await;
        let mut session = wire.session().await;
        session.send(waiting("k", attempt));
        reached(&mut session).await;
        // Once by hanging up the stream alone, and once with the whole connection.
        drop(session);
        if attempt == 2 {
            claimed(&mut wire.client(), claim("other", 1)).await;
        }
        drop(wire);
        // There is one place to wait; whoever gets it waits.
        until("the place to wait is free again", || async {
            let mut session = host.wire().await.session().await;
            let waits = session.send(waiting("k", 9));
            reached(&mut session).await;
            let cancels = session.cancel(waits);
            session.answer_to(cancels).await.unwrap();
            session.answer_to(waits).await.err()
        })
        .await;
    }
    holder.fail(released("k", &granted.token)).await.unwrap();
    let next = claimed(&mut holder, claim("k", 4)).await;
    assert_eq!(next.attempt, 2, "nobody was in between");
}

#[tokio::test]
async fn the_end_of_the_clients_side_does_not_end_its_waits() {
    let host = Host::start("").await;
    let wire = host.wire().await;
    let mut session = wire.session().await;
    let granted = session.claimed(claim("k", 1)).await;
    let waits = session.send(waiting("k", 2));
    session.finish();
    let mut client = wire.client();
    // The server has heard of the end by now, or does before long; both are fine.
    claimed(&mut client, claim("other", 1)).await;
    let done = complete("k", &granted.token, b"done");
    client.complete(done).await.unwrap();
    let (mut answers, status) = session.rest().await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
    let shown = outcome_of(answers.remove(&waits).expect("answered").unwrap());
    assert!(matches!(shown, Outcome::Completed(_)), "{shown:?}");
}

#[tokio::test]
async fn a_window_full_of_waits_leaves_room_for_the_settlement_that_ends_them() {
    let host = Host::start("").await;
    let mut session = host.wire().await.session().await;
    let granted = session.claimed(claim("k", 1)).await;
    let waits: Vec<_> = (0..2 * WINDOW)
        .map(|n| {
            session.send(v1::ClaimRequest {
                attempt_id: (n as u128 + 1_000).to_be_bytes().to_vec().into(),
                ..waiting("k", 2)
            })
        })
        .collect();
    let extended = session.send(extend("k", &granted.token));
    session.answer_to(extended).await.unwrap();
    let cancels = session.cancel(waits[0]);
    session.answer_to(cancels).await.unwrap();
    let done = complete("k", &granted.token, b"done");
    session.ask(done).await.unwrap();
    let mut completed = 0;
    for wait in &waits[1..] {
        match outcome_of(session.answer_to(*wait).await.unwrap()) {
            Outcome::Completed(_) => completed += 1,
            // More wait than may; those are answered at once.
            Outcome::InProgress(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(completed >= WINDOW / 4, "{completed} have waited");
}
