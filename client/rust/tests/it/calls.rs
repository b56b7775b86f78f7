//! One call at a time: what is sent again, what is not, and for how long.

use std::time::Instant;

use bytes::Bytes;
use semel_client::{Claim, ClaimOutcome, Client, Error, Failure, Fence, RecordState, Token};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::quick;
use crate::support::{Fake, Fault, Rpc, attempt_id, claimed, completed, ms, soon};

#[tokio::test]
async fn a_claim_is_sent_again_unchanged_while_semel_is_unavailable() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    fake.next(Rpc::Claim, Fault::unavailable());
    fake.next(Rpc::Claim, Fault::unavailable());

    let claim = Claim::new("ns", "k").fingerprint("digest");
    let claimed = claimed(soon(client.claim(&claim)).await.unwrap());

    assert_eq!(claimed.attempt, 1);
    let tries = fake.received(Rpc::Claim);
    assert_eq!(tries.len(), 3);
    assert_eq!(attempt_id(&tries[0]), claim.attempt_id().as_bytes()[..]);
    assert!(tries.iter().all(|each| each.bytes == tries[0].bytes));
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_finds_its_own_claim() {
    for fault in [Fault::CutAfter, Fault::CutBefore] {
        let fake = Fake::start().await;
        let client = quick().connect(fake.address()).unwrap();
        fake.next(Rpc::Claim, fault);

        let claimed = claimed(soon(client.claim(&Claim::new("ns", "k"))).await.unwrap());

        assert_eq!((claimed.attempt, claimed.fence), (1, Fence::new(1)));
        let tries = fake.received(Rpc::Claim);
        assert_eq!(tries.len(), 2);
        assert_eq!(tries[0].bytes, tries[1].bytes);
    }
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_is_found_recorded() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let held = claimed(soon(client.claim(&Claim::new("ns", "k"))).await.unwrap()).held;
    fake.next(Rpc::Complete, Fault::CutAfter);

    let completion = soon(client.complete(&held, "done")).await.unwrap();

    assert!(completion.repeat);
    let duplicate = soon(client.claim(&Claim::new("ns", "k"))).await.unwrap();
    assert_eq!(completed(duplicate), "done");
}

#[tokio::test]
async fn what_the_server_decided_is_not_asked_again() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let held = claimed(soon(client.claim(&Claim::new("ns", "k"))).await.unwrap()).held;
    let said_so = [
        Fault::lease_lost(9),
        Fault::Refuse(Status::internal("a bug")),
        Fault::Refuse(Status::unknown("a bug")),
        Fault::Refuse(Status::resource_exhausted("too large")),
        Fault::Refuse(Status::invalid_argument("too large")),
        Fault::Refuse(Status::permission_denied("no")),
    ];
    let asked = said_so.len();
    for fault in said_so {
        fake.next(Rpc::Complete, fault);
        let refused = soon(client.complete(&held, "done")).await;
        assert!(refused.is_err());
    }
    assert_eq!(fake.received(Rpc::Complete).len(), asked);
}

#[tokio::test]
async fn a_lost_lease_names_the_current_fence() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let mut held = claimed(soon(client.claim(&Claim::new("ns", "k"))).await.unwrap()).held;
    held = semel_client::Held::new(held.namespace(), held.key(), Token::new("another"));

    let lost = soon(client.fail(&held, &Failure::retryable("x"))).await;

    let Err(Error::LeaseLost { current_fence }) = lost else {
        panic!("{lost:?}");
    };
    assert_eq!(current_fence, Some(Fence::new(1)));
}

#[tokio::test]
async fn the_servers_word_on_when_to_come_back_is_kept() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let details = ErrorDetails::with_retry_info(Some(ms(300)));
    for code in [Code::ResourceExhausted, Code::Unavailable] {
        let full = Status::with_error_details(code, "full", details.clone());
        fake.next(Rpc::Lookup, Fault::Refuse(full));
    }

    assert_eq!(soon(client.lookup("ns", "k")).await.unwrap(), None);

    let tries = fake.received(Rpc::Lookup);
    assert_eq!(tries.len(), 3);
    for pair in tries.windows(2) {
        assert!(pair[1].at - pair[0].at >= ms(300));
    }
}

#[tokio::test]
async fn a_word_beyond_the_deadline_is_told_at_once() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let details = ErrorDetails::with_retry_info(Some(ms(60_000)));
    let full = Status::with_error_details(Code::ResourceExhausted, "full", details);
    fake.next(Rpc::Lookup, Fault::Refuse(full));

    let started = Instant::now();
    let error = soon(client.lookup("ns", "k")).await.unwrap_err();

    assert_eq!(error.retry_after(), Some(ms(60_000)));
    assert!(error.is_unavailable());
    assert!(started.elapsed() < ms(5_000));
}

#[tokio::test]
async fn a_server_that_hangs_is_left_at_the_deadline_and_knew_of_it() {
    let fake = Fake::start().await;
    let client = quick()
        .deadline(ms(500))
        .try_timeout(ms(120))
        .connect(fake.address())
        .unwrap();
    fake.always(Rpc::Lookup, Fault::Hang);

    let started = Instant::now();
    let error = soon(client.lookup("ns", "k")).await.unwrap_err();

    assert!(matches!(error, Error::DeadlineExceeded), "{error:?}");
    assert!(started.elapsed() < ms(2_000));
    let tries = fake.received(Rpc::Lookup);
    assert!(tries.len() >= 2, "{}", tries.len());
    assert!(
        tries
            .iter()
            .all(|each| each.session.is_some() || each.metadata.contains_key("grpc-timeout"))
    );
}

