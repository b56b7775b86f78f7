//! A lease is kept alive, and its loss is noticed.

use std::time::Instant;

use semel_client::{Claim, ClaimOutcome, Client, Error, Fence, Guard, LeaseLoss};

use super::quick;
use crate::support::{Fake, Fault, Rpc, claimed, ms, reason, soon};

async fn guarded(client: &Client, lease_ms: u64) -> Guard {
    let claim = Claim::new("ns", "k").lease(ms(lease_ms));
    let claimed = claimed(soon(client.claim(&claim)).await.unwrap());
    soon(claimed.guard()).await.unwrap()
}

#[tokio::test]
async fn a_lease_outlives_its_length_while_it_is_guarded() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let guard = guarded(&client, 600).await;

    let started = Instant::now();
    fake.has_received(Rpc::Extend, 6).await;

    assert!(started.elapsed() > ms(600));
    assert!(!guard.lease().is_lost());
    let other = soon(client.claim(&Claim::new("ns", "k"))).await.unwrap();
    assert!(matches!(other, ClaimOutcome::InProgress(_)), "{other:?}");
    soon(guard.complete("done")).await.unwrap();
}

#[tokio::test]
async fn extensions_that_fail_are_borne_while_the_lease_stands() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let guard = guarded(&client, 1_500).await;
    fake.next(Rpc::Extend, Fault::unavailable());
    fake.next(Rpc::Extend, Fault::CutAfter);
    fake.next(Rpc::Extend, Fault::Hang);
    fake.next(Rpc::Extend, Fault::Refuse(tonic::Status::internal("a bug")));

    fake.has_received(Rpc::Extend, 6).await;

    assert!(!guard.lease().is_lost());
    soon(guard.complete("done")).await.unwrap();
}

#[tokio::test]
async fn a_lease_that_nobody_confirms_is_lost_at_its_end_and_may_still_be_settled() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    fake.always(Rpc::Extend, Fault::unavailable());
    let guard = guarded(&client, 400).await;
    let until = Instant::now() + guard.lease().remaining();

    assert_eq!(soon(guard.lease_lost()).await, LeaseLoss::Lapsed);

    assert!(Instant::now() + ms(5) >= until);
    assert!(guard.lease().is_lost());
    soon(guard.complete("done")).await.unwrap();
}

#[tokio::test]
async fn a_takeover_is_noticed_at_the_next_extension() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    fake.next(Rpc::Extend, Fault::lease_lost(77));
    let guard = guarded(&client, 60_000).await;
    drop(guard);

    let claim = Claim::new("ns", "k2").lease(ms(900));
    let guard = claimed(soon(client.claim(&claim)).await.unwrap());
    let guard = soon(guard.guard()).await.unwrap();
    let signal = guard.lease().clone();
    let loss = soon(signal.lost()).await;
    assert_eq!(
        loss,
        LeaseLoss::TakenOver {
            current_fence: Some(Fence::new(77))
        }
    );
    assert!(signal.is_lost());
}

#[tokio::test]
async fn a_dropped_guard_sends_nothing_and_its_lease_lapses() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let guard = guarded(&client, 300).await;
    soon(guard.checkpoint("half")).await.unwrap();
    let signal = guard.lease().clone();
    drop(guard);

    assert_eq!(soon(signal.lost()).await, LeaseLoss::Lapsed);
    let next = Claim::new("ns", "k").wait(ms(5_000));
    let next = claimed(soon(client.claim(&next)).await.unwrap());

    assert_eq!(next.attempt, 2);
    assert_eq!(next.checkpoint.as_deref(), Some(&b"half"[..]));
    assert!(fake.received(Rpc::Extend).is_empty());
    assert!(fake.received(Rpc::Fail).is_empty());
    assert!(fake.received(Rpc::Complete).is_empty());
}

#[tokio::test]
async fn a_settled_guard_stops_extending() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let guard = guarded(&client, 150).await;
    fake.has_received(Rpc::Extend, 1).await;
    soon(guard.complete("done")).await.unwrap();
    let signal = guard.lease().clone();

    // The end of the lease comes, which it would not if it were extended; and comes by itself,
    // which it would not if an extension were answered that the key is settled.
    assert_eq!(soon(signal.lost()).await, LeaseLoss::Lapsed);
    let repeat = soon(guard.complete("done")).await.unwrap();
    assert!(repeat.repeat);
}

#[tokio::test]
async fn a_claim_that_was_answered_late_is_extended_before_anybody_acts() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    fake.next(Rpc::Claim, Fault::AnswerLate(ms(500)));

    let guard = guarded(&client, 400).await;

    assert_eq!(fake.received(Rpc::Extend).len(), 1);
    assert!(guard.lease().remaining() > ms(200));
}

#[tokio::test]
async fn a_claim_that_is_over_before_it_began_makes_no_guard() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    fake.next(Rpc::Claim, Fault::AnswerLate(ms(300)));
    fake.next(Rpc::Extend, Fault::lease_lost(2));

    let claim = Claim::new("ns", "k").lease(ms(200));
    let claimed = claimed(soon(client.claim(&claim)).await.unwrap());

    let refused = soon(claimed.guard()).await;
    assert!(
        matches!(refused, Err(Error::LeaseLost { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_claim_that_reached_its_longest_hold_is_not_extended_again() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let limit = reason(tonic::Code::FailedPrecondition, "HOLD_LIMIT_REACHED", &[]);
    fake.always(Rpc::Extend, Fault::Refuse(limit));
    let guard = guarded(&client, 400).await;

    assert_eq!(soon(guard.lease_lost()).await, LeaseLoss::Lapsed);

    assert_eq!(fake.received(Rpc::Extend).len(), 1);
    soon(guard.complete("done")).await.unwrap();
}
