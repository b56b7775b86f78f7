//! The purge in a running server: what is forgotten also goes from the table.

use std::{path::Path, sync::Arc, time::Duration};

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::{
    InMemoryMetricExporter, PeriodicReader, SdkMeterProvider,
    data::{AggregatedMetrics, MetricData},
};
use semel_server::{
    app,
    key::Span,
    purge::{self, PurgeMetrics, PurgeSettings},
    store::{
        SharedStore,
        postgres::{PostgresOptions, PostgresStore},
    },
};
use semel_tests::Postgres;
use sqlx::{Connection as _, Executor as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::*;

/// Outcomes are kept for a second, and nothing is purged yet.
const KEEP_ALL: &str = r#"
purge_interval = "0s"
[namespaces.orders]
retention = "1s"
default_lease = "1ms"
"#;

const PURGE: &str = r#"
purge_interval = "50ms"
[namespaces.orders]
retention = "1s"
default_lease = "1ms"
"#;

/// Batches so small that a bucket may take several.
const SMALL: PurgeSettings = PurgeSettings {
    interval: Duration::from_millis(50),
    batch: 2,
};

/// Settles `count` keys, leaves one in progress, and waits until the others are forgotten.
async fn fill(host: &Host, prefix: &str, count: usize) {
    let mut client = host.client().await;
    claimed(&mut client, claim(&format!("{prefix}-held"), 1)).await;
    for n in 0..count {
        let key = format!("{prefix}-{n}");
        let granted = claimed(&mut client, claim(&key, 1)).await;
        client
            .complete(complete(&key, &granted.token, b"r"))
            .await
            .unwrap();
    }
    let last = format!("{prefix}-{}", count - 1);
    until("the last outcome is forgotten", || {
        let (mut client, last) = (client.clone(), last.clone());
        async move { (word(&mut client, &last).await == "absent").then_some(()) }
    })
    .await;
}

async fn keys_in(data: &Path) -> Vec<String> {
    let options = SqliteConnectOptions::new()
        .filename(data.join("semel.db"))
        .read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let keys = sqlx::query_scalar("SELECT key FROM records ORDER BY key");
    let keys = keys.fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    keys
}

#[tokio::test]
async fn what_is_past_its_retention_disappears_and_what_is_in_progress_stays() {
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let host = Host::on(&scratch, KEEP_ALL).await;
    fill(&host, "k", 20).await;
    assert_eq!(keys_in(&data).await.len(), 21, "forgotten is not yet gone");
    host.stop().await;

    let host = Host::on(&scratch, PURGE).await;
    until("only the key in progress is left", || async {
        (keys_in(&data).await == ["k-held"]).then_some(())
    })
    .await;
    until("every bucket was swept", || async {
        let passes = host.scrape().sum("semel_purge_passes_total", &[]);
        (passes >= 64.0).then_some(())
    })
    .await;
    assert!(host.scrape().sum("semel_purge_deleted_total", &[]) >= 20.0);
    let mut client = host.client().await;
    assert_eq!(word(&mut client, "k-held").await, "in progress");
}

#[tokio::test]
async fn the_purge_counts_what_it_deletes_and_what_it_leaves() {
    let scratch = Scratch::new();
    let host = Host::on(&scratch, KEEP_ALL).await;
    fill(&host, "k", 7).await;
    host.stop().await;

    let config = scratch.config("");
    let store = app::open_store(&config.store, true).await.unwrap();
    let (provider, exporter) = meters();
    let stop = CancellationToken::new();
    let metrics = PurgeMetrics::new(&provider.meter("test"));
    let purging = tokio::spawn(purge::run(
        store.clone(),
        SMALL,
        Some(metrics),
        stop.clone(),
    ));
    until("all is counted", || async {
        provider.force_flush().unwrap();
        let done = counted(&exporter, "semel.purge.deleted") == 7
            && counted(&exporter, "semel.purge.postponed") == 1
            && counted(&exporter, "semel.purge.passes") >= 64;
        done.then_some(())
    })
    .await;
    stop.cancel();
    within(purging).await.unwrap();
    provider.force_flush().unwrap();
    assert_eq!(
        recorded(&exporter, "semel.purge.duration"),
        counted(&exporter, "semel.purge.passes")
    );
    assert_eq!(counted(&exporter, "semel.purge.deleted"), 7);
    store.close().await;
}

#[tokio::test]
async fn two_servers_purges_share_one_postgres_without_errors() {
    on_postgres(|database: Arc<Postgres>| async move {
        let url = database.url();
        let filling = Host::on_url(&url, KEEP_ALL).await;
        fill(&filling, "k", 20).await;
        filling.stop().await;
        let (provider, exporter) = meters();
        let stop = CancellationToken::new();
        let mut purges = JoinSet::new();
        let mut stores = Vec::new();
        for _ in 0..2 {
            let options = PostgresOptions {
                purge_lag: Span::ZERO,
                ..PostgresOptions::new(&url)
            };
            let store: SharedStore = Arc::new(PostgresStore::open(&options).await.unwrap());
            let metrics = PurgeMetrics::new(&provider.meter("test"));
            purges.spawn(purge::run(
                store.clone(),
                SMALL,
                Some(metrics),
                stop.clone(),
            ));
            stores.push(store);
        }
        let mut connection = database.connect().await;
        until("all is deleted", || async {
            provider.force_flush().unwrap();
            (counted(&exporter, "semel.purge.deleted") == 20).then_some(())
        })
        .await;
        // Once more, with both of them at every bucket at the same time.
        for _ in 0..3 {
            let before = counted(&exporter, "semel.purge.passes");
            connection
                .execute("UPDATE sweeps SET sweep_at_us = 0")
                .await
                .unwrap();
            until("every bucket is swept again", || async {
                provider.force_flush().unwrap();
                (counted(&exporter, "semel.purge.passes") >= before + 64).then_some(())
            })
            .await;
        }
        stop.cancel();
        within(purges.join_all()).await;
        provider.force_flush().unwrap();
        assert_eq!(
            counted_where(&exporter, "semel.purge.passes", Some(("outcome", "error"))),
            0
        );
        assert_eq!(counted(&exporter, "semel.purge.deleted"), 20);
        let left: Vec<String> = sqlx::query_scalar("SELECT key FROM records")
            .fetch_all(&mut connection)
            .await
            .unwrap();
        assert_eq!(left, ["k-held"]);
        connection.close().await.unwrap();
        for store in stores {
            store.close().await;
        }
    })
    .await;
}

/// A provider of a test's own, and where to look what came of it.
fn meters() -> (SdkMeterProvider, InMemoryMetricExporter) {
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    (provider, exporter)
}

/// What the newest export says that a counter has come to.
fn counted(exporter: &InMemoryMetricExporter, name: &str) -> u64 {
    counted_where(exporter, name, None)
}

/// The same, of the points with this attribute.
fn counted_where(
    exporter: &InMemoryMetricExporter,
    name: &str,
    attribute: Option<(&str, &str)>,
) -> u64 {
    newest(exporter, name, |data| match data {
        AggregatedMetrics::U64(MetricData::Sum(sum)) => sum
            .data_points()
            .filter(|point| {
                attribute.is_none_or(|(name, value)| {
                    let mut attributes = point.attributes();
                    attributes.any(|it| it.key.as_str() == name && it.value.as_str() == value)
                })
            })
            .map(|point| point.value())
            .sum(),
        other => panic!("no counter: {other:?}"),
    })
}

/// How many values a histogram has taken.
fn recorded(exporter: &InMemoryMetricExporter, name: &str) -> u64 {
    newest(exporter, name, |data| match data {
        AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
            histogram.data_points().map(|point| point.count()).sum()
        }
        other => panic!("no histogram: {other:?}"),
    })
}

fn newest(
    exporter: &InMemoryMetricExporter,
    name: &str,
    read: impl Fn(&AggregatedMetrics) -> u64,
) -> u64 {
    let exports = exporter.get_finished_metrics().unwrap();
    let Some(export) = exports.last() else {
        return 0;
    };
    let metrics = export.scope_metrics().flat_map(|scope| scope.metrics());
    metrics
        .filter(|metric| metric.name() == name)
        .map(|metric| read(metric.data()))
        .sum()
}
