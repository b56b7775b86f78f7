//! `run_once`: the work is done once, and what became of it is never swallowed.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use semel_client::{
    Claim, ClaimOutcome, Error, FailOutcome, Failure, Fence, OnLeaseLost, OnPanic, Run,
};
use tokio::sync::oneshot;

use super::quick;
use crate::support::{Fake, Fault, Rpc, attempt_id, claimed, ms, reason, soon};

fn claim() -> Claim {
    Claim::new("ns", "k")
}

async fn ok(result: &'static str) -> Result<&'static str, Failure> {
    Ok(result)
}

async fn never() -> Result<&'static str, Failure> {
    panic!("the work ran although it had been done")
}

#[tokio::test]
async fn the_work_runs_once_and_is_replayed_byte_for_byte() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();

    let first = soon(client.run_once(claim(), |_| ok("done")))
        .await
        .unwrap();
    let second = soon(client.run_once(claim(), |_| never())).await.unwrap();

    assert_eq!(
        first,
        Run::Ran {
            result: Bytes::from("done"),
            fence: Fence::new(1),
            attempt: 1
        }
    );
    let Run::Replayed(stored) = second else {
        panic!("{second:?}");
    };
    assert_eq!(stored.result, "done");
}

#[tokio::test]
async fn of_many_callers_at_once_one_runs_and_all_get_its_result() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let ran = Arc::new(AtomicUsize::new(0));

    let callers: Vec<_> = (0..16)
        .map(|_| {
            let (client, ran) = (client.clone(), ran.clone());
            tokio::spawn(async move {
                client
                    .run_once(claim().wait(ms(10_000)), async |_| {
                        ran.fetch_add(1, Ordering::SeqCst);
                        tokio::time::sleep(ms(50)).await;
                        Ok::<_, Failure>("done")
                    })
                    .await
            })
        })
        .collect();
    for caller in callers {
        match soon(caller).await.unwrap().unwrap() {
            Run::Ran { result, .. } => assert_eq!(result, "done"),
            Run::Replayed(stored) => assert_eq!(stored.result, "done"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_duplicate_that_does_not_wait_is_told_that_it_is_in_progress() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let _held = claimed(soon(client.claim(&claim())).await.unwrap());

    let run = soon(client.run_once(claim(), |_| never())).await.unwrap();
    assert!(matches!(run, Run::InProgress(_)), "{run:?}");

    let started = Instant::now();
    let run = soon(client.run_once(claim().wait(ms(200)), |_| never())).await;
    assert!(matches!(run, Ok(Run::InProgress(_))), "{run:?}");
    assert!(started.elapsed() >= ms(150));
}

#[tokio::test]
async fn the_error_decides_how_the_key_fails() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let fail = async |key: &str, failure: Failure| {
        let work = |_| async { Err::<Bytes, _>(failure) };
        let run = soon(client.run_once(Claim::new("ns", key), work)).await;
        let Ok(Run::Failed { outcome, .. }) = run else {
            panic!("{run:?}");
        };
        let duplicate = soon(client.run_once(Claim::new("ns", key), |_| never())).await;
        (outcome, duplicate.unwrap())
    };

    let (outcome, duplicate) = fail("retryable", Failure::retryable_after("x", ms(60_000))).await;
    assert!(matches!(outcome, FailOutcome::BackingOff(_)));
    assert!(matches!(duplicate, Run::BackingOff(_)), "{duplicate:?}");

    let (outcome, duplicate) = fail("terminal", Failure::terminal("no", "refused")).await;
    assert!(matches!(outcome, FailOutcome::Failed(_)));
    let Run::ReplayedFailure(stored) = duplicate else {
        panic!("{duplicate:?}");
    };
    assert_eq!(
        (&stored.result[..], &*stored.error),
        (&b"refused"[..], "no")
    );

    let (outcome, duplicate) = fail("unknown", Failure::unknown("?")).await;
    assert!(matches!(outcome, FailOutcome::Uncertain(_)));
    assert!(matches!(duplicate, Run::Uncertain(_)), "{duplicate:?}");
}

#[tokio::test]
async fn the_next_attempt_is_handed_what_the_last_one_left() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let first = client.run_once(claim(), async |work| {
        work.checkpoint("half").await.unwrap();
        Err::<Bytes, _>(Failure::retryable("interrupted"))
    });
    soon(first).await.unwrap();

    let second = client.run_once(claim(), async |work| {
        assert_eq!(work.attempt(), 2);
        assert_eq!(work.fence(), Fence::new(2));
        assert_eq!(work.checkpoint_bytes().unwrap(), "half");
        assert_eq!(work.last_error(), "interrupted");
        Ok::<_, Failure>("done")
    });
    assert!(matches!(
        soon(second).await,
        Ok(Run::Ran { attempt: 2, .. })
    ));
}

