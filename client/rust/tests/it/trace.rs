//! The server's span of a call is a child of the caller's.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use opentelemetry::Context;
use opentelemetry::trace::{FutureExt as _, TraceContextExt as _};
use opentelemetry_sdk::trace::Sampler;
use semel_client::{Claim, ClaimOutcome, Client, Failure, RecordState, Run};
use tonic::Code;
use tracing::Instrument as _;
use tracing_subscriber::layer::SubscriberExt as _;

use super::quick;
use crate::support::spans::{Spans, remote, traceparent};
use crate::support::{Fake, Fault, Received, Rpc, claimed, ms, reason, soon};

const ALL: [Rpc; 6] = [
    Rpc::Claim,
    Rpc::Complete,
    Rpc::Fail,
    Rpc::Lookup,
    Rpc::Extend,
    Rpc::Checkpoint,
];

/// What the caller says for itself.
const EXPLICIT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// One of each call, all of which are answered.
async fn each_call(client: &Client) {
    let held = claimed(client.claim(&Claim::new("ns", "k")).await.unwrap()).held;
    client.extend(&held, None).await.unwrap();
    client.checkpoint(&held, "half").await.unwrap();
    client.lookup("ns", "k").await.unwrap();
    client.fail(&held, &Failure::retryable("x")).await.unwrap();
    let held = claimed(client.claim(&Claim::new("ns", "k")).await.unwrap()).held;
    client.complete(&held, "done").await.unwrap();
}

fn received(fake: &Fake) -> Vec<Received> {
    ALL.iter().flat_map(|rpc| fake.received(*rpc)).collect()
}

#[track_caller]
fn assert_carried(calls: &[Received], traceparent: &str) {
    assert!(!calls.is_empty());
    for call in calls {
        assert_eq!(call.traceparent(), Some(traceparent), "{:?}", call.rpc);
    }
}

#[tokio::test]
async fn every_call_carries_the_span_of_its_caller() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let context = Spans::all().context();

    soon(each_call(&client).with_context(context.clone())).await;

    let sent = traceparent(&context);
    assert!(sent.ends_with("-01"), "{sent}");
    for rpc in ALL {
        assert_carried(&fake.received(rpc), &sent);
    }
}

#[tokio::test]
async fn a_span_that_is_not_sampled_is_named_all_the_same() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let context = Spans::new(Sampler::AlwaysOff).context();

    soon(each_call(&client).with_context(context.clone())).await;

    let sent = traceparent(&context);
    assert!(sent.ends_with("-00"), "{sent}");
    assert_carried(&received(&fake), &sent);
}

#[tokio::test]
async fn without_a_span_there_is_nothing_to_carry() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();

    soon(each_call(&client)).await;

    let calls = received(&fake);
    assert_eq!(calls.len(), 7);
    for call in calls {
        assert_eq!((call.traceparent(), call.tracestate()), (None, None));
    }
}

#[tokio::test]
async fn a_tracestate_goes_along_where_there_is_a_place_for_it() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let context = remote(&[("traceparent", EXPLICIT), ("tracestate", "b=2,a=1")]);

    soon(each_call(&client).with_context(context)).await;

    for call in received(&fake) {
        assert_eq!(call.traceparent(), Some(EXPLICIT));
        let expected = call.session.is_none().then_some("b=2,a=1");
        assert_eq!(call.tracestate(), expected, "{:?}", call.rpc);
    }
}

#[tokio::test]
async fn calls_on_two_connections_and_of_two_callers_are_told_apart() {
    let fake = Fake::start().await;
    let client = quick().channels(2).connect(fake.address()).unwrap();
    let spans = Spans::all();
    let contexts: Vec<Context> = (0..8).map(|_| spans.context()).collect();

    let callers = contexts.iter().enumerate().map(|(n, context)| {
        let client = client.clone();
        let asked = async move { client.lookup("ns", &format!("k{n}")).await.unwrap() };
        tokio::spawn(asked.with_context(context.clone()))
    });
    for caller in callers.collect::<Vec<_>>() {
        soon(caller).await.unwrap();
    }

    let calls = fake.received(Rpc::Lookup);
    let mut sent: Vec<_> = calls.iter().filter_map(Received::traceparent).collect();
    let mut expected: Vec<_> = contexts.iter().map(traceparent).collect();
    sent.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sent, expected);
}

