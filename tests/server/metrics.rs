//! What is measured: each thing is done once, and the counts are looked at.

use semel_proto::v1::{self, FailureKind};

use crate::support::*;

fn orders<'a>(more: &'a [(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("namespace", NAMESPACE)], more].concat()
}

/// What a counter of the namespace says.
fn count(host: &Host, name: &str, more: &[(&str, &str)]) -> f64 {
    host.scrape().sum(name, &orders(more))
}

#[tokio::test]
async fn claims_are_counted_by_namespace_and_outcome() {
    let host = Host::start("[defaults]\nattempts = 1").await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    client.claim(claim("k", 2)).await.unwrap();
    client
        .complete(complete("k", &granted.token, b"r"))
        .await
        .unwrap();
    client.claim(claim("k", 3)).await.unwrap();
    let other = v1::ClaimRequest {
        fingerprint: b"x".to_vec().into(),
        ..claim("print", 1)
    };
    claimed(&mut client, other.clone()).await;
    let mismatch = v1::ClaimRequest {
        fingerprint: b"y".to_vec().into(),
        ..other
    };
    client.claim(mismatch).await.unwrap_err();
    let unfit = v1::ClaimRequest {
        lease: span(1_000_000, 0),
        ..claim("k", 1)
    };
    client.claim(unfit).await.unwrap_err();
    let granted = claimed(&mut client, claim("dead", 1)).await;
    client
        .fail(fail("dead", &granted.token, FailureKind::Retryable))
        .await
        .unwrap();
    client.claim(claim("dead", 2)).await.unwrap();
    // Over a stream they count the same.
    let wire = host.wire().await;
    let mut session = wire.session().await;
    session.claimed(claim("streamed", 1)).await;
    for (outcome, expected) in [
        ("claimed", 4.0),
        ("in_progress", 1.0),
        ("completed", 1.0),
        ("fingerprint_mismatch", 1.0),
        ("invalid", 1.0),
        ("dead", 1.0),
    ] {
        let counted = count(&host, "semel_claims_total", &[("outcome", outcome)]);
        assert_eq!(counted, expected, "{outcome}");
    }
    assert_eq!(count(&host, "semel_claims_total", &[]), 9.0);
    assert_eq!(count(&host, "semel_dead_letters_total", &[]), 1.0);
}

#[tokio::test]
async fn a_claim_that_waits_is_counted_once_however_often_it_looks() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    claimed(&mut client, claim("k", 1)).await;
    let waits = v1::ClaimRequest {
        wait: span(0, 500_000_000),
        ..claim("k", 2)
    };
    let waiting = {
        let mut client = client.clone();
        tokio::spawn(async move { client.claim(waits).await })
    };
    until("it waits", || async {
        (host.scrape().sum("semel_waiters", &[]) == 1.0).then_some(())
    })
    .await;
    within(waiting).await.unwrap().unwrap();
    assert_eq!(
        count(&host, "semel_claims_total", &[("outcome", "in_progress")]),
        1.0
    );
    assert_eq!(host.scrape().sum("semel_waiters", &[]), 0.0);
}

#[tokio::test]
async fn settlements_are_counted_by_kind_and_by_what_became_of_them() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("done", 1)).await;
    let settled = complete("done", &granted.token, b"r");
    client.complete(settled.clone()).await.unwrap();
    client.complete(settled.clone()).await.unwrap();
    let other = v1::CompleteRequest {
        result: b"other".to_vec().into(),
        ..settled.clone()
    };
    client.complete(other).await.unwrap_err();
    let failed = fail("done", &granted.token, FailureKind::Terminal);
    client.fail(failed).await.unwrap_err();
    client
        .complete(complete("nothing", &granted.token, b"r"))
        .await
        .unwrap_err();
    client
        .complete(complete("done", b"no token", b"r"))
        .await
        .unwrap_err();
    for (key, kind) in [
        ("later", FailureKind::Retryable),
        ("never", FailureKind::Terminal),
        ("maybe", FailureKind::Unknown),
    ] {
        let granted = claimed(&mut client, claim(key, 1)).await;
        client.fail(fail(key, &granted.token, kind)).await.unwrap();
    }
    for (kind, result, expected) in [
        ("complete", "recorded", 1.0),
        ("complete", "repeat", 1.0),
        ("complete", "result_conflict", 1.0),
        ("complete", "key_not_found", 1.0),
        ("complete", "invalid", 1.0),
        ("fail_terminal", "already_settled", 1.0),
        ("fail_terminal", "recorded", 1.0),
        ("fail_retryable", "recorded", 1.0),
        ("fail_unknown", "recorded", 1.0),
    ] {
        let labels = [("kind", kind), ("result", result)];
        let counted = count(&host, "semel_settlements_total", &labels);
        assert_eq!(counted, expected, "{kind} {result}");
    }
    assert_eq!(count(&host, "semel_settlements_total", &[]), 9.0);
    assert_eq!(count(&host, "semel_uncertainties_total", &[]), 1.0);
    // Four claims were settled, each once.
    assert_eq!(
        count(&host, "semel_handling_duration_seconds_count", &[]),
        4.0
    );
}

