//! What a sender counts. One test, because the meter provider is the process's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{Router, http::StatusCode, routing::post};
use opentelemetry::global;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use semel_client::webhook::Sender;
use semel_client::webhook::sender::{Event, HttpClient, Reason, Schedule, http_client};

use crate::support::{ms, soon};

/// A receiver at `/`, which answers each of these in turn and then the last one for ever.
async fn receiver(answers: &'static [u16]) -> String {
    let asked = Arc::new(AtomicUsize::new(0));
    let handler = async move || {
        let n = asked.fetch_add(1, Ordering::SeqCst);
        StatusCode::from_u16(answers[n.min(answers.len() - 1)]).unwrap()
    };
    let app = Router::new().route("/", post(handler));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}/")
}

/// The results of the attempts so far, and how often.
fn results(exporter: &InMemoryMetricExporter) -> BTreeMap<String, u64> {
    let exports = exporter.get_finished_metrics().unwrap();
    let newest = exports.last().expect("something was counted");
    let scopes = newest.scope_metrics();
    let metrics = scopes
        .filter(|scope| scope.scope().name() == "semel-client")
        .flat_map(|scope| scope.metrics());
    let mut results = BTreeMap::new();
    for metric in metrics.filter(|metric| metric.name() == "semel.webhook.attempts") {
        let AggregatedMetrics::U64(MetricData::Sum(sum)) = metric.data() else {
            panic!("no counter of whole numbers: {metric:?}");
        };
        for point in sum.data_points() {
            let labels: Vec<_> = point.attributes().collect();
            assert_eq!(labels.len(), 1, "{labels:?}");
            assert_eq!(labels[0].key.as_str(), "result");
            results.insert(labels[0].value.to_string(), point.value());
        }
    }
    results
}

fn sender(attempts: usize) -> Sender<HttpClient> {
    Sender::new(http_client()).schedule(Schedule::new(vec![ms(1); attempts - 1]))
}

#[tokio::test]
async fn each_attempt_is_counted_by_what_came_of_it() {
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    // Made before there is a provider, and used afterwards.
    let patient = sender(3);
    global::set_meter_provider(provider.clone());
    let mut expected = BTreeMap::new();
    let mut assert_more = |results_of_it: &[(&str, u64)]| {
        for (result, times) in results_of_it {
            *expected.entry((*result).to_owned()).or_insert(0) += times;
        }
        provider.force_flush().unwrap();
        assert_eq!(results(&exporter), expected);
    };
    let send = async |sender: &Sender<HttpClient>, to: String| {
        let sent = soon(sender.send(to.parse().unwrap(), Event::new("{}"))).await;
        sent.map(|delivered| delivered.attempts)
            .map_err(|letter| (letter.reason, letter.attempts))
    };

    let sent = send(&patient, receiver(&[503, 429, 200]).await).await;
    assert_eq!(sent, Ok(3));
    assert_more(&[("retried", 2), ("delivered", 1)]);

    let sent = send(&patient, receiver(&[503]).await).await;
    assert_eq!(sent, Err((Reason::AttemptsUsedUp, 3)));
    assert_more(&[("retried", 2), ("dead", 1)]);

    for (status, reason) in [(&[410], Reason::Gone), (&[400], Reason::Refused)] {
        let sent = send(&patient, receiver(status).await).await;
        assert_eq!(sent, Err((reason, 1)));
        assert_more(&[("dead", 1)]);
    }

    // Nobody listens: an attempt all the same.
    let sent = send(&sender(2), "http://127.0.0.1:1/".to_owned()).await;
    assert_eq!(sent, Err((Reason::AttemptsUsedUp, 2)));
    assert_more(&[("retried", 1), ("dead", 1)]);

    // One that is stopped while its event waits makes no attempt that could be counted.
    let stopped = Sender::new(http_client()).schedule(Schedule::new([ms(3_600_000)]));
    let to = receiver(&[503]).await.parse().unwrap();
    let waiting = soon(stopped.spawn(to, Event::new("{}"))).await;
    let has_retried = async {
        while {
            provider.force_flush().unwrap();
            results(&exporter)["retried"] < 6
        } {
            tokio::time::sleep(ms(2)).await;
        }
    };
    soon(has_retried).await;
    soon(stopped.stop()).await;
    let letter = soon(waiting).await.unwrap().unwrap_err();
    assert_eq!((letter.reason, letter.attempts), (Reason::Stopped, 1));
    assert_more(&[("retried", 1)]);
}
