//! `semel bench` on a real server: what it counts, what it leaves in the store, and how it ends. Not
//! how fast anything is.

use semel_proto::v1::{self, lookup_response::Outcome};
use serde_json::{Value, json};

use crate::support::*;

const TRANSPORTS: [&str; 2] = ["session", "unary"];

/// The command on this server, with few callers and a short time unless `line` says otherwise.
fn bench(host: &Host, line: &str) -> tokio::process::Command {
    let address = format!("http://{}", host.address());
    let mut arguments = vec!["bench", "--address", &address, "--callers", "6"];
    arguments.extend(["--connections", "2"]);
    for (flag, value) in [("--duration", "300ms"), ("--warm-up", "50ms")] {
        if !line.contains(flag) {
            arguments.extend([flag, value]);
        }
    }
    arguments.extend(line.split_whitespace());
    semel(&arguments)
}

async fn finished(host: &Host, line: &str) -> Ended {
    Process::finish(bench(host, line)).await
}

/// Runs it and reads its JSON.
async fn figures(host: &Host, line: &str, code: i32) -> Value {
    let ended = finished(host, &format!("{line} --json --quiet")).await;
    ended.expect(code);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:#?}"))
}

fn count(figures: &Value, kind: &str) -> u64 {
    figures["latency_us"][kind]["count"]
        .as_u64()
        .unwrap_or_else(|| panic!("no count of {kind}: {figures}"))
}

/// What stands under the key that the text names as the first.
async fn first_key(host: &Host, line: &str) -> (v1::LookupResponse, Ended) {
    let ended = finished(host, line).await;
    ended.expect(0);
    let key = ended.stdout.lines().find_map(|line| {
        let (_, key) = line.trim().strip_prefix("keys")?.split_once("first ")?;
        Some(key.to_owned())
    });
    let request = v1::LookupRequest {
        namespace: "bench".into(),
        key: key.unwrap_or_else(|| panic!("no first key: {ended:#?}")),
        include_delivery: false,
    };
    let found = host.client().await.lookup(request).await;
    (found.expect("it is in the store").into_inner(), ended)
}

#[tokio::test]
async fn a_mix_is_carried_out_and_every_kind_counted() {
    let host = Host::start("").await;
    for transport in TRANSPORTS {
        let line = format!(
            "--transport {transport} --new 30 --duplicate 39.5 --pair 20 --repeat 10.5 --duplicates 7 \
             --seed 5"
        );
        let figures = figures(&host, &line, 0).await;
        assert_eq!(figures["transport"], transport);
        assert_eq!(figures["loop"], "closed");
        assert_eq!(figures["rate"], json!(null));
        assert_eq!(
            (&figures["callers"], &figures["connections"]),
            (&json!(6), &json!(2))
        );
        assert_eq!(figures["seed"], 5);
        assert_eq!(figures["errors"], json!({}));
        assert_eq!(figures["cut_short"], false);
        assert_eq!(figures["duration_s"], 0.3);

        let operations = figures["operations"].as_u64().unwrap();
        assert!(operations > 0);
        assert_eq!(count(&figures, "all"), operations);
        let kinds = ["new", "duplicate", "pair", "repeat"].map(|kind| count(&figures, kind));
        assert_eq!(kinds.iter().sum::<u64>(), operations);
        assert!(kinds.iter().all(|count| *count > 0), "{kinds:?}");
        assert!(
            figures["calls"].as_u64() > Some(operations),
            "a pair is two calls"
        );
    }
    host.stop().await;
}

#[tokio::test]
async fn a_repeat_may_claim_again_only_what_has_lapsed() {
    // So short that some repeats come while it holds and others are answered behind its end.
    let host = Host::start("[namespaces.bench]\ndefault_lease = \"20ms\"\n").await;
    for transport in TRANSPORTS {
        for kind in ["new", "pair"] {
            let line = format!("--transport {transport} --{kind} 50 --repeat 50 --repeats 60");
            let figures = figures(&host, &line, 0).await;
            assert!(count(&figures, "repeat") > 0, "{line}");
            assert!(count(&figures, kind) >= count(&figures, "repeat") / 2);
        }
    }
    host.stop().await;
}

#[tokio::test]
async fn keys_that_an_earlier_run_completed_are_not_completed_again() {
    let host = Host::start("").await;
    for transport in TRANSPORTS {
        let line = format!(
            "--transport {transport} --duplicate 100 --duplicates 50 --key-prefix {transport}-"
        );
        figures(&host, &format!("{line} --seed 3"), 0).await;
        let stand = format!("{line} --duplicates-stand");
        let again = figures(&host, &format!("{stand} --seed 3"), 0).await;
        assert_eq!(count(&again, "duplicate"), count(&again, "all"));
        // Nobody has completed these.
        let others = figures(&host, &format!("{stand} --seed 4"), 1).await;
        assert!(others["errors"]["UNEXPECTED_CLAIMED"].as_u64() > Some(0));
    }
    host.stop().await;
}

#[tokio::test]
async fn an_open_loop_counts_what_was_to_be_sent_within_the_window() {
    let host = Host::start("").await;
    for transport in TRANSPORTS {
        let line = format!("--transport {transport} --rate 200 --warm-up 100ms --duration 500ms");
        let figures = figures(&host, &line, 0).await;
        assert_eq!(
            (&figures["loop"], &figures["rate"]),
            (&json!("open"), &json!(200))
        );
        assert_eq!(count(&figures, "all"), 100, "{transport}");
        assert_eq!(count(&figures, "new"), 100);
        assert!(figures["latency_us"].get("pair").is_none());
    }
    host.stop().await;
}