/// Begins a call within a context, and lets it go on without.
async fn begun_within<T>(context: &Context, call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    let is_pending = poll_fn(|cx| {
        let _active = context.clone().attach();
        Poll::Ready(call.as_mut().poll(cx).is_pending())
    });
    assert!(is_pending.await, "it cannot be over yet");
    assert!(!Context::current().has_active_span());
    soon(call).await
}

#[tokio::test]
async fn a_call_that_is_sent_again_carries_the_same() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    for fault in [Fault::unavailable(), Fault::CutAfter, Fault::CutBefore] {
        fake.next(Rpc::Claim, fault);
    }
    let context = Spans::all().context();

    let claim = Claim::new("ns", "k");
    claimed(begun_within(&context, client.claim(&claim)).await.unwrap());

    let tries = fake.received(Rpc::Claim);
    assert_eq!(tries.len(), 4);
    assert_carried(&tries, &traceparent(&context));
}

#[tokio::test]
async fn what_is_asked_again_under_a_new_attempt_is_asked_in_the_same_trace() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let over = reason(Code::Aborted, "SUPERSEDED", &[]);
    fake.next(Rpc::Claim, Fault::Refuse(over));
    let context = Spans::all().context();

    let run = client.run_once(Claim::new("ns", "k"), async |_| Ok::<_, Failure>("done"));
    let run = begun_within(&context, run).await.unwrap();

    assert!(matches!(run, Run::Ran { .. }), "{run:?}");
    assert_eq!(fake.received(Rpc::Claim).len(), 2);
    assert_carried(&received(&fake), &traceparent(&context));
}

#[tokio::test]
async fn what_the_caller_says_itself_goes_before_every_span() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let state = [("traceparent", EXPLICIT), ("tracestate", "a=1")];
    let (claiming, settling) = (remote(&state), Spans::all().context());
    let traceparent = EXPLICIT.replace("4bf9", "0bad");

    let claim = Claim::new("ns", "k")
        .traceparent(&traceparent)
        .lease(ms(90));
    let claim = client.claim(&claim).with_context(claiming);
    let guard = claimed(soon(claim).await.unwrap()).guard().await.unwrap();
    fake.has_received(Rpc::Extend, 1).await;
    let settled = async {
        let held = guard.context().held();
        client.checkpoint(held, "").await.unwrap();
        client.extend(held, None).await.unwrap();
        guard.complete("done").await.unwrap();
    };
    soon(settled.with_context(settling)).await;

    let calls = received(&fake);
    assert_carried(&calls, &traceparent);
    assert!(calls.iter().all(|call| call.tracestate().is_none()));
}

#[tokio::test]
async fn a_call_of_the_holder_carries_the_span_that_is_active_then_or_else_the_claims() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let spans = Spans::all();
    let (claiming, extending) = (spans.context(), spans.context());

    let claim = Claim::new("ns", "k");
    let claim = client.claim(&claim).with_context(claiming.clone());
    let held = claimed(soon(claim).await.unwrap()).held;
    let extend = client.extend(&held, None).with_context(extending.clone());
    soon(extend).await.unwrap();
    soon(client.complete(&held, "done")).await.unwrap();

    assert_carried(&fake.received(Rpc::Claim), &traceparent(&claiming));
    assert_carried(&fake.received(Rpc::Extend), &traceparent(&extending));
    assert_carried(&fake.received(Rpc::Complete), &traceparent(&claiming));
    // It is the same claim to those who have only been told its token.
    let handed_over = semel_client::Held::new("ns", "k", held.token().clone());
    assert_eq!(held, handed_over);
    soon(client.complete(&handed_over, "done")).await.unwrap();
    assert_eq!(fake.received(Rpc::Complete)[1].traceparent(), None);
}

#[test]
fn a_lease_is_kept_and_settled_in_the_trace_of_its_claim() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let spans = Spans::all();
    let (claiming, other) = (spans.context(), spans.context());
    // Active on the thread, and so in whatever runs on it, background tasks included.
    let _active = other.clone().attach();
    runtime.block_on(async {
        let fake = Fake::start().await;
        let client = quick().connect(fake.address()).unwrap();
        for (key, is_done) in [("k1", true), ("k2", false)] {
            let claim = Claim::new("ns", key).lease(ms(90));
            let claim = client.claim(&claim).with_context(claiming.clone());
            let guard = claimed(soon(claim).await.unwrap()).guard().await.unwrap();
            fake.has_received(Rpc::Extend, fake.received(Rpc::Extend).len() + 2)
                .await;
            let failure = Failure::retryable("x");
            match is_done {
                true => drop(soon(guard.complete("done")).await.unwrap()),
                false => drop(soon(guard.fail(&failure)).await.unwrap()),
            }
        }
        soon(client.lookup("ns", "k1")).await.unwrap();

        for rpc in [Rpc::Claim, Rpc::Extend, Rpc::Complete, Rpc::Fail] {
            assert_carried(&fake.received(rpc), &traceparent(&claiming));
        }
        assert_carried(&fake.received(Rpc::Lookup), &traceparent(&other));
    });
}