#[tokio::test]
async fn a_connection_that_hangs_costs_one_try() {
    let fake = Fake::start().await;
    let client = quick()
        .try_timeout(ms(150))
        .connect(fake.address())
        .unwrap();
    fake.next(Rpc::Claim, Fault::Hang);

    claimed(soon(client.claim(&Claim::new("ns", "k"))).await.unwrap());

    assert_eq!(fake.received(Rpc::Claim).len(), 2);
}

#[tokio::test]
async fn nobody_listening_is_unavailable_at_the_deadline() {
    let client = quick()
        // Long enough for a first try to be refused also on a machine that is busy: a deadline that
        // passes before anybody has said anything is told as that.
        .deadline(ms(2_000))
        .connect("http://127.0.0.1:1")
        .unwrap();
    let error = soon(client.lookup("ns", "k")).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_wait_may_be_longer_than_a_try_and_than_the_deadline() {
    let fake = Fake::start().await;
    let client = quick()
        .deadline(ms(150))
        .try_timeout(ms(100))
        .connect(fake.address())
        .unwrap();
    let patient = client.with_deadline(ms(10_000));
    let held = claimed(soon(patient.claim(&Claim::new("ns", "k"))).await.unwrap()).held;

    let asked = fake.received(Rpc::Claim).len();
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.claim(&Claim::new("ns", "k").wait(ms(10_000))).await })
    };
    fake.has_received(Rpc::Claim, asked + 1).await;
    // Longer than both limits, which a wait comes on top of.
    tokio::time::sleep(ms(400)).await;
    soon(patient.complete(&held, "done")).await.unwrap();

    assert_eq!(completed(soon(waiting).await.unwrap().unwrap()), "done");
    assert_eq!(fake.received(Rpc::Claim).len(), asked + 1);
}

#[tokio::test]
async fn a_lease_is_counted_from_the_sending_and_not_from_the_answer() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    fake.next(Rpc::Claim, Fault::AnswerLate(ms(400)));

    let claim = Claim::new("ns", "k").lease(ms(1_000));
    let before = Instant::now();
    let claimed = claimed(soon(client.claim(&claim)).await.unwrap());

    assert!(claimed.lease.remaining() <= ms(600));
    assert!(claimed.lease.until() >= before);
    assert!(claimed.lease.until() - before < ms(1_400));
}

#[tokio::test]
async fn calls_are_spread_over_the_channels() {
    let fake = Fake::start().await;
    let client = quick().channels(3).connect(fake.address()).unwrap();
    for _ in 0..6 {
        soon(client.lookup("ns", "k")).await.unwrap();
    }
    assert_eq!(fake.network.connections(), 3);
}

#[tokio::test]
async fn a_claim_carries_its_trace_and_its_credential() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let fake = Fake::start().await;
    let client = quick()
        .bearer_token("s3cret")
        .connect(fake.address())
        .unwrap();

    let claim = Claim::new("ns", "k").traceparent(TRACE);
    let held = claimed(soon(client.claim(&claim)).await.unwrap()).held;
    soon(client.complete(&held, "")).await.unwrap();

    for rpc in [Rpc::Claim, Rpc::Complete] {
        let metadata = &fake.received(rpc)[0].metadata;
        assert_eq!(metadata.get("traceparent").unwrap(), TRACE);
        assert_eq!(metadata.get("authorization").unwrap(), "Bearer s3cret");
    }

    let unsendable = soon(client.claim(&Claim::new("ns", "k2").traceparent("a\nb"))).await;
    assert!(matches!(unsendable, Err(Error::InvalidArgument { .. })));
}

#[tokio::test]
async fn a_lookup_shows_what_stands_and_none_for_an_unknown_key() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    assert_eq!(soon(client.lookup("ns", "k")).await.unwrap(), None);

    let held = claimed(soon(client.claim(&Claim::new("ns", "k"))).await.unwrap()).held;
    soon(client.checkpoint(&held, "half")).await.unwrap();
    let record = soon(client.lookup("ns", "k")).await.unwrap().unwrap();
    assert!(matches!(record.state, RecordState::InProgress(_)));
    assert_eq!(record.owner, "test");
    assert_eq!(record.checkpoint, Some(Bytes::from("half")));

    // Whoever says this, it is not Semel saying that there is no such key.
    fake.next(
        Rpc::Lookup,
        Fault::Refuse(Status::not_found("no such route")),
    );
    let foreign = soon(client.lookup("ns", "k")).await;
    assert!(matches!(foreign, Err(Error::Other(_))), "{foreign:?}");
}

#[tokio::test]
async fn no_debug_output_shows_a_token_or_a_delivery() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let claim = Claim::new("ns", "k").delivery(semel_client::Delivery {
        headers: vec![("x".to_owned(), Bytes::from("header-value"))],
        body: Bytes::from("the-body"),
    });
    let claimed = claimed(soon(client.claim(&claim)).await.unwrap());
    let token = std::str::from_utf8(claimed.held.token().as_bytes())
        .unwrap()
        .to_owned();
    assert!(token.starts_with("secret-"));

    let shown = format!("{claim:?} {claimed:?} {:?}", claimed.held);
    let guard = claimed.guard().await.unwrap();
    let shown = format!("{shown} {guard:?} {:?}", guard.context());
    for secret in [token.as_str(), "header-value", "the-body"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("Token(redacted)"));
}

#[tokio::test]
async fn an_answer_without_an_outcome_never_passes_for_a_claim() {
    let fake = Fake::start().await;
    let client: Client = quick().connect(fake.address()).unwrap();
    fake.next(Rpc::Claim, Fault::Refuse(Status::ok("")));
    let outcome = soon(client.claim(&Claim::new("ns", "k"))).await;
    assert!(
        !matches!(outcome, Ok(ClaimOutcome::Claimed(_))),
        "{outcome:?}"
    );
}