#[tokio::test]
async fn a_panic_is_recorded_and_goes_on() {
    for (policy, key) in [
        (OnPanic::Retryable, "retryable"),
        (OnPanic::Unknown, "unknown"),
    ] {
        let fake = Fake::start().await;
        let client = quick().connect(fake.address()).unwrap();
        let run = {
            let client = client.clone();
            tokio::spawn(async move {
                let once = client.once(Claim::new("ns", key)).on_panic(policy);
                // Resumed, not raised: no panic message in the tests' output.
                once.run(async |_| -> Result<Bytes, Failure> {
                    tokio::task::yield_now().await;
                    std::panic::resume_unwind(Box::new("out of paper"))
                })
                .await
            })
        };
        let panic = soon(run).await.unwrap_err().into_panic();
        assert_eq!(*panic.downcast_ref::<&str>().unwrap(), "out of paper");

        let next = soon(client.claim(&Claim::new("ns", key))).await.unwrap();
        match (policy, next) {
            (OnPanic::Retryable, ClaimOutcome::Claimed(next)) => {
                assert_eq!(next.last_error, "panicked: out of paper");
            }
            (OnPanic::Unknown, ClaimOutcome::Uncertain(_)) => {}
            (_, other) => panic!("{policy:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_panic_before_the_first_await_is_recorded_too() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let task = tokio::spawn(async move {
        let work = |_| -> std::future::Ready<Result<Bytes, Failure>> {
            std::panic::resume_unwind(Box::new("at once"))
        };
        client.run_once(claim(), AssertUnwindSafe(work).0).await
    });
    assert!(soon(task).await.unwrap_err().is_panic());
    assert_eq!(fake.received(Rpc::Fail).len(), 1);
}

#[tokio::test]
async fn a_success_is_recorded_once_semel_is_back() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    for fault in [
        Fault::unavailable(),
        Fault::CutBefore,
        Fault::CutAfter,
        Fault::unavailable(),
    ] {
        fake.next(Rpc::Complete, fault);
    }
    let run = soon(client.run_once(claim(), |_| ok("done")))
        .await
        .unwrap();
    assert!(matches!(run, Run::Ran { .. }), "{run:?}");
}

#[tokio::test]
async fn a_success_that_cannot_be_recorded_is_handed_back_with_its_result() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    fake.always(Rpc::Complete, Fault::unavailable());

    let started = Instant::now();
    let once = client.once(claim().lease(ms(300))).settle_deadline(ms(700));
    let error = soon(once.run(|_| ok("done"))).await.unwrap_err();

    let Error::NotRecorded {
        result,
        source,
        fence,
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!((result, fence), (Bytes::from("done"), Fence::new(1)));
    assert!(source.is_unavailable(), "{source:?}");
    assert!(started.elapsed() >= ms(500));
    // Sooner than any other deadline of the client.
    assert!(started.elapsed() < ms(5_000));
    assert!(fake.received(Rpc::Complete).len() > 5);
    // Nobody may take over while there is hope: the lease was kept meanwhile.
    assert!(fake.received(Rpc::Extend).len() >= 2);
}

#[tokio::test]
async fn a_success_whose_result_is_refused_is_not_done_again() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let too_large = reason(tonic::Code::InvalidArgument, "RESULT_TOO_LARGE", &[]);
    fake.next(Rpc::Complete, Fault::Refuse(too_large));

    let error = soon(client.run_once(claim(), |_| ok("huge")))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NotRecorded { .. }), "{error:?}");

    let duplicate = soon(client.run_once(claim(), |_| never())).await.unwrap();
    assert!(matches!(duplicate, Run::Uncertain(_)), "{duplicate:?}");
}

#[tokio::test]
async fn a_success_after_a_takeover_is_an_error_of_its_own_with_its_result() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    fake.always(Rpc::Extend, Fault::unavailable());
    let other = client.clone();
    let run = client.run_once(claim().lease(ms(200)), async |work| {
        work.lease_lost().await;
        let next = other.claim(&claim().wait(ms(5_000))).await.unwrap();
        assert_eq!(claimed(next).fence, Fence::new(2));
        Ok::<_, Failure>("done twice")
    });
    let error = soon(run).await.unwrap_err();
    let Error::TakenOver {
        result,
        fence,
        current_fence,
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(result, "done twice");
    assert_eq!((fence, current_fence), (Fence::new(1), Some(Fence::new(2))));
}