#[tokio::test]
async fn the_keys_are_in_the_store() {
    let host = Host::start("").await;
    for transport in TRANSPORTS {
        let line = format!("--transport {transport} --quiet");
        let (record, ended) = first_key(&host, &line).await;
        assert!(matches!(record.outcome, Some(Outcome::InProgress(_))));
        assert_eq!(record.owner, "bench");
        assert_eq!(ended.stderr, "", "quiet");

        for kind in ["pair", "duplicate"] {
            let line = format!("--transport {transport} --{kind} 100 --result-bytes 99");
            let (record, _) = first_key(&host, &line).await;
            let Some(Outcome::Completed(completed)) = record.outcome else {
                panic!("{kind} does not complete: {record:?}");
            };
            assert_eq!(completed.result.len(), 99);
        }
    }
    host.stop().await;
}

#[tokio::test]
async fn keys_are_preloaded_and_not_measured() {
    let host = Host::start("").await;
    for transport in TRANSPORTS {
        let line = format!("--transport {transport} --preload 300");
        let figures = figures(&host, &line, 0).await;
        assert_eq!(figures["preload"]["keys"], 300);
        assert!(figures["preload"]["seconds"].as_f64() > Some(0.0));
        assert_eq!(
            count(&figures, "all"),
            figures["operations"].as_u64().unwrap()
        );

        let line = format!("{line} --preload-complete --quiet");
        let (record, _) = first_key(&host, &line).await;
        assert!(matches!(record.outcome, Some(Outcome::Completed(_))));
    }
    host.stop().await;
}

#[tokio::test]
async fn an_answer_that_must_not_be_is_an_error_and_the_run_no_success() {
    let host = Host::start("").await;
    for transport in TRANSPORTS {
        let line = format!("--transport {transport} --seed 3 --key-prefix {transport}-");
        figures(&host, &line, 0).await;
        // The same keys, which are in progress now.
        let again = figures(&host, &line, 1).await;
        assert!(again["errors"]["UNEXPECTED_IN_PROGRESS"].as_u64() > Some(0));
        finished(&host, &line)
            .await
            .expect(1)
            .says(&["a run with errors is no run", "UNEXPECTED_IN_PROGRESS"]);
        // Without the prefix they are others.
        let line = format!("--transport {transport} --seed 3");
        figures(&host, &line, 0).await;
        figures(&host, &line, 0).await;
    }
    host.stop().await;
}

#[tokio::test]
async fn what_the_server_refuses_is_told_by_its_reason() {
    let host = Host::start("[namespaces.bench]\nlargest_result_bytes = 100\n").await;
    for transport in TRANSPORTS {
        let line = format!("--transport {transport} --pair 100 --result-bytes 101");
        let ended = finished(&host, &line).await;
        ended.expect(2).says(&["INVALID_FIELD", "result"]);
        let line = format!("--transport {transport} --namespace Bench");
        let ended = finished(&host, &line).await;
        ended.expect(2).says(&["refuses the keys", "namespace"]);
        // Before the run there is nothing to show.
        let line = format!("--transport {transport} --duplicate 100 --result-bytes 101");
        let ended = finished(&host, &line).await;
        ended
            .expect(2)
            .says(&["cannot complete keys before the run", "INVALID_FIELD"]);
        assert_eq!(ended.stdout, "");
    }
    host.stop().await;
}

#[tokio::test]
async fn ctrl_c_ends_the_run_and_shows_what_was_measured() {
    let host = Host::start("").await;
    for transport in TRANSPORTS {
        let line = format!("--transport {transport} --rate 300 --duration 1h --json");
        let process = Process::start(bench(&host, &line));
        until("a line of progress", || async {
            let lines = process.lines();
            lines
                .iter()
                .any(|line| line.starts_with("measured"))
                .then_some(())
        })
        .await;
        process.signal("INT").await;
        let ended = process.ended().await;
        ended.expect(130).says(&["cut short"]);
        let figures: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(figures["cut_short"], true);
        assert_eq!(figures["errors"], json!({}));
        assert!(figures["duration_s"].as_f64().unwrap() < 60.0);
        assert!(count(&figures, "all") > 0);
    }
    host.stop().await;
}

#[tokio::test]
async fn a_server_that_goes_away_ends_a_run_on_sessions() {
    let host = Host::start("").await;
    let process = Process::start(bench(&host, "--duration 1h --json"));
    until("a line of progress", || async {
        (!process.lines().is_empty()).then_some(())
    })
    .await;
    host.stop().await;
    let ended = process.ended().await;
    ended.expect(30).says(&["WORKER_GAVE_UP"]);
    let figures: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(figures["cut_short"], true);
}

#[tokio::test]
async fn a_server_that_is_away_is_told_at_once() {
    let address = format!("http://127.0.0.1:{}", free_port());
    for transport in TRANSPORTS {
        let arguments = ["bench", "--address", &address, "--transport", transport];
        let ended = Process::finish(semel(&arguments)).await;
        ended
            .expect(30)
            .says(&["cannot reach", &address, "semel serve"]);
    }
}

#[tokio::test]
async fn bad_arguments_are_named_before_anything_is_sent() {
    let address = format!("http://127.0.0.1:{}", free_port());
    for (arguments, says) in [
        (["--new", "99"], "--new 99 --duplicate 0 --pair 0"),
        (["--rate", "0"], "1 to 10000000"),
        (["--key-bytes", "15"], "16..=255"),
        (["--duration", "0s"], "--duration"),
    ] {
        let all = [&["bench", "--address", &address], &arguments[..]].concat();
        let ended = Process::finish(semel(&all)).await;
        ended.expect_code(2).says(&[says]);
    }
}
