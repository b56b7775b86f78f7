//! Calls on one stream: which ones share it, how many, and who gets which answer.

use std::collections::HashSet;
use std::time::Duration;

use semel_client::{Claim, Client, Error, Failure, Token, Transport};
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::support::{
    Ending, Fake, Fault, Gate, Rpc, Sessions, claimed, completed, ms, on_one_session, quick,
    reason, soon,
};

async fn settled(client: &Client, key: &str, result: &str) {
    let held = claimed(soon(client.claim(&Claim::new("ns", key))).await.unwrap()).held;
    soon(client.complete(&held, result.to_owned()))
        .await
        .unwrap();
}

#[tokio::test]
async fn many_callers_share_a_stream_and_each_gets_its_own_answer_in_any_order() {
    const CALLERS: u64 = 100;
    let fake = Fake::start().await;
    let client = on_one_session().connect(fake.address()).unwrap();
    for n in 0..CALLERS {
        settled(&client, &format!("k{n}"), &format!("result of {n}")).await;
    }
    // The first asked is the last answered.
    for n in 0..CALLERS {
        fake.next(Rpc::Claim, Fault::AnswerLate(ms(5 * (CALLERS - n))));
    }

    let mut callers = JoinSet::new();
    for n in 0..CALLERS {
        let client = client.clone();
        callers.spawn(async move {
            let outcome = client.claim(&Claim::new("ns", format!("k{n}"))).await;
            (n, completed(outcome.unwrap()))
        });
    }
    let mut order = Vec::new();
    while let Some(caller) = soon(callers.join_next()).await {
        let (n, result) = caller.unwrap();
        assert_eq!(result, format!("result of {n}"));
        order.push(n);
    }

    assert!(!order.is_sorted(), "answered in the order of asking");
    let claims = fake.received(Rpc::Claim);
    let streams: HashSet<_> = claims.iter().map(|each| each.session).collect();
    assert_eq!(streams.len(), 1, "{streams:?}");
    assert!(!streams.contains(&None));
    // One for callers, one for holders.
    assert_eq!(fake.sessions.attempts(), 2);
}

#[tokio::test]
async fn by_default_calls_are_on_sessions() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    settled(&client, "k", "done").await;
    for rpc in [Rpc::Claim, Rpc::Complete] {
        assert!(fake.received(rpc)[0].session.is_some());
    }
}

#[tokio::test]
async fn nothing_is_connected_before_the_first_call() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    tokio::task::yield_now().await;
    assert_eq!(fake.network.connections(), 0);
    soon(client.lookup("ns", "k")).await.unwrap();
    assert_eq!(fake.network.connections(), 1);
}

#[tokio::test]
async fn no_more_commands_are_unanswered_than_the_server_said() {
    const WINDOW: u32 = 3;
    let fake = Fake::with(Sessions::Served { window: WINDOW }).await;
    let client = on_one_session().connect(fake.address()).unwrap();
    fake.always(Rpc::Lookup, Fault::AnswerLate(ms(20)));

    let mut callers = JoinSet::new();
    for _ in 0..30 {
        let client = client.clone();
        callers.spawn(async move { client.lookup("ns", "k").await.unwrap() });
    }
    while let Some(caller) = soon(callers.join_next()).await {
        assert_eq!(caller.unwrap(), None);
    }

    assert_eq!(fake.sessions.most_unanswered(), WINDOW as usize);
    assert_eq!(fake.received(Rpc::Lookup).len(), 30);
    assert_eq!(fake.sessions.attempts(), 1);
}

#[tokio::test]
async fn more_callers_than_the_queue_holds_wait_and_are_answered() {
    const CALLERS: usize = 3_000;
    let fake = Fake::with(Sessions::Served { window: 64 }).await;
    let client = on_one_session()
        .deadline(Duration::from_secs(15))
        .try_timeout(Duration::from_secs(15))
        .connect(fake.address())
        .unwrap();
    let gate = Gate::closed();
    fake.always(Rpc::Lookup, Fault::AnswerBehind(gate.clone()));

    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let client = client.clone();
        callers.spawn(async move { client.lookup("ns", "k").await.unwrap() });
    }
    fake.has_received(Rpc::Lookup, 64).await;
    gate.open();
    while let Some(caller) = soon(callers.join_next()).await {
        assert_eq!(caller.unwrap(), None);
    }
    assert_eq!(fake.received(Rpc::Lookup).len(), CALLERS);
}