#[tokio::test]
async fn a_claim_that_comes_late_is_extended_in_its_own_trace() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    fake.next(Rpc::Claim, Fault::AnswerLate(ms(300)));
    let context = Spans::all().context();

    let claim = Claim::new("ns", "k").lease(ms(400));
    let claim = client.claim(&claim).with_context(context.clone());
    let guard = claimed(soon(claim).await.unwrap()).guard().await.unwrap();

    assert_carried(&fake.received(Rpc::Extend), &traceparent(&context));
    drop(guard);
}

#[tokio::test]
async fn a_run_is_one_trace_and_its_work_may_have_spans_of_its_own() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let spans = Spans::all();
    let (running, working) = (spans.context(), spans.context());

    let run = client.run_once(Claim::new("ns", "k").lease(ms(90)), {
        let working = working.clone();
        let fake = fake.clone();
        async move |work| {
            let saved = work.checkpoint("half").with_context(working).await;
            saved.map_err(Failure::retryable)?;
            fake.has_received(Rpc::Extend, 1).await;
            Ok::<_, Failure>("done")
        }
    });
    soon(run.with_context(running.clone())).await.unwrap();

    for rpc in [Rpc::Claim, Rpc::Extend, Rpc::Complete] {
        assert_carried(&fake.received(rpc), &traceparent(&running));
    }
    assert_carried(&fake.received(Rpc::Checkpoint), &traceparent(&working));
}

#[tokio::test]
async fn a_span_of_tracing_is_carried_where_it_is_one_of_opentelemetry() {
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let spans = Spans::all();
    let layer = tracing_opentelemetry::layer().with_tracer(spans.tracer());
    let _default = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));

    let span = tracing::info_span!("the caller's");
    soon(each_call(&client).instrument(span)).await;

    let ended = spans.ended();
    let caller = ended.iter().find(|span| span.name == "the caller's");
    let caller = &caller.expect("it has ended").span_context;
    let sent = traceparent(&Context::new().with_remote_span_context(caller.clone()));
    for rpc in ALL {
        assert_carried(&fake.received(rpc), &sent);
    }
}

#[tokio::test]
async fn whoever_asks_later_is_told_the_trace_of_the_claim() {
    const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let fake = Fake::start().await;
    let client = quick().connect(fake.address()).unwrap();
    let claim = Claim::new("ns", "k");
    let claim = client
        .claim(&claim)
        .with_context(remote(&[("traceparent", EXPLICIT)]));
    let held = claimed(soon(claim).await.unwrap()).held;

    let record = soon(client.lookup("ns", "k")).await.unwrap().unwrap();
    assert_eq!(
        (&record.traceparent[..], record.trace_id()),
        (EXPLICIT, Some(TRACE_ID))
    );
    assert_eq!(record.claim_id, format!("{:032x}", 1));
    let RecordState::InProgress(busy) = &record.state else {
        panic!("{record:?}");
    };
    assert_eq!(busy.trace_id(), Some(TRACE_ID));
    soon(client.complete(&held, "done")).await.unwrap();
    let ClaimOutcome::Completed(done) = soon(client.claim(&Claim::new("ns", "k"))).await.unwrap()
    else {
        panic!("not completed");
    };
    assert_eq!(done.trace_id(), Some(TRACE_ID));

    // Neither one that is malformed nor none at all has a trace to be looked for.
    for (key, traceparent) in [("l", Some("garbage")), ("m", None)] {
        let claim = Claim::new("ns", key);
        let claim = match traceparent {
            Some(traceparent) => claim.traceparent(traceparent),
            None => claim,
        };
        claimed(soon(client.claim(&claim)).await.unwrap());
        let record = soon(client.lookup("ns", key)).await.unwrap().unwrap();
        assert_eq!(record.traceparent, traceparent.unwrap_or_default());
        assert_eq!(record.trace_id(), None);
    }
}
