//! What the server writes about itself.

use std::sync::Arc;

use semel_proto::v1::{self, FailureKind};
use semel_tests::Postgres;
use sqlx::{Connection as _, Executor as _};
use tonic::Request;

use crate::support::*;

const OWN_CRATES: &str = "semel=trace,semel_server=trace,semel_proto=trace,semel_client=trace";

/// Ways in which programs print bytes.
fn printed(bytes: &[u8]) -> [String; 4] {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let list: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let escaped = bytes.escape_ascii().to_string();
    [hex.to_uppercase(), hex, list.join(", "), escaped]
}

/// Calls of all kinds, each with things that are nobody's business. What must not be in the log.
async fn make_calls(client: &mut Client) -> Vec<String> {
    let mut secrets: Vec<String> = Vec::new();
    let namespaced = |key: &str, attempt| {
        let mut request = Request::new(v1::ClaimRequest {
            fingerprint: b"private-print".to_vec().into(),
            delivery: Some(v1::Delivery {
                headers: vec![v1::Header {
                    name: "private-header".into(),
                    value: b"private-value".to_vec().into(),
                }],
                body: b"private-body".to_vec().into(),
            }),
            ..claim(key, attempt)
        });
        let metadata = "private-credential".parse().unwrap();
        request.metadata_mut().insert("authorization", metadata);
        request
    };
    for (n, kind) in [
        None,
        Some(FailureKind::Retryable),
        Some(FailureKind::Terminal),
        Some(FailureKind::Unknown),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("private-key-{n}");
        let answer = client
            .claim(namespaced(&key, 0x5a))
            .await
            .unwrap()
            .into_inner();
        let Some(v1::claim_response::Outcome::Claimed(granted)) = answer.outcome else {
            panic!("not claimed")
        };
        let token = &granted.token;
        secrets.extend(printed(token));
        client
            .checkpoint(checkpoint(&key, token, b"private-checkpoint"))
            .await
            .unwrap();
        client.extend(extend(&key, token)).await.unwrap();
        match kind {
            None => {
                client
                    .complete(complete(&key, token, b"private-result"))
                    .await
                    .unwrap();
                client
                    .complete(complete(&key, token, b"private-other"))
                    .await
                    .unwrap_err();
            }
            Some(kind) => {
                let request = v1::FailRequest {
                    error: "private-error".into(),
                    ..fail(&key, token, kind)
                };
                client.fail(request).await.unwrap();
            }
        }
        client.lookup(lookup(&key)).await.unwrap();
        client.claim(namespaced(&key, 0x5b)).await.unwrap();
        client
            .claim(v1::ClaimRequest {
                fingerprint: b"private-2".to_vec().into(),
                ..claim(&key, 1)
            })
            .await
            .unwrap_err();
    }
    told(client.lookup(lookup("private-\nkey")).await).expect_field("key");
    secrets.push("private-".into());
    secrets
}

#[track_caller]
fn holds_none(log: &str, secrets: &[String]) {
    for secret in secrets {
        assert!(!log.contains(secret), "{secret:?} is in the log:\n{log}");
    }
}

