//! Spans, as a collector gets them from the real binary.

use std::time::Duration;

use semel_proto::v1::{self, FailureKind, claim_response::Outcome};
use semel_server::key::KeyId;
use semel_test_postgres::Cluster;
use tokio::task::spawn_blocking;
use tonic::{Code, Request, metadata::MetadataValue};

use crate::support::*;

/// The status of a span that failed.
const ERROR: i32 = 2;

/// A server that sends its spans to a collector.
struct Traces {
    collector: Collector,
    server: Process,
    client: Client,
    wire: Wire,
    _scratch: Scratch,
}

impl Traces {
    async fn start(toml: &str) -> Self {
        Self::start_with(toml, &[]).await
    }

    async fn start_with(toml: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_at(Collector::start().await, toml, variables).await
    }

    async fn start_at(collector: Collector, toml: &str, variables: &[(&str, &str)]) -> Self {
        let scratch = Scratch::new();
        let data = scratch.path("data");
        let toml = format!("data_dir = {data:?}\n{toml}");
        Self::start_as(collector, scratch, &toml, variables).await
    }

    async fn start_as(
        collector: Collector,
        scratch: Scratch,
        toml: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let file = scratch.file("semel.toml", toml);
        let mut command = semel(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
        command.arg("--config").arg(file);
        collector.collects_from(&mut command);
        command.envs(variables.iter().copied());
        let server = Process::start(command);
        let wire = Wire::connect(server.serving().await).await;
        Self {
            collector,
            server,
            client: wire.client(),
            wire,
            _scratch: scratch,
        }
    }

    /// Claims as part of a trace of the caller's.
    async fn claim(&mut self, request: v1::ClaimRequest, caller: &str) -> Outcome {
        let answer = within(self.client.claim(traced(request, caller))).await;
        let answer = answer.expect("an answer").into_inner();
        answer.outcome.expect("an outcome")
    }

    /// The same, granted; and the server's span of it.
    async fn claimed(&mut self, request: v1::ClaimRequest, caller: &str) -> (v1::Claimed, Traced) {
        match self.claim(request, caller).await {
            Outcome::Claimed(granted) => (granted, self.collector.server_span(caller).await),
            other => panic!("not claimed: {other:?}"),
        }
    }
}

fn traced<T>(message: T, traceparent: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = MetadataValue::try_from(traceparent).expect("visible characters");
    request.metadata_mut().insert("traceparent", value);
    request
}

/// The context of caller `n`, who samples.
fn caller(n: u32) -> String {
    format!("00-{n:032x}-{n:016x}-01")
}

fn trace_of(traceparent: &str) -> &str {
    traceparent.split('-').nth(1).expect("a trace")
}

/// What a span shows instead of the key.
fn shown(key: &str) -> String {
    KeyId::parse(NAMESPACE, key).unwrap().shown()
}

#[tokio::test]
async fn a_claim_is_a_server_span_in_its_callers_trace_with_lane_wait_and_store_call_in_it() {
    let mut traces = Traces::start("").await;
    let caller = caller(1);
    let (granted, span) = traces.claimed(claim("k", 1), &caller).await;

    assert_eq!(span.trace(), trace_of(&caller));
    assert_eq!(span.0.name, "semel.v1.IdempotencyService/Claim");
    for (name, value) in [
        ("rpc.system.name", "grpc"),
        ("rpc.method", "semel.v1.IdempotencyService/Claim"),
        ("rpc.response.status_code", "OK"),
        ("semel.namespace", NAMESPACE),
        ("semel.key", &shown("k")),
        ("semel.outcome", "claimed"),
        ("semel.fence", &granted.fence.to_string()),
        ("semel.attempt", "1"),
    ] {
        assert_eq!(span.must(name), value, "{name}");
    }
    assert_eq!(span.must("semel.claim_id").len(), 32);
    for old in [
        "rpc.system",
        "rpc.service",
        "rpc.grpc.status_code",
        "error.type",
    ] {
        assert_eq!(span.get(old), None);
    }
    assert!(span.0.links.is_empty(), "it is the first: {span:#?}");
    assert_eq!(traces.collector.resource("service.name")[0], "semel");

    let wait = traces.collector.child(&span, "lane wait").await;
    wait.expect_within(&span);
    let call = traces
        .collector
        .child(&span, "store insert_if_absent")
        .await;
    call.expect_within(&span);
    assert!(wait.0.end_time_unix_nano <= call.0.start_time_unix_nano + 1_000_000);
    assert_eq!(call.must("semel.batch.size"), "1");
    assert_eq!(call.must("db.system.name"), "sqlite");

    // The batch is a trace of its own, and each leads to the other.
    let links = call.links("batch");
    assert_eq!(links.len(), 1);
    let id = hex::encode(&links[0].span_id);
    let batch = traces.collector.span("the batch", |it| it.id() == id).await;
    assert_eq!(batch.parent(), "");
    assert_ne!(batch.trace(), span.trace());
    assert_eq!(batch.0.links.len(), 1);
    assert_eq!(batch.0.links[0].span_id, span.0.span_id);
}

#[tokio::test]
async fn one_batch_serves_many_callers_and_is_linked_with_each() {
    let mut traces = Traces::start("").await;
    // In one go, so that most of them queue behind the first.
    let calls: Vec<_> = (1..=60)
        .map(|n: u8| {
            let mut client = traces.client.clone();
            let request = traced(claim(&format!("k{n}"), n), &caller(n.into()));
            tokio::spawn(async move { within(client.claim(request)).await.unwrap() })
        })
        .collect();
    for call in calls {
        within(call).await.unwrap();
    }
    let mut shared = 0;
    for n in 1..=60 {
        let span = traces.collector.server_span(&caller(n)).await;
        let call = traces
            .collector
            .child(&span, "store insert_if_absent")
            .await;
        let batch_id = call.links("batch")[0].span_id.clone();
        let is_it = |it: &Traced| it.0.span_id == batch_id;
        let batch = traces.collector.span("the batch", is_it).await;
        let back = batch
            .0
            .links
            .iter()
            .filter(|it| it.span_id == span.0.span_id);
        assert_eq!(back.count(), 1, "{batch:#?}");
        assert_eq!(
            batch.must("semel.batch.size"),
            batch.0.links.len().to_string()
        );
        shared += usize::from(batch.0.links.len() > 1);
    }
    assert!(shared > 1, "each had a batch of its own");
    traces.client.lookup(lookup("k1")).await.unwrap();
}

#[tokio::test]
async fn every_duplicates_span_links_to_the_originals_and_has_its_claim_id() {
    let mut traces = Traces::start("[defaults]\nattempts = 2").await;
    for (n, (key, settle)) in [
        ("in_progress", None),
        ("completed", Some(None)),
        ("failed", Some(Some(FailureKind::Terminal))),
        ("backing_off", Some(Some(FailureKind::Retryable))),
        ("uncertain", Some(Some(FailureKind::Unknown))),
    ]
    .into_iter()
    .enumerate()
    {
        let n = n as u32 * 10 + 1;
        let (granted, original) = traces.claimed(claim(key, 1), &caller(n)).await;
        match settle {
            None => {}
            Some(None) => {
                let settled = complete(key, &granted.token, b"r");
                traces.client.complete(settled).await.unwrap();
            }
            Some(Some(kind)) => {
                traces
                    .client
                    .fail(fail(key, &granted.token, kind))
                    .await
                    .unwrap();
            }
        }
        // From a trace of its own, and from none.
        traces.claim(claim(key, 2), &caller(n + 1)).await;
        let duplicate = traces.collector.server_span(&caller(n + 1)).await;
        traces.client.claim(claim(key, 3)).await.unwrap();
        let is_it = |span: &Traced| {
            span.is_of_server()
                && span.parent().is_empty()
                && span.get("semel.key") == Some(shown(key))
                && span.must("rpc.method").ends_with("/Claim")
        };
        let rootless = traces.collector.span("the other duplicate", is_it).await;
        for span in [duplicate, rootless] {
            span.expect_link("original", &original);
            assert_eq!(span.must("semel.outcome"), key);
            assert_eq!(span.must("semel.fence"), original.must("semel.fence"));
            assert_eq!(span.must("semel.claim_id"), original.must("semel.claim_id"));
        }
    }
}

#[tokio::test]
async fn a_refused_duplicate_links_to_the_original_too() {
    let mut traces = Traces::start("").await;
    let with_print = |attempt, print: &str| v1::ClaimRequest {
        fingerprint: print.as_bytes().to_vec().into(),
        ..claim("k", attempt)
    };
    let (_, original) = traces.claimed(with_print(1, "a"), &caller(1)).await;
    let refused = traces
        .client
        .claim(traced(with_print(2, "b"), &caller(2)))
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
    let span = traces.collector.server_span(&caller(2)).await;
    span.expect_link("original", &original);
    assert_eq!(span.must("semel.outcome"), "fingerprint_mismatch");
    assert_eq!(span.must("semel.claim_id"), original.must("semel.claim_id"));
    assert_eq!(span.must("rpc.response.status_code"), "FAILED_PRECONDITION");
    // A mistake of the caller's is no error of the server's.
    assert_eq!(span.get("error.type"), None);
    assert_eq!(span.0.status.clone().unwrap_or_default().code, 0);
}

#[tokio::test]
async fn a_repeated_claim_has_the_claim_id_of_the_first_and_links_to_it() {
    let mut traces = Traces::start("").await;
    let (_, first) = traces.claimed(claim("k", 1), &caller(1)).await;
    let (_, again) = traces.claimed(claim("k", 1), &caller(2)).await;
    again.expect_link("original", &first);
    assert_eq!(again.must("semel.claim_id"), first.must("semel.claim_id"));
    assert_eq!(again.must("semel.outcome"), "claimed");
}

#[tokio::test]
async fn a_waiting_duplicates_span_lasts_until_its_answer_and_links_to_the_original() {
    let mut traces = Traces::start("").await;
    let (granted, original) = traces.claimed(claim("k", 1), &caller(1)).await;
    let waiting = v1::ClaimRequest {
        wait: span(60, 0),
        ..claim("k", 2)
    };
    let mut client = traces.client.clone();
    let waits = tokio::spawn(async move { client.claim(traced(waiting, &caller(2))).await });
    // It has looked once when its first look's span is there.
    let parent = format!("{:016x}", 2);
    until("it waits", || async {
        let spans = traces.collector.spans();
        let looks = spans.iter().filter(|it| it.trace().ends_with(&parent));
        (looks.count() >= 2).then_some(())
    })
    .await;
    traces
        .client
        .complete(complete("k", &granted.token, b"r"))
        .await
        .unwrap();
    within(waits).await.unwrap().unwrap();
    let span = traces.collector.server_span(&caller(2)).await;
    span.expect_link("original", &original);
    assert_eq!(span.must("semel.outcome"), "completed");
    assert_eq!(span.must("semel.claim_id"), original.must("semel.claim_id"));
    assert!(span.0.end_time_unix_nano > original.0.end_time_unix_nano);
    for name in ["lane wait", "store load"] {
        traces
            .collector
            .child(&span, name)
            .await
            .expect_within(&span);
    }
}

#[tokio::test]
async fn a_long_wait_has_a_few_looks_in_its_trace_and_not_all_of_them() {
    let mut traces = Traces::start("").await;
    traces.claimed(claim("k", 1), &caller(1)).await;
    let waiting = v1::ClaimRequest {
        wait: span(5, 0),
        ..claim("k", 2)
    };
    let outcome = traces.claim(waiting, &caller(2)).await;
    assert!(matches!(outcome, Outcome::InProgress(_)), "{outcome:?}");
    let span = traces.collector.server_span(&caller(2)).await;
    let of = |name: &str| {
        let spans = traces.collector.spans();
        let below = spans.iter().filter(|it| it.parent() == span.id());
        below.filter(|it| it.0.name == name).count()
    };
    // It looks some thirty times.
    assert!((2..=16).contains(&of("lane wait")), "{}", of("lane wait"));
    assert!((2..=16).contains(&of("store load")), "{}", of("store load"));
}

#[tokio::test]
async fn a_takeover_links_to_the_attempt_whose_lease_lapsed() {
    let mut traces = Traces::start("").await;
    let brief = v1::ClaimRequest {
        lease: millis(1),
        ..claim("k", 1)
    };
    let (lost, first) = traces.claimed(brief, &caller(1)).await;
    let next = until("the lease has lapsed", || {
        let mut client = traces.client.clone();
        async move {
            let answer = client.claim(claim("k", 2)).await.unwrap().into_inner();
            match answer.outcome.unwrap() {
                Outcome::Claimed(granted) => Some(granted),
                _ => None,
            }
        }
    })
    .await;
    let fence = next.fence.to_string();
    let is_it = |it: &Traced| it.is_of_server() && it.get("semel.fence").as_ref() == Some(&fence);
    let takeover = traces.collector.span("the takeover", is_it).await;
    takeover.expect_link("previous_attempt", &first);
    assert_eq!(takeover.links("original").len(), 0);
    assert_eq!(takeover.must("semel.attempt"), "2");
    assert_ne!(
        takeover.must("semel.claim_id"),
        first.must("semel.claim_id")
    );

    // The holder that was too late is shown who has taken over.
    let late = traced(complete("k", &lost.token, b"r"), &caller(3));
    let refused = traces.client.complete(late).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    let span = traces.collector.server_span(&caller(3)).await;
    assert_eq!(span.must("semel.outcome"), "lease_lost");
    assert_eq!(span.must("semel.claim_id"), first.must("semel.claim_id"));
    assert_eq!(span.must("semel.fence"), lost.fence.to_string());
    span.expect_link("original", &takeover);
}

#[tokio::test]
async fn a_claim_that_finds_the_attempts_used_up_by_a_lapse_shows_the_last_one() {
    let mut traces = Traces::start("[defaults]\nattempts = 1").await;
    let brief = v1::ClaimRequest {
        lease: millis(1),
        ..claim("k", 1)
    };
    let (_, last) = traces.claimed(brief, &caller(1)).await;
    let mut n = 1;
    loop {
        n += 1;
        let outcome = traces.claim(claim("k", 2), &caller(n)).await;
        if matches!(outcome, Outcome::Dead(_)) {
            break;
        }
        assert!(n < 10_000, "{outcome:?}");
    }
    let span = traces.collector.server_span(&caller(n)).await;
    assert_eq!(span.must("semel.outcome"), "dead");
    assert_eq!(span.must("semel.claim_id"), last.must("semel.claim_id"));
    span.expect_link("original", &last);
    traces
        .collector
        .child(&span, "store compare_and_swap")
        .await;
    let line = until("it is told", || async {
        let lines = traces.server.lines();
        lines.into_iter().find(|it| it.contains("a dead letter"))
    })
    .await;
    assert!(line.contains(trace_of(&caller(1))), "{line}");
}

#[tokio::test]
async fn a_call_that_its_caller_did_not_wait_for_shows_what_came_of_it_all_the_same() {
    let mut traces = Traces::start("").await;
    traces.claimed(claim("held", 1), &caller(1)).await;
    // Whoever waits has looked, and so has the span.
    let waits = v1::ClaimRequest {
        wait: crate::support::span(60, 0),
        ..claim("held", 2)
    };
    let mut client = traces.client.clone();
    let gone = tokio::spawn(async move { client.claim(traced(waits, &caller(2))).await });
    let parent = format!("{:032x}", 2);
    until("it has looked", || async {
        let spans = traces.collector.spans();
        let looked = |it: &Traced| it.trace() == parent && it.0.name == "store load";
        spans.iter().any(looked).then_some(())
    })
    .await;
    gone.abort();
    let original = traces.collector.server_span(&caller(1)).await;
    let span = traces.collector.server_span(&caller(2)).await;
    assert_eq!(span.must("rpc.response.status_code"), "CANCELLED");
    assert_eq!(span.must("semel.outcome"), "abandoned");
    assert_eq!(span.must("semel.key"), shown("held"));
    assert_eq!(span.must("semel.claim_id"), original.must("semel.claim_id"));
    span.expect_link("original", &original);

    // On a stream that is dropped it is the same.
    let waits = v1::ClaimRequest {
        wait: crate::support::span(60, 0),
        ..claim("held", 3)
    };
    let mut session = traces.wire.session().await;
    session.send_traced(waits, &caller(3));
    let parent = format!("{:032x}", 3);
    until("it has looked", || async {
        let spans = traces.collector.spans();
        let looked = |it: &Traced| it.trace() == parent && it.0.name == "store load";
        spans.iter().any(looked).then_some(())
    })
    .await;
    drop(session);
    let span = traces.collector.server_span(&caller(3)).await;
    assert_eq!(span.must("semel.outcome"), "abandoned");
    assert_eq!(span.0.status.clone().unwrap_or_default().code, 0);
    span.expect_link("original", &original);
}

#[tokio::test]
async fn a_stream_that_its_caller_does_not_sample_has_no_spans_but_those_of_commands_that_are() {
    let mut traces = Traces::start("").await;
    let unsampled = caller(1).replace("-01", "-00");
    let mut session = traces.wire.session_in(&unsampled).await;
    session.claimed(claim("bare", 1)).await;
    let number = session.send_traced(claim("own", 1), &caller(2));
    session.answer_to(number).await.expect("claimed");
    session.finish();
    session.rest().await;
    traces.collector.server_span(&caller(2)).await;
    traces.claimed(claim("last", 1), &caller(3)).await;
    let all = traces.collector.spans();
    let of_server: Vec<_> = all.iter().filter(|it| it.is_of_server()).collect();
    assert_eq!(of_server.len(), 2, "{of_server:#?}");
}

#[tokio::test]
async fn a_batch_leads_to_more_callers_than_the_sdk_would_let_it() {
    let traces = Traces::start("").await;
    let mut session = traces.wire.session().await;
    for n in 1..=900u32 {
        session.send_traced(claim(&format!("k{n}"), 1), &caller(n));
    }
    for n in 1..=900 {
        session.answer_to(n).await.expect("claimed");
    }
    let is_it = |it: &Traced| it.0.links.len() > 128;
    let batch = traces.collector.span("a large batch", is_it).await;
    assert_eq!(batch.0.dropped_links_count, 0);
    assert_eq!(
        batch.must("semel.batch.size"),
        batch.0.links.len().to_string()
    );
}

#[tokio::test]
async fn an_attempt_after_a_failed_one_links_to_it() {
    let mut traces = Traces::start("").await;
    let (granted, first) = traces.claimed(claim("k", 1), &caller(1)).await;
    let released = v1::FailRequest {
        retry_after: millis(0),
        ..fail("k", &granted.token, FailureKind::Retryable)
    };
    traces
        .client
        .fail(traced(released, &caller(2)))
        .await
        .unwrap();
    let failed = traces.collector.server_span(&caller(2)).await;
    assert_eq!(failed.must("semel.outcome"), "backing_off");
    assert_eq!(failed.must("semel.claim_id"), first.must("semel.claim_id"));
    let (_, second) = traces.claimed(claim("k", 2), &caller(3)).await;
    second.expect_link("previous_attempt", &first);
}

#[tokio::test]
async fn the_holders_calls_carry_the_claim_id_of_their_claim() {
    let mut traces = Traces::start("").await;
    let (granted, original) = traces.claimed(claim("k", 1), &caller(1)).await;
    let token = &granted.token;
    traces
        .client
        .extend(traced(extend("k", token), &caller(2)))
        .await
        .unwrap();
    let saved = checkpoint("k", token, b"page 7");
    traces
        .client
        .checkpoint(traced(saved, &caller(3)))
        .await
        .unwrap();
    traces
        .client
        .complete(traced(complete("k", token, b"r"), &caller(4)))
        .await
        .unwrap();
    traces
        .client
        .complete(traced(complete("k", token, b"r"), &caller(5)))
        .await
        .unwrap();
    for (n, method, outcome) in [
        (2, "Extend", "extended"),
        (3, "Checkpoint", "saved"),
        (4, "Complete", "completed"),
        (5, "Complete", "completed"),
    ] {
        let span = traces.collector.server_span(&caller(n)).await;
        assert_eq!(
            span.must("rpc.method"),
            format!("semel.v1.IdempotencyService/{method}")
        );
        assert_eq!(span.must("semel.outcome"), outcome);
        assert_eq!(span.must("semel.claim_id"), original.must("semel.claim_id"));
        assert_eq!(span.must("semel.fence"), granted.fence.to_string());
        assert!(
            span.links("original").is_empty(),
            "its own claim: {span:#?}"
        );
    }
}

#[tokio::test]
async fn a_lookup_returns_the_trace_of_the_original_and_links_to_it() {
    let mut traces = Traces::start("").await;
    let (granted, original) = traces.claimed(claim("k", 1), &caller(1)).await;
    let released = fail("k", &granted.token, FailureKind::Retryable);
    traces.client.fail(released).await.unwrap();
    let looked = traces.client.lookup(traced(lookup("k"), &caller(2))).await;
    let found = looked.unwrap().into_inner();
    assert_eq!(found.traceparent, original.traceparent());
    assert_eq!(trace_of(&found.traceparent), trace_of(&caller(1)));
    assert_eq!(found.claim_id, original.must("semel.claim_id"));
    let span = traces.collector.server_span(&caller(2)).await;
    span.expect_link("original", &original);
    assert_eq!(span.must("semel.outcome"), "backing_off");
}

#[tokio::test]
async fn each_command_of_a_session_is_a_span_in_its_own_trace_and_the_stream_is_one_too() {
    let mut traces = Traces::start("").await;
    let mut session = traces.wire.session().await;
    let send = |session: &mut Session, n: u32, call: Call| session.send_traced(call, &caller(n));
    send(&mut session, 1, claim("k", 1).into());
    let answer = session.answer_to(1).await.expect("not refused");
    let Outcome::Claimed(granted) = outcome_of(answer) else {
        panic!("not claimed")
    };
    let original = traces.collector.server_span(&caller(1)).await;
    assert_eq!(original.must("semel.outcome"), "claimed");
    assert_eq!(original.must("semel.session"), "true");
    traces.collector.child(&original, "lane wait").await;
    traces
        .collector
        .child(&original, "store insert_if_absent")
        .await;

    send(&mut session, 2, claim("k", 2).into());
    send(&mut session, 3, complete("k", &granted.token, b"r").into());
    send(&mut session, 4, lookup("k").into());
    send(&mut session, 5, extend("k", b"no token").into());
    for number in 2..=5 {
        let answer = session.answer_to(number).await;
        assert_eq!(answer.is_ok(), number != 5, "{answer:?}");
    }
    let duplicate = traces.collector.server_span(&caller(2)).await;
    duplicate.expect_link("original", &original);
    for (n, method, code) in [
        (3, "Complete", "OK"),
        (4, "Lookup", "OK"),
        (5, "Extend", "INVALID_ARGUMENT"),
    ] {
        let span = traces.collector.server_span(&caller(n)).await;
        assert_eq!(
            span.must("rpc.method"),
            format!("semel.v1.IdempotencyService/{method}")
        );
        assert_eq!(span.must("rpc.response.status_code"), code);
    }

    session.finish();
    session.rest().await;
    let is_it = |it: &Traced| it.0.name == "semel.v1.SessionService/Session";
    let stream = traces.collector.span("the stream's own span", is_it).await;
    assert_eq!(stream.must("rpc.response.status_code"), "OK");
    original.expect_link("session", &stream);
    traces.client.lookup(lookup("k")).await.unwrap();
}

#[tokio::test]
async fn what_is_refused_before_the_rules_see_it_has_a_span_with_its_status() {
    let mut traces = Traces::start("").await;
    let nameless = traced(claim("", 1), &caller(1));
    assert_eq!(
        traces.client.claim(nameless).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let span = traces.collector.server_span(&caller(1)).await;
    assert_eq!(span.must("rpc.response.status_code"), "INVALID_ARGUMENT");
    assert_eq!(span.get("semel.key"), None);

    let unfit = v1::ClaimRequest {
        lease: span_of_a_year(),
        ..claim("k", 1)
    };
    let unfit = traced(unfit, &caller(2));
    assert_eq!(
        traces.client.claim(unfit).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let span = traces.collector.server_span(&caller(2)).await;
    assert_eq!(span.must("semel.outcome"), "invalid");

    // A deadline that passes is the server's to tell.
    traces.claimed(claim("held", 1), &caller(3)).await;
    let waits = v1::ClaimRequest {
        wait: crate::support::span(60, 0),
        ..claim("held", 2)
    };
    let mut waits = traced(waits, &caller(4));
    waits.set_timeout(Duration::from_millis(1));
    let _ = traces.client.claim(waits).await;
    let span = traces.collector.server_span(&caller(4)).await;
    let code = span.must("rpc.response.status_code");
    assert!(
        ["OK", "DEADLINE_EXCEEDED"].contains(&code.as_str()),
        "{code}"
    );
}

fn span_of_a_year() -> Option<prost_types::Duration> {
    span(365 * 24 * 60 * 60, 0)
}

#[tokio::test]
async fn what_the_store_could_not_do_is_an_error_of_the_servers() {
    let cluster = spawn_blocking(Cluster::start).await.unwrap();
    let cluster = cluster.expect("a Postgres");
    let toml = format!("database_url = {:?}", cluster.url("postgres"));
    let collector = Collector::start().await;
    let mut traces = Traces::start_as(collector, Scratch::new(), &toml, &[]).await;
    let (_, first) = traces.claimed(claim("k", 1), &caller(1)).await;
    let call = traces.collector.child(&first, "store insert_if_absent");
    assert_eq!(call.await.must("db.system.name"), "postgresql");

    let cluster = spawn_blocking(move || cluster.stop_fast().map(|()| cluster)).await;
    let cluster = cluster.unwrap().expect("it stops");
    let refused = traces.client.claim(traced(claim("k", 2), &caller(2))).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unavailable);
    let span = traces.collector.server_span(&caller(2)).await;
    assert_eq!(span.must("semel.outcome"), "unavailable");
    assert_eq!(span.must("rpc.response.status_code"), "UNAVAILABLE");
    assert_eq!(span.must("error.type"), "UNAVAILABLE");
    assert_eq!(span.0.status.clone().expect("a status").code, ERROR);
    let call = traces.collector.child(&span, "store load").await;
    let status = call.0.status.clone().expect("a status");
    assert_eq!(
        (status.code, status.message.as_str()),
        (ERROR, "unavailable")
    );
    drop(cluster);
}

#[tokio::test]
async fn a_caller_that_does_not_sample_is_not_traced_and_one_that_does_is() {
    let rare = [("OTEL_TRACES_SAMPLER", "parentbased_always_off")];
    let mut traces = Traces::start_with("", &rare).await;
    let unsampled = caller(1).replace("-01", "-00");
    traces.claim(claim("quiet", 1), &unsampled).await;
    traces.client.claim(claim("rootless", 1)).await.unwrap();
    // Kept all the same, for whoever looks it up.
    let found = traces
        .client
        .lookup(lookup("quiet"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(found.traceparent, unsampled);
    let (_, span) = traces.claimed(claim("loud", 1), &caller(2)).await;
    assert_eq!(span.trace(), trace_of(&caller(2)));
    // A duplicate of a claim that nobody traced links to what its caller sent.
    traces.claim(claim("quiet", 2), &caller(3)).await;
    let duplicate = traces.collector.server_span(&caller(3)).await;
    let links = duplicate.links("original");
    assert_eq!(hex::encode(&links[0].trace_id), trace_of(&unsampled));

    let all = traces.collector.spans();
    let of_others = all
        .iter()
        .filter(|it| it.is_of_server())
        .find(|it| ![trace_of(&caller(2)), trace_of(&caller(3))].contains(&it.trace().as_str()));
    assert!(of_others.is_none(), "{of_others:#?}");
}

#[tokio::test]
async fn a_malformed_context_begins_a_trace_of_its_own() {
    let mut traces = Traces::start("").await;
    for (n, bad) in [
        "nonsense",
        "00-00000000000000000000000000000000-0000000000000001-01",
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("k{n}");
        traces.claim(claim(&key, 1), bad).await;
        let is_it = |it: &Traced| it.get("semel.key") == Some(shown(&key));
        let span = traces.collector.span("the claim", is_it).await;
        assert_eq!(span.parent(), "");
        let found = traces
            .client
            .lookup(lookup(&key))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(found.traceparent, span.traceparent(), "its own is kept");
    }
}

#[tokio::test]
async fn the_callers_trace_state_goes_on_with_the_span() {
    let mut traces = Traces::start("").await;
    let mut request = traced(claim("k", 1), &caller(1));
    let state = MetadataValue::from_static("vendor=value");
    request.metadata_mut().insert("tracestate", state);
    traces.client.claim(request).await.unwrap();
    let span = traces.collector.server_span(&caller(1)).await;
    assert_eq!(span.0.trace_state, "vendor=value");
}

#[tokio::test]
async fn keys_are_shown_where_the_operator_says_so() {
    let mut traces = Traces::start("show_keys = true").await;
    let (_, span) = traces.claimed(claim("order 17", 1), &caller(1)).await;
    assert_eq!(span.must("semel.key"), "order 17");
}

#[tokio::test]
async fn a_collector_that_hangs_slows_no_claim_and_no_stop() {
    let collector = Collector::hanging().await;
    let mut traces = Traces::start_at(collector, "", &[]).await;
    // More spans than the exporter's queue takes, many times over.
    let mut session = traces.wire.session().await;
    for n in 0..6_000u32 {
        let key = format!("k{n}");
        let number = session.send_traced(claim(&key, 1), &caller(n + 1));
        if n % 500 == 499 {
            session.answer_to(number).await.expect("claimed");
        }
    }
    traces.client.claim(claim("single", 1)).await.unwrap();
    session.finish();
    session.rest().await;
    drop((traces.client, traces.wire));
    traces.server.signal("TERM").await;
    let asked = std::time::Instant::now();
    traces.server.ended().await.expect_code(0);
    // The drain has nothing to wait for, and the exporter's own bound is ten seconds.
    assert!(
        asked.elapsed() < Duration::from_secs(8),
        "{:?}",
        asked.elapsed()
    );
}

#[tokio::test]
async fn a_collector_that_is_not_there_is_told_of_once() {
    let collector = Collector::start().await;
    let nobody = format!("http://{}", free_port());
    let mut traces =
        Traces::start_at(collector, "", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &nobody)]).await;
    for n in 0..50u32 {
        traces
            .claim(claim(&format!("k{n}"), 1), &caller(n + 1))
            .await;
    }
    let told = |server: &Process| {
        let lines = server.lines();
        lines.iter().filter(|it| it.contains("collector")).count()
    };
    until("it is told", || async {
        (told(&traces.server) > 0).then_some(())
    })
    .await;
    for n in 50..100u32 {
        traces
            .claim(claim(&format!("k{n}"), 1), &caller(n + 1))
            .await;
    }
    assert_eq!(told(&traces.server), 1, "{:#?}", traces.server.lines());
}

#[tokio::test]
async fn metrics_are_sent_too_where_that_is_asked_for() {
    let asked = [
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "50"),
    ];
    let mut traces = Traces::start_with("", &asked).await;
    traces.claimed(claim("k", 1), &caller(1)).await;
    until("the metrics have come", || async {
        let names = traces.collector.metrics();
        let all = [
            "semel.claims",
            "rpc.server.call.duration",
            "semel.keys",
            "semel.store.ready",
        ];
        let has = |name: &&str| names.iter().any(|it| it == name);
        all.iter().all(has).then_some(())
    })
    .await;
}

#[tokio::test]
async fn variables_that_ask_for_what_cannot_be_done_end_the_start_with_their_names() {
    let mut command = semel(&["serve", "--listen", "127.0.0.1:0"]);
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .env("OTEL_TRACES_SAMPLER", "sometimes");
    let ended = Process::finish(command).await;
    ended.expect(3).says(&[
        "OTEL_EXPORTER_OTLP_PROTOCOL: must be grpc",
        "OTEL_TRACES_SAMPLER: must be always_on",
    ]);
}
