//! Streams that end before they have answered, and answers that are none.

use semel_client::{Claim, ClaimOutcome};
use tokio::task::JoinSet;

use crate::support::{
    Ending, Fake, Fault, Garbled, Gate, Rpc, Sessions, attempt_id, claimed, ms, on_one_session,
    quick, soon,
};

#[tokio::test]
async fn what_a_broken_stream_did_not_answer_is_sent_again_unchanged_on_a_new_one() {
    const CALLERS: usize = 20;
    for last in [Fault::CutAfter, Fault::EndSession] {
        let fake = Fake::start().await;
        let client = on_one_session().connect(fake.address()).unwrap();
        for _ in 1..CALLERS {
            fake.next(Rpc::Claim, Fault::AnswerBehind(Gate::closed()));
        }
        fake.next(Rpc::Claim, last);

        let mut callers = JoinSet::new();
        for n in 0..CALLERS {
            let client = client.clone();
            callers.spawn(async move {
                let claim = Claim::new("ns", format!("k{n}")).traceparent("00-trace");
                claimed(client.claim(&claim).await.unwrap()).attempt
            });
        }
        while let Some(attempt) = soon(callers.join_next()).await {
            // Each found its own claim, which it could not under another attempt id.
            assert_eq!(attempt.unwrap(), 1);
        }

        assert_eq!(fake.sessions.attempts(), 2);
        let claims = fake.received(Rpc::Claim);
        assert_eq!(claims.len(), 2 * CALLERS);
        let (lost, again) = claims.split_at(CALLERS);
        assert!(lost.iter().all(|each| each.session == Some(1)));
        assert!(again.iter().all(|each| each.session == Some(2)));
        for each in again {
            let before = lost.iter().find(|it| attempt_id(it) == attempt_id(each));
            assert_eq!(before.unwrap().bytes, each.bytes);
            assert_eq!(each.metadata.get("traceparent").unwrap(), "00-trace");
        }
    }
}

#[tokio::test]
async fn a_call_that_two_streams_ended_under_goes_alone() {
    let fake = Fake::start().await;
    let client = quick().channels(1).connect(fake.address()).unwrap();
    fake.next(Rpc::Lookup, Fault::EndSession);
    fake.next(Rpc::Lookup, Fault::EndSession);

    assert_eq!(soon(client.lookup("ns", "k")).await.unwrap(), None);

    let came: Vec<_> = fake.received(Rpc::Lookup);
    let came: Vec<_> = came.iter().map(|each| each.session).collect();
    assert_eq!(came, [Some(1), Some(2), None]);
    // The next is not made to pay for it.
    soon(client.lookup("ns", "k")).await.unwrap();
    assert_eq!(fake.received(Rpc::Lookup)[3].session, Some(3));
}

#[tokio::test]
async fn a_stream_that_owes_answers_and_is_silent_is_given_up() {
    let fake = Fake::with(Sessions::Served { window: 1 }).await;
    let client = on_one_session()
        .try_timeout(ms(100))
        .connect(fake.address())
        .unwrap();
    fake.next(Rpc::Lookup, Fault::Hang);

    // Its place is the only one, so on this stream it could not be asked again.
    assert_eq!(soon(client.lookup("ns", "k")).await.unwrap(), None);
    assert_eq!(fake.sessions.have_ended(1).await, [Ending::HalfClosed]);
    assert_eq!(soon(client.lookup("ns", "k")).await.unwrap(), None);

    let came: Vec<_> = fake.received(Rpc::Lookup);
    let mut came: Vec<_> = came.iter().map(|each| each.session).collect();
    // A machine that is too busy to answer within a try is asked more often.
    came.dedup();
    assert_eq!(came[..3], [Some(1), None, Some(2)]);
}

#[tokio::test]
async fn a_stream_on_which_something_comes_is_not_given_up() {
    let fake = Fake::start().await;
    let client = on_one_session()
        .try_timeout(ms(50))
        .connect(fake.address())
        .unwrap();
    fake.next(Rpc::Lookup, Fault::Hang);
    let hanging = client.with_deadline(ms(50));
    assert!(soon(hanging.lookup("ns", "k")).await.is_err());

    for _ in 0..50 {
        soon(client.lookup("ns", "k")).await.unwrap();
        tokio::time::sleep(ms(10)).await;
    }
    assert_eq!(fake.sessions.attempts(), 1);
}

#[tokio::test]
async fn an_answer_that_is_none_ends_its_stream_and_allows_nothing() {
    for how in [
        Garbled::Kind,
        Garbled::UnknownId,
        Garbled::IdZero,
        Garbled::Nothing,
        Garbled::OpenedAgain,
        Garbled::Cancelled,
    ] {
        let fake = Fake::start().await;
        let client = on_one_session().connect(fake.address()).unwrap();
        let first = claimed(soon(client.claim(&Claim::new("ns", "k"))).await.unwrap());

        // A claim and a lookup of what somebody else holds.
        fake.sessions.garble(how);
        let outcome = soon(client.claim(&Claim::new("ns", "k"))).await.unwrap();
        let ClaimOutcome::InProgress(busy) = outcome else {
            panic!("{how:?}: {outcome:?}");
        };
        assert_eq!(busy.fence, first.fence);
        let claims = fake.received(Rpc::Claim);
        assert_eq!(
            (claims[1].session, claims[2].session),
            (Some(1), Some(2)),
            "{how:?}"
        );
        assert_eq!(claims[1].bytes, claims[2].bytes);

        fake.sessions.garble(how);
        let record = soon(client.lookup("ns", "k")).await.unwrap().unwrap();
        assert_eq!(record.owner, "test", "{how:?}");
        assert_eq!(fake.sessions.attempts(), 3, "{how:?}");
    }
}

#[tokio::test]
async fn others_on_a_stream_that_ends_so_are_sent_again() {
    let fake = Fake::start().await;
    let client = on_one_session().connect(fake.address()).unwrap();
    fake.next(Rpc::Lookup, Fault::AnswerBehind(Gate::closed()));
    let other = {
        let client = client.clone();
        tokio::spawn(async move { client.lookup("ns", "k").await })
    };
    fake.has_received(Rpc::Lookup, 1).await;
    fake.sessions.garble(Garbled::UnknownId);
    claimed(soon(client.claim(&Claim::new("ns", "k"))).await.unwrap());

    let record = soon(other).await.unwrap().unwrap().unwrap();
    assert_eq!(record.owner, "test");
    assert_eq!(fake.received(Rpc::Lookup)[1].session, Some(2));
}