#[tokio::test]
async fn callers_that_left_take_no_place_for_good() {
    let fake = Fake::with(Sessions::Served { window: 2 }).await;
    let client = on_one_session().connect(fake.address()).unwrap();
    let gate = Gate::closed();
    fake.next(Rpc::Lookup, Fault::AnswerBehind(gate.clone()));
    fake.next(Rpc::Lookup, Fault::AnswerBehind(gate.clone()));
    let leave = |key: String| {
        let client = client.clone();
        tokio::spawn(async move { client.lookup("ns", &key).await })
    };

    // Two that were sent, and many that wait for their places.
    let sent = [leave("sent".to_owned()), leave("sent".to_owned())];
    fake.has_received(Rpc::Lookup, 2).await;
    let waiting: Vec<_> = (0..50).map(|n| leave(format!("waiting{n}"))).collect();
    tokio::task::yield_now().await;
    for caller in sent.iter().chain(&waiting) {
        caller.abort();
    }
    for caller in sent.into_iter().chain(waiting) {
        assert!(soon(caller).await.unwrap_err().is_cancelled());
    }
    gate.open();

    for _ in 0..10 {
        assert_eq!(soon(client.lookup("ns", "k")).await.unwrap(), None);
    }
    // Those that left before their turn were never sent.
    assert_eq!(fake.received(Rpc::Lookup).len(), 12);
    assert_eq!(fake.sessions.attempts(), 1);
}

#[tokio::test]
async fn an_idle_stream_is_kept() {
    let fake = Fake::start().await;
    let client = on_one_session()
        .try_timeout(ms(20))
        .connect(fake.address())
        .unwrap();
    for _ in 0..3 {
        soon(client.lookup("ns", "k")).await.unwrap();
        tokio::time::sleep(ms(150)).await;
    }
    assert_eq!(fake.sessions.attempts(), 1);
}

#[tokio::test]
async fn a_claim_that_waits_goes_alone_and_is_cancelled_with_its_caller() {
    let fake = Fake::start().await;
    let client = on_one_session().connect(fake.address()).unwrap();
    let held = claimed(soon(client.claim(&Claim::new("ns", "k"))).await.unwrap()).held;
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.claim(&Claim::new("ns", "k").wait(ms(60_000))).await })
    };
    fake.has_received(Rpc::Claim, 2).await;
    assert_eq!(fake.received(Rpc::Claim)[0].session, Some(1));
    assert_eq!(fake.received(Rpc::Claim)[1].session, None);

    waiting.abort();
    assert!(soon(waiting).await.unwrap_err().is_cancelled());
    // Nobody waits any more: had the other been left waiting, it would claim now.
    tokio::time::sleep(ms(100)).await;
    let retry = Failure::retryable("not now");
    soon(client.fail(&held, &retry)).await.unwrap();
    let next = soon(client.claim(&Claim::new("ns", "k"))).await.unwrap();
    assert_eq!(claimed(next).attempt, 2);
}

#[tokio::test]
async fn a_large_call_goes_alone_and_a_small_one_does_not() {
    let fake = Fake::start().await;
    let client = on_one_session().connect(fake.address()).unwrap();
    let held = claimed(soon(client.claim(&Claim::new("ns", "k"))).await.unwrap()).held;
    soon(client.checkpoint(&held, vec![0; 16 * 1024]))
        .await
        .unwrap();
    soon(client.complete(&held, vec![0; 200 * 1024]))
        .await
        .unwrap();
    assert!(fake.received(Rpc::Checkpoint)[0].session.is_some());
    assert_eq!(fake.received(Rpc::Complete)[0].session, None);
}

