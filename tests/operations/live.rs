//! Rules and dashboard against what running servers tell, on both engines.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use semel_client::Transport;
use semel_test_postgres::Cluster;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::{
    deploy::{Rules, placeholders, queries, text, yaml},
    known::Known,
    promql::labels,
    promtool::judge,
    scrape,
    server::{Server, nobody},
    traffic,
};

/// What Prometheus asks for by default, and what it is given exemplars with.
const TEXT: &str = "text/plain;version=0.0.4";
const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0";
const DATABASE: &str = "operations";
/// Long enough for a census, a purge, and a batch of spans that nobody takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What one server told.
struct Scrape {
    engine: &'static str,
    text: String,
    open_metrics: String,
}

/// One of each engine, after traffic; made once, by whichever test comes first.
async fn scrapes() -> &'static [Scrape] {
    static SCRAPES: OnceCell<[Scrape; 2]> = OnceCell::const_new();
    SCRAPES
        .get_or_init(|| async {
            let dir = tempfile::tempdir().expect("a directory can be made");
            let embedded = ["--data-dir".to_owned(), dir.path().display().to_string()];
            let postgres = ["--database-url".to_owned(), database().await];
            let (sqlite, postgres) =
                tokio::join!(scraped("sqlite", &embedded), scraped("postgres", &postgres));
            [sqlite, postgres]
        })
        .await
}

async fn database() -> String {
    on_cluster(|cluster| {
        let made = cluster.create_database(DATABASE);
        made.unwrap_or_else(|error| panic!("{error}"));
        cluster.url(DATABASE)
    })
    .await
}

async fn on_cluster<T: Send + 'static>(
    work: impl FnOnce(&'static Cluster) -> T + Send + 'static,
) -> T {
    let done = tokio::task::spawn_blocking(|| {
        work(Cluster::shared().unwrap_or_else(|error| panic!("{error}")))
    });
    done.await.expect("no panic")
}