#[tokio::test]
async fn at_trace_level_in_json_each_line_is_an_object_without_keys_tokens_or_payloads() {
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let mut command = semel(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
    let collector = Collector::start().await;
    collector.collects_from(&mut command);
    command
        .args(["--data-dir", data.to_str().unwrap()])
        .env("OTEL_METRICS_EXPORTER", "otlp")
        .env("RUST_LOG", OWN_CRATES);
    let server = Process::start(command);
    let mut client = Wire::connect(server.serving().await).await.client();
    let secrets = make_calls(&mut client).await;
    drop(client);
    let http = server.serving_http().await;
    for accept in ["*/*", "application/openmetrics-text"] {
        let page = Page::get(http, "/metrics", accept).await;
        assert!(page.body.contains("semel_settlements_total"), "{page:?}");
        holds_none(&page.body, &secrets);
    }
    server.signal("TERM").await;
    let ended = server.ended().await;
    ended.expect_code(0);
    assert_eq!(ended.stdout, "", "logs go to standard error");
    let mut messages = Vec::new();
    for line in ended.stderr.lines() {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for field in ["timestamp", "level", "message", "target"] {
            assert!(line[field].is_string(), "no {field}: {line}");
        }
        messages.push(line["message"].as_str().unwrap_or_default().to_owned());
    }
    for message in ["serving", "stopped"] {
        assert!(messages.iter().any(|it| it == message), "{messages:?}");
    }
    holds_none(&ended.stderr, &secrets);

    // The stop hands out the last spans and metrics: by now all of them are there.
    let spans = collector.spans();
    for method in [
        "Claim",
        "Complete",
        "Fail",
        "Lookup",
        "Extend",
        "Checkpoint",
    ] {
        let is_it = |span: &&Traced| span.must("rpc.method").ends_with(method);
        let found = spans.iter().filter(|it| it.is_of_server()).filter(is_it);
        assert!(found.count() > 0, "{method}");
    }
    assert!(collector.metrics().iter().any(|it| it == "semel.claims"));
    let sent = collector.bytes();
    for secret in &secrets {
        let found = sent.windows(secret.len()).any(|it| it == secret.as_bytes());
        assert!(!found, "{secret:?} was sent to the collector");
    }
    // Bytes would be sent as they are.
    let token = hex::decode(&secrets[1]).expect("the token in hexadecimal");
    for part in [&token[..], &[0x5a; 16], &[0x5b; 16]] {
        assert!(!sent.windows(part.len()).any(|it| it == part), "a token");
    }
}

#[tokio::test]
async fn a_line_tells_what_was_done_with_which_trace_and_duplicates_are_for_debugging() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    for (level, expected) in [("debug", true), ("info", false)] {
        let scratch = Scratch::new();
        let data = scratch.path("data");
        let mut command = semel(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
        command
            .args(["--data-dir", data.to_str().unwrap()])
            .env("RUST_LOG", format!("semel_server={level}"));
        let server = Process::start(command);
        let mut client = Wire::connect(server.serving().await).await.client();
        let traced = |attempt| {
            let mut request = Request::new(claim("k", attempt));
            let metadata = request.metadata_mut();
            metadata.insert("traceparent", trace.parse().unwrap());
            request
        };
        let answer = client.claim(traced(1)).await.unwrap().into_inner();
        let Some(v1::claim_response::Outcome::Claimed(granted)) = answer.outcome else {
            panic!("not claimed")
        };
        client.claim(traced(2)).await.unwrap();
        let settled = complete("k", &granted.token, b"r");
        client.complete(settled.clone()).await.unwrap();
        let other = v1::CompleteRequest {
            result: b"other".to_vec().into(),
            ..settled
        };
        client.complete(other).await.unwrap_err();
        drop(client);
        server.signal("TERM").await;
        let ended = server.ended().await;
        let lines: Vec<serde_json::Value> = ended
            .stderr
            .lines()
            .map(|line| serde_json::from_str(line).expect("an object"))
            .collect();
        let of = |call: &str, outcome: &str| -> Vec<&serde_json::Value> {
            let is_it =
                |line: &&serde_json::Value| line["call"] == call && line["outcome"] == outcome;
            lines.iter().filter(is_it).collect()
        };
        let duplicates = of("claim", "in_progress");
        assert_eq!(duplicates.len(), usize::from(expected), "{}", ended.stderr);
        assert_eq!(of("claim", "claimed").len(), usize::from(expected));
        for line in duplicates {
            assert_eq!(line["level"], "DEBUG");
            assert_eq!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
            assert_eq!(line["namespace"], NAMESPACE);
        }
        // Somebody may want to look into it, whatever is asked for.
        let conflicts = of("complete", "result_conflict");
        assert_eq!(conflicts.len(), 1, "{}", ended.stderr);
        assert_eq!(conflicts[0]["level"], "INFO");
    }
}

#[tokio::test]
async fn lines_for_people_are_plain_text_where_nobody_sees_colours() {
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let mut command = semel(&["serve", "--listen", "127.0.0.1:0"]);
    // As it is run where nobody says anything about colours: into a file or a collector.
    command
        .args(["--data-dir", data.to_str().unwrap()])
        .env_remove("NO_COLOR");
    let server = Process::start(command);
    until("it serves", || async {
        server
            .lines()
            .iter()
            .any(|line| line.contains("serving"))
            .then_some(())
    })
    .await;
    server.signal("INT").await;
    let ended = server.ended().await;
    ended.expect_code(0);
    assert!(!ended.stderr.contains('\u{1b}'), "{ended:?}");
    ended.says(&[
        "INFO",
        "serving",
        "address=127.0.0.1:",
        "engine=\"sqlite\"",
        "stopped",
    ]);
}

#[tokio::test]
async fn a_store_that_refuses_and_goes_is_logged_without_keys_payloads_or_password() {
    on_postgres(|database: Arc<Postgres>| async move {
        let url = database.url().replacen("@", ":hunter2@", 1);
        let mut command = semel(&["serve", "--listen", "127.0.0.1:0", "--log-format", "json"]);
        command
            .args(["--database-url", &url])
            .env("RUST_LOG", OWN_CRATES);
        let server = Process::start(command);
        let mut client = Wire::connect(server.serving().await).await.client();
        let mut secrets = make_calls(&mut client).await;
        let mut connection = database.connect().await;
        let poison = "ALTER TABLE records ADD CHECK (key <> 'private-poison')";
        connection.execute(poison).await.unwrap();
        client.claim(claim("private-poison", 1)).await.unwrap_err();
        connection
            .execute("ALTER TABLE records RENAME TO gone")
            .await
            .unwrap();
        client.claim(claim("private-key-0", 2)).await.unwrap_err();
        connection
            .execute("ALTER TABLE gone RENAME TO records")
            .await
            .unwrap();
        connection.close().await.unwrap();
        drop(client);
        server.signal("TERM").await;
        let ended = server.ended().await;
        ended.expect_code(0);
        ended.says(&["a store call failed"]);
        secrets.push("hunter2".into());
        holds_none(&ended.stderr, &secrets);
    })
    .await;
}