#[tokio::test]
async fn work_whose_lease_is_lost_goes_on_and_is_recorded_when_nobody_took_over() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    fake.always(Rpc::Extend, Fault::unavailable());
    let run = client.run_once(claim().lease(ms(200)), async |work| {
        work.lease_lost().await;
        tokio::task::yield_now().await;
        Ok::<_, Failure>("done")
    });
    assert!(matches!(soon(run).await, Ok(Run::Ran { .. })));
}

#[tokio::test]
async fn work_is_stopped_when_its_lease_is_lost_only_where_that_is_asked_for() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    fake.always(Rpc::Extend, Fault::unavailable());
    let once = client
        .once(claim().lease(ms(200)))
        .on_lease_lost(OnLeaseLost::Abort);
    let run = once.run(|_| std::future::pending::<Result<Bytes, Failure>>());
    let error = soon(run).await.unwrap_err();
    assert!(matches!(error, Error::Aborted { .. }), "{error:?}");
    assert!(fake.received(Rpc::Complete).is_empty());
    assert!(fake.received(Rpc::Fail).is_empty());
}

#[tokio::test]
async fn a_cancelled_run_drops_its_work_sends_nothing_and_lets_the_claim_lapse() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let (began, has_began) = oneshot::channel();
    let (dropped, is_dropped) = oneshot::channel::<()>();
    let run = {
        let client = client.clone();
        tokio::spawn(async move {
            client
                .run_once(claim().lease(ms(300)), async move |_| {
                    let _dropped = dropped;
                    began.send(()).unwrap();
                    std::future::pending::<Result<Bytes, Failure>>().await
                })
                .await
        })
    };
    soon(has_began).await.unwrap();
    run.abort();
    assert!(soon(is_dropped).await.is_err());

    let next = soon(client.claim(&claim().wait(ms(5_000)))).await.unwrap();
    assert_eq!(claimed(next).attempt, 2);
    assert!(fake.received(Rpc::Complete).is_empty());
    assert!(fake.received(Rpc::Fail).is_empty());
}

#[tokio::test]
async fn a_failure_that_cannot_be_recorded_is_handed_back() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    fake.always(Rpc::Fail, Fault::unavailable());
    let once = client.once(claim()).settle_deadline(ms(200));
    let run = once.run(async |_| Err::<Bytes, _>(Failure::terminal("no", "refused")));
    let error = soon(run).await.unwrap_err();
    let Error::FailureNotRecorded { failure, source } = error else {
        panic!("{error:?}");
    };
    assert_eq!(failure, Failure::terminal("no", "refused"));
    assert!(source.is_unavailable());
}

#[tokio::test]
async fn the_work_runs_once_although_the_answer_to_its_claim_was_lost() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    fake.next(Rpc::Claim, Fault::CutAfter);
    let run = soon(client.run_once(claim(), |_| ok("done")))
        .await
        .unwrap();
    assert!(matches!(run, Run::Ran { attempt: 1, .. }), "{run:?}");
    let claims = fake.received(Rpc::Claim);
    assert_eq!(attempt_id(&claims[0]), attempt_id(&claims[1]));
}

#[tokio::test]
async fn nothing_runs_while_semel_is_away() {
    let fake = Fake::start().await;
    let client = quick().deadline(ms(200)).connect(fake.address()).unwrap();
    fake.always(Rpc::Claim, Fault::unavailable());
    let error = soon(client.run_once(claim(), |_| never()))
        .await
        .unwrap_err();
    assert!(error.is_unavailable(), "{error:?}");
}

#[tokio::test]
async fn a_claim_whose_attempt_is_over_runs_as_a_new_attempt() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let again = claim();
    let held = claimed(soon(client.claim(&again)).await.unwrap()).held;
    soon(client.fail(&held, &Failure::retryable("x")))
        .await
        .unwrap();

    let run = soon(client.run_once(again, |_| ok("done"))).await.unwrap();

    assert!(matches!(run, Run::Ran { attempt: 2, .. }), "{run:?}");
    let claims = fake.received(Rpc::Claim);
    assert_eq!(attempt_id(&claims[0]), attempt_id(&claims[1]));
    assert_ne!(attempt_id(&claims[1]), attempt_id(&claims[2]));
}