/// Scrapes until all that is asked for is there, or has had its time: then the tests say what is not.
async fn scraped(engine: &'static str, place: &[String]) -> Scrape {
    let config = format!(
        "census_interval = \"200ms\"\n{}{}",
        text("deploy/semel.toml"),
        traffic::NAMESPACES
    );
    let collector = nobody().expect("a port");
    let server = Server::start(place, &config, &format!("http://{collector}")).await;
    for (transport, name) in [(Transport::Session, "session"), (Transport::Unary, "unary")] {
        traffic::drive(&server.client(transport), name).await;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = server.metrics(TEXT).await;
        if problems(known(&text)).is_empty() || Instant::now() >= deadline {
            return Scrape {
                engine,
                text,
                open_metrics: server.metrics(OPEN_METRICS).await,
            };
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// All metrics there are when a server has told `text`.
fn known(text: &str) -> Known {
    let mut known = Known::elsewhere();
    known.merge(scrape::read(text));
    known
}

/// What is wrong with the rules and the dashboard where these metrics are all.
fn problems(mut known: Known) -> Vec<String> {
    let mut problems = Vec::new();
    for rule in Rules::read() {
        let name = rule
            .alert
            .or(rule.record.clone())
            .expect("a rule has a name");
        match labels(&rule.expr, &known) {
            Err(found) => problems.extend(found.iter().map(|it| format!("{name}: {it}"))),
            Ok(labels) => {
                let texts = rule.annotations.values();
                let named = texts.flat_map(|text| placeholders(text, "$labels.", " "));
                let named: BTreeSet<_> = named.collect();
                for label in named.difference(&labels) {
                    problems.push(format!("{name}: its text names {label}, it has {labels:?}"));
                }
                if let Some(recorded) = rule.record {
                    known.add_recorded(&recorded, &labels);
                }
            }
        }
    }
    for query in queries() {
        let panel = &query.panel;
        match labels(&query.expr.replace("=~\"$namespace\"", "=~\".*\""), &known) {
            Err(found) => problems.extend(found.iter().map(|it| format!("{panel}: {it}"))),
            Ok(labels) => {
                for label in query.legend.difference(&labels) {
                    problems.push(format!(
                        "{panel}: its legend names {label}, it has {labels:?}"
                    ));
                }
            }
        }
    }
    problems
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_and_dashboard_ask_for_what_servers_tell() {
    // Some are of one engine only.
    let mut all = Known::elsewhere();
    for scrape in scrapes().await {
        all.merge(known(&scrape.text));
    }
    let problems = problems(all);
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_have_no_values_that_nobody_listed() {
    for scrape in scrapes().await {
        let unlisted = known(&scrape.text).unlisted();
        assert!(unlisted.is_empty(), "{}: {unlisted:?}", scrape.engine);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_takes_what_servers_tell() {
    for scrape in scrapes().await {
        judge(&["check", "metrics"], &[], &scrape.text);
    }
}

/// Grafana makes a link of the exemplar's label that its data source names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exemplars_lead_to_their_traces() {
    let sources: Value = yaml("deploy/grafana/provisioning/datasources/semel.yaml");
    let sources = sources["datasources"].as_array().expect("a list");
    let prometheus = sources.iter().find(|it| it["type"] == "prometheus");
    let destination =
        &prometheus.expect("it is there")["jsonData"]["exemplarTraceIdDestinations"][0];
    let label = destination["name"].as_str().expect("a label");
    let jaeger = sources.iter().find(|it| it["type"] == "jaeger");
    assert_eq!(
        destination["datasourceUid"],
        jaeger.expect("it is there")["uid"]
    );
    for scrape in scrapes().await {
        assert!(
            scrape.open_metrics.ends_with("# EOF\n"),
            "{}",
            scrape.engine
        );
        let exemplars = scrape::exemplars(&scrape.open_metrics);
        let slow = "semel_handling_duration_seconds_bucket";
        let leads = exemplars
            .iter()
            .any(|(name, labels)| *name == slow && labels.iter().any(|it| it == label));
        assert!(leads, "{}: no {label} in {exemplars:?}", scrape.engine);
    }
}

/// Between two bounds a quantile is a guess, so the threshold has to be one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_threshold_of_slow_handling_is_a_bound_of_its_buckets() {
    for scrape in scrapes().await {
        let known = known(&scrape.text);
        let bounds = known.values("semel_handling_duration_seconds_bucket", "le");
        let bounds = bounds.expect("there are buckets");
        assert!(
            bounds.contains("5") || bounds.contains("5.0"),
            "{}: {bounds:?}",
            scrape.engine
        );
    }
}

/// And nothing else: a metric that is gone must go from the page, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_explains_every_metric_that_servers_tell() {
    let page = text("docs/operations.md");
    let (_, table) = page.split_once("### Every metric").expect("the table");
    let (table, _) = table.split_once("\n**The census**").expect("its end");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let first = rows.filter_map(|row| row.split('|').nth(1));
    let named = first.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let named: BTreeSet<_> = named.map(str::to_owned).collect();
    let mut told = BTreeSet::new();
    for scrape in scrapes().await {
        let names = scrape
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "));
        told.extend(names.filter_map(|line| Some(line.split(' ').next()?.to_owned())));
    }
    assert_eq!(named, told);
}

/// Whoever is woken types it in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_query_of_the_page_finds_whatever_is_stuck() {
    scrapes().await;
    let page = text("docs/operations.md");
    let (_, sql) = page.split_once("```sql\n").expect("the page has a query");
    let (sql, _) = sql.split_once("```").expect("it ends");
    let sql = sql.to_owned();
    let rows = on_cluster(move |cluster| cluster.query(DATABASE, &sql)).await;
    let rows = rows.unwrap_or_else(|error| panic!("{error}"));
    let states: BTreeSet<_> = rows.iter().filter_map(|row| row[2].as_deref()).collect();
    let all = BTreeSet::from(["lapsed", "backing off", "dead", "uncertain"]);
    assert_eq!(states, all, "{rows:?}");
}