/// Waits until the key's lease has lapsed.
async fn lapsed(client: &Client, key: &str) {
    until("the lease has lapsed", || async {
        let mut client = client.clone();
        let found = client.lookup(lookup(key)).await.unwrap().into_inner();
        match found.outcome.unwrap() {
            v1::lookup_response::Outcome::InProgress(it) => {
                length(it.lease).is_zero().then_some(())
            }
            other => panic!("not in progress: {other:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn takeovers_late_settlements_and_lost_leases_are_counted() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let brief = |key: &str| v1::ClaimRequest {
        lease: millis(1),
        ..claim(key, 1)
    };
    // Completed blindly, and failed by the rules: both too late, and nobody had taken over.
    for (key, kind) in [("late", None), ("later", Some(FailureKind::Terminal))] {
        let granted = claimed(&mut client, brief(key)).await;
        lapsed(&client, key).await;
        settle(&mut client, key, &granted.token, kind).await;
    }
    assert_eq!(count(&host, "semel_settlements_late_total", &[]), 2.0);
    assert_eq!(count(&host, "semel_takeovers_total", &[]), 0.0);

    let lost = claimed(&mut client, brief("taken")).await;
    lapsed(&client, "taken").await;
    let next = claimed(&mut client, claim("taken", 2)).await;
    assert_eq!(count(&host, "semel_takeovers_total", &[]), 1.0);
    client
        .complete(complete("taken", &lost.token, b""))
        .await
        .unwrap_err();
    let labels = [("kind", "complete"), ("result", "lease_lost")];
    assert_eq!(count(&host, "semel_settlements_total", &labels), 1.0);
    client
        .complete(complete("taken", &next.token, b""))
        .await
        .unwrap();
    assert_eq!(
        count(&host, "semel_settlements_late_total", &[]),
        2.0,
        "in time"
    );
}

#[tokio::test]
async fn calls_are_measured_by_method_and_code() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    claimed(&mut client, claim("k", 1)).await;
    client.lookup(lookup("nothing")).await.unwrap_err();
    client.lookup(lookup("")).await.unwrap_err();
    let wire = host.wire().await;
    let mut session = wire.session().await;
    session.claimed(claim("streamed", 1)).await;
    assert_eq!(host.scrape().sum("semel_sessions", &[]), 1.0);
    session.finish();
    session.rest().await;
    for (method, code) in [
        ("semel.v1.IdempotencyService/Claim", "OK"),
        ("semel.v1.IdempotencyService/Lookup", "NOT_FOUND"),
        ("semel.v1.IdempotencyService/Lookup", "INVALID_ARGUMENT"),
        ("semel.v1.SessionService/Session", "OK"),
    ] {
        let labels = [
            ("rpc_system_name", "grpc"),
            ("rpc_method", method),
            ("rpc_response_status_code", code),
        ];
        let name = "rpc_server_call_duration_seconds_count";
        until("the stream has ended", || async {
            (host.scrape().sum(name, &labels) == 1.0).then_some(())
        })
        .await;
    }
    // A call whose caller has gone is one, too.
    let waits = v1::ClaimRequest {
        wait: span(60, 0),
        ..claim("k", 2)
    };
    let gone = {
        let mut client = host.client().await;
        tokio::spawn(async move { client.claim(waits).await })
    };
    until("it waits", || async {
        (host.scrape().sum("semel_waiters", &[]) == 1.0).then_some(())
    })
    .await;
    gone.abort();
    until("it is counted", || async {
        let labels = [("rpc_response_status_code", "CANCELLED")];
        let count = host
            .scrape()
            .sum("rpc_server_call_duration_seconds_count", &labels);
        (count == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn lanes_and_the_store_are_measured() {
    let host = Host::start("").await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    client
        .complete(complete("k", &granted.token, b"r"))
        .await
        .unwrap();
    client.claim(claim("k", 2)).await.unwrap();
    let scrape = host.scrape();
    assert_eq!(
        scrape.sum("semel_lane_wait_duration_seconds_count", &[]),
        3.0
    );
    for operation in ["insert_if_absent", "complete_if_held", "load"] {
        let labels = [
            ("operation", operation),
            ("engine", "sqlite"),
            ("result", "ok"),
        ];
        assert_eq!(
            scrape.sum("semel_store_call_duration_seconds_count", &labels),
            1.0
        );
        let labels = [("operation", operation)];
        assert_eq!(
            scrape.sum("semel_store_batch_size_sum", &labels),
            1.0,
            "{operation}"
        );
    }
    assert_eq!(scrape.sum("semel_store_connections", &[]), 1.0);
    assert_eq!(scrape.of("semel_lane_queued", &[("lane", "0")]).count(), 1);
}

#[tokio::test]
async fn a_duplicates_age_is_told_beside_the_retention() {
    let host = Host::start("[namespaces.orders]\nretention = \"60s\"").await;
    let mut client = host.client().await;
    let granted = claimed(&mut client, claim("k", 1)).await;
    client.claim(claim("k", 2)).await.unwrap();
    assert_eq!(
        count(&host, "semel_duplicate_age_seconds_count", &[]),
        0.0,
        "none stands yet"
    );
    client
        .complete(complete("k", &granted.token, b"r"))
        .await
        .unwrap();
    client.claim(claim("k", 3)).await.unwrap();
    client.claim(claim("k", 4)).await.unwrap();
    assert_eq!(count(&host, "semel_duplicate_age_seconds_count", &[]), 2.0);
    assert_eq!(
        count(&host, "semel_duplicate_retention_used_ratio_count", &[]),
        2.0
    );
    let used = count(&host, "semel_duplicate_retention_used_ratio_sum", &[]);
    let age = count(&host, "semel_duplicate_age_seconds_sum", &[]);
    assert!(
        used > 0.0 && (used * 60.0 - age).abs() < 1e-6,
        "{used} {age}"
    );
    assert_eq!(count(&host, "semel_retention_seconds", &[]), 60.0);
    assert!(
        host.scrape()
            .sum("semel_retention_seconds", &[("namespace", "*")])
            > 60.0
    );
}

#[tokio::test]
async fn the_census_tells_how_many_keys_are_in_each_state_and_how_old_the_oldest_is() {
    let host = Host::start(
        "census_interval = \"50ms\"\n[defaults]\nattempts = 1\n[namespaces.held]\non_lapse = \"hold\"\ndefault_lease = \"1ms\"",
    )
    .await;
    let mut client = host.client().await;
    claimed(&mut client, claim("held", 1)).await;
    for (key, kind) in [
        ("done", None),
        ("never", Some(FailureKind::Terminal)),
        ("dead", Some(FailureKind::Retryable)),
        ("maybe", Some(FailureKind::Unknown)),
    ] {
        let granted = claimed(&mut client, claim(key, 1)).await;
        settle(&mut client, key, &granted.token, kind).await;
    }
    let brief = v1::ClaimRequest {
        lease: millis(1),
        ..claim("lapsed", 1)
    };
    claimed(&mut client, brief).await;
    let held = v1::ClaimRequest {
        namespace: "held".into(),
        ..claim("k", 1)
    };
    claimed(&mut client, held).await;
    until("all are counted", || async {
        let scrape = host.scrape();
        let is = |namespace: &str, state: &str| {
            scrape.sum("semel_keys", &[("namespace", namespace), ("state", state)]) == 1.0
        };
        let states = [
            "in_progress",
            "completed",
            "failed",
            "dead",
            "uncertain",
            "lapsed",
        ];
        let all = states.iter().all(|state| is(NAMESPACE, state));
        // Under HOLD a lease that lapsed leaves it open whether the work was done.
        (all && is("held", "uncertain")).then_some(())
    })
    .await;
    let scrape = host.scrape();
    assert_eq!(scrape.sum("semel_keys", &[]), 7.0);
    let age = |scrape: &Scraped| {
        scrape.sum(
            "semel_keys_oldest_age_seconds",
            &orders(&[("state", "dead")]),
        )
    };
    let before = age(&scrape);
    until("it grows older", || async {
        (age(&host.scrape()) > before).then_some(())
    })
    .await;
    assert!(scrape.sum("semel_census_completed_timestamp_seconds", &[]) > 1.7e9);
}

#[tokio::test]
async fn namespaces_beyond_the_limit_share_their_series() {
    let host = Host::start("max_metric_namespaces = 2\ncensus_interval = \"50ms\"").await;
    let mut client = host.client().await;
    for n in 0..20 {
        let request = v1::ClaimRequest {
            namespace: format!("tenant-{n}"),
            ..claim("k", 1)
        };
        claimed(&mut client, request).await;
    }
    let scrape = host.scrape();
    let namespaces: std::collections::BTreeSet<_> = scrape
        .of("semel_claims_total", &[])
        .map(|sample| sample.labels["namespace"].clone())
        .collect();
    assert_eq!(
        namespaces.into_iter().collect::<Vec<_>>(),
        ["_other", "tenant-0", "tenant-1"]
    );
    let others = [("namespace", "_other")];
    assert_eq!(scrape.sum("semel_claims_total", &others), 18.0);
    until("the census has them, too", || async {
        (host.scrape().sum("semel_keys", &others) == 18.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn configured_namespaces_have_their_series_whoever_comes_first() {
    let host = Host::start("max_metric_namespaces = 2\n[namespaces.payments]\nattempts = 3").await;
    let mut client = host.client().await;
    for namespace in ["a", "b", "payments"] {
        let request = v1::ClaimRequest {
            namespace: namespace.into(),
            ..claim("k", 1)
        };
        claimed(&mut client, request).await;
    }
    let scrape = host.scrape();
    for (namespace, expected) in [("payments", 1.0), ("a", 1.0), ("_other", 1.0), ("b", 0.0)] {
        let labels = [("namespace", namespace)];
        assert_eq!(
            scrape.sum("semel_claims_total", &labels),
            expected,
            "{namespace}"
        );
    }
}

#[tokio::test]
async fn nothing_is_measured_where_the_operator_says_so() {
    let host = Host::start("metrics = false").await;
    let mut client = host.client().await;
    claimed(&mut client, claim("k", 1)).await;
    let names: Vec<_> = host.scrape().names().map(str::to_owned).collect();
    assert_eq!(names, ["target_info"]);
}

#[tokio::test]
async fn no_metric_has_a_label_for_keys_owners_or_attempts() {
    let host = Host::start("census_interval = \"50ms\"").await;
    let mut client = host.client().await;
    for n in 1..50 {
        let key = format!("private-{n}");
        let granted = claimed(&mut client, claim(&key, n)).await;
        client
            .complete(complete(&key, &granted.token, b"private"))
            .await
            .unwrap();
        client.claim(claim(&key, n + 100)).await.unwrap();
    }
    let page = Page::get(
        host.http_address(),
        "/metrics",
        "application/openmetrics-text",
    )
    .await;
    assert!(
        !page.body.contains("private") && !page.body.contains("worker-"),
        "{}",
        page.body
    );
    // As many series for fifty keys as for one.
    let series = page
        .body
        .lines()
        .filter(|line| !line.starts_with('#'))
        .count();
    assert!(series < 700, "{series}");
}

#[tokio::test]
async fn a_sampled_calls_trace_is_the_exemplar_of_what_it_was_counted_in() {
    let collector = Collector::start().await;
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let mut command = semel(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    command.args(["--data-dir", data.to_str().unwrap()]);
    collector.collects_from(&mut command);
    let server = Process::start(command);
    let mut client = Wire::connect(server.serving().await).await.client();
    claimed(&mut client, claim("k", 1)).await;
    let span = collector.span("the claim", Traced::is_of_server).await;
    let http = server.serving_http().await;
    let page = Page::get(http, "/metrics", "application/openmetrics-text").await;
    let scrape = Scraped::parse(&page.body);
    let trace = Some(span.trace());
    for (name, labels) in [
        ("semel_claims_total", &[("outcome", "claimed")][..]),
        ("semel_lane_wait_duration_seconds_bucket", &[]),
        (
            "rpc_server_call_duration_seconds_bucket",
            &[("rpc_method", "semel.v1.IdempotencyService/Claim")],
        ),
    ] {
        let with = scrape
            .of(name, labels)
            .filter(|sample| sample.trace == trace);
        assert_eq!(with.count(), 1, "{name}: {}", page.body);
    }
    // The older format has no room for them.
    let page = Page::get(http, "/metrics", "text/plain").await;
    assert!(!page.body.contains("trace_id"), "{}", page.body);
}