#[tokio::test]
async fn an_error_on_a_session_is_the_error_of_a_call_alone() {
    let retry = ErrorDetails::with_retry_info(Some(ms(30_000)));
    let mut field = ErrorDetails::with_error_info("FIELD", semel_proto::ERROR_DOMAIN, []);
    field.add_bad_request_violation("result", "too large");
    let said = [
        Status::with_error_details(Code::ResourceExhausted, "full", retry.clone()),
        Status::with_error_details(Code::Unavailable, "away", retry),
        Status::with_error_details(Code::InvalidArgument, "bad", field),
        Status::resource_exhausted("too large"),
        Status::internal("a bug"),
        Status::unknown("a bug"),
        Status::not_found("no such route"),
        Status::unauthenticated("who?"),
        Status::permission_denied("no"),
        Status::unimplemented("not here"),
        Status::data_loss("gone"),
        Status::deadline_exceeded("late"),
        Status::cancelled("left"),
        reason(
            Code::Aborted,
            "LEASE_LOST",
            &[("current_fence", "9".to_owned())],
        ),
        reason(Code::Aborted, "SUPERSEDED", &[]),
        reason(Code::AlreadyExists, "RESULT_CONFLICT", &[]),
        reason(Code::AlreadyExists, "ALREADY_SETTLED", &[]),
        reason(Code::NotFound, "KEY_NOT_FOUND", &[]),
        reason(Code::FailedPrecondition, "HOLD_LIMIT_REACHED", &[]),
        reason(Code::FailedPrecondition, "NEW_REASON", &[]),
    ];
    let fake = Fake::start().await;
    let [on_session, alone] = [Transport::Session, Transport::Unary].map(|transport| {
        let client = quick().deadline(ms(300)).transport(transport);
        client.connect(fake.address()).unwrap()
    });
    let held = claimed(soon(alone.claim(&Claim::new("ns", "k"))).await.unwrap()).held;
    for status in said {
        fake.always(Rpc::Complete, Fault::Refuse(status));
        let mut errors = Vec::new();
        for (client, is_on_session) in [(&on_session, true), (&alone, false)] {
            let before = fake.received(Rpc::Complete).len();
            errors.push(soon(client.complete(&held, "")).await.unwrap_err());
            let last = &fake.received(Rpc::Complete)[before];
            assert_eq!(last.session.is_some(), is_on_session);
        }
        match &errors[..] {
            // A call of its own has its HTTP headers in the status as well.
            [Error::Other(a), Error::Other(b)] => assert_eq!(
                (a.code(), a.message(), a.details()),
                (b.code(), b.message(), b.details())
            ),
            [a, b] => assert_eq!(format!("{a:?}"), format!("{b:?}")),
            _ => unreachable!(),
        }
    }
}

#[tokio::test]
async fn the_last_client_that_is_dropped_ends_its_streams_well() {
    let fake = Fake::start().await;
    let client = quick().channels(2).connect(fake.address()).unwrap();
    let clone = client.clone();
    for _ in 0..2 {
        soon(client.lookup("ns", "k")).await.unwrap();
    }
    let token = semel_client::Held::new("ns", "k", Token::new("x"));
    assert!(soon(client.complete(&token, "")).await.is_err());
    drop(client);
    soon(clone.lookup("ns", "k")).await.unwrap();
    assert_eq!(fake.sessions.attempts(), 3);

    drop(clone);

    assert_eq!(
        fake.sessions.have_ended(3).await,
        [Ending::HalfClosed; 3],
        "one for each connection"
    );
}

#[tokio::test]
async fn a_lease_is_counted_from_before_its_claim_waited_for_a_place() {
    let fake = Fake::with(Sessions::Served { window: 1 }).await;
    let client = on_one_session().connect(fake.address()).unwrap();
    let gate = Gate::closed();
    fake.next(Rpc::Lookup, Fault::AnswerBehind(gate.clone()));
    let first = {
        let client = client.clone();
        tokio::spawn(async move { client.lookup("ns", "k").await })
    };
    fake.has_received(Rpc::Lookup, 1).await;

    let asked = std::time::Instant::now();
    let claim = Claim::new("ns", "k").lease(ms(1_000));
    let claim = async { soon(client.claim(&claim)).await.unwrap() };
    let open = async {
        tokio::time::sleep(ms(300)).await;
        gate.open();
    };
    let (outcome, ()) = tokio::join!(claim, open);

    let lease = claimed(outcome).lease;
    assert!(lease.until() - asked < ms(1_100), "{lease:?}");
    assert!(lease.remaining() <= ms(700));
    soon(first).await.unwrap().unwrap();
}
