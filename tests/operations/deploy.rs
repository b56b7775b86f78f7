//! The files of `deploy/`, as read by the programs that they are for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// A file of the repository.
pub fn file(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    root.join(name)
}

/// Its text.
pub fn text(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A YAML file.
pub fn yaml<T: DeserializeOwned>(name: &str) -> T {
    serde_saphyr::from_str(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[derive(Debug, Deserialize)]
pub struct Rules {
    pub groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
pub struct Group {
    pub rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
pub struct Rule {
    pub record: Option<String>,
    pub alert: Option<String>,
    pub expr: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

impl Rules {
    pub fn read() -> Vec<Rule> {
        let rules: Self = yaml("deploy/prometheus/alerts.yml");
        rules.groups.into_iter().flat_map(|it| it.rules).collect()
    }
}

/// The rules that are alerts, by their names.
pub fn alerts() -> Vec<(String, Rule)> {
    let named = |mut rule: Rule| Some((rule.alert.take()?, rule));
    let alerts: Vec<_> = Rules::read().into_iter().filter_map(named).collect();
    assert!(!alerts.is_empty(), "there are alerts");
    alerts
}

/// A query of the dashboard.
pub struct Query {
    /// The panel's title.
    pub panel: String,
    /// As Prometheus would be asked it.
    pub expr: String,
    /// The labels that its legend names.
    pub legend: BTreeSet<String>,
}

pub fn dashboard() -> Value {
    let text = text("deploy/grafana/semel.json");
    serde_json::from_str(&text).expect("the dashboard is JSON")
}

/// The panels that are no rows.
pub fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let panels = dashboard["panels"].as_array().expect("a list");
    panels.iter().filter(|panel| panel["type"] != "row")
}

pub fn queries() -> Vec<Query> {
    let dashboard = dashboard();
    let mut queries = Vec::new();
    for panel in panels(&dashboard) {
        for target in panel["targets"].as_array().expect("a list") {
            let text = |name: &str| target[name].as_str().expect("a text").to_owned();
            queries.push(Query {
                panel: panel["title"].as_str().expect("a title").to_owned(),
                // What Grafana fills in.
                expr: text("expr").replace("$__rate_interval", "5m"),
                legend: placeholders(&text("legendFormat"), "{{", "}}"),
            });
        }
    }
    assert!(!queries.is_empty(), "the dashboard asks something");
    queries
}

/// What stands between `open` and `close`, each time.
pub fn placeholders(text: &str, open: &str, close: &str) -> BTreeSet<String> {
    let parts = text.split(open).skip(1);
    parts
        .filter_map(|part| Some(part.split_once(close)?.0.trim().to_owned()))
        .collect()
}
