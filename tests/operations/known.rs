//! What Prometheus has of us: metrics, the labels of each, and the values of labels that have few.

use std::collections::{BTreeMap, BTreeSet};

/// What every target's series are given when they are scraped.
const GIVEN: [&str; 2] = ["job", "instance"];

/// Metrics of no server of ours. Prometheus makes the first two; a label of ours reaches `ALERTS` through an
/// alert's expression. The others are made in the processes of receivers and senders by the client crate.
const ELSEWHERE: [(&str, &[&str]); 4] = [
    ("up", &[]),
    (
        "ALERTS",
        &["alertname", "alertstate", "namespace", "severity"],
    ),
    ("semel_webhook_deliveries_total", &["namespace", "result"]),
    ("semel_webhook_attempts_total", &["result"]),
];

/// Labels with a set of values that is fixed. A misspelt value finds no series, and so finds nothing wrong.
const VALUES: [(&str, &str, &[&str]); 12] = [
    (
        "semel_claims_total",
        "outcome",
        &[
            "claimed",
            "in_progress",
            "backing_off",
            "completed",
            "failed",
            "dead",
            "uncertain",
            "fingerprint_mismatch",
            "event_too_old",
            "superseded",
            "invalid",
            "unavailable",
            "overloaded",
            "abandoned",
        ],
    ),
    (
        "semel_settlements_total",
        "kind",
        &[
            "complete",
            "fail_retryable",
            "fail_terminal",
            "fail_unknown",
        ],
    ),
    (
        "semel_settlements_total",
        "result",
        &[
            "recorded",
            "repeat",
            "lease_lost",
            "result_conflict",
            "already_settled",
            "hold_limit_reached",
            "key_not_found",
            "invalid",
            "unavailable",
            "overloaded",
            "abandoned",
        ],
    ),
    ("semel_keys", "state", STATES),
    ("semel_keys_oldest_age_seconds", "state", STATES),
    ("semel_store_call_duration_seconds_count", "engine", ENGINES),
    ("semel_store_call_duration_seconds_count", "result", RESULTS),
    (
        "semel_store_call_duration_seconds_bucket",
        "result",
        RESULTS,
    ),
    ("semel_purge_passes_total", "outcome", &["ok", "error"]),
    (
        "semel_webhook_deliveries_total",
        "result",
        &[
            "handled",
            "replayed",
            "in_progress",
            "backing_off",
            "unauthenticated",
            "invalid",
            "mismatch",
            "dead",
            "uncertain",
            "unavailable",
            "accepted",
            "failed",
        ],
    ),
    (
        "semel_webhook_attempts_total",
        "result",
        &["delivered", "retried", "dead"],
    ),
    ("ALERTS", "alertstate", &["pending", "firing"]),
];
const STATES: &[&str] = &[
    "in_progress",
    "lapsed",
    "backing_off",
    "completed",
    "failed",
    "dead",
    "uncertain",
    "expired",
];
const ENGINES: &[&str] = &["postgres", "sqlite"];
const RESULTS: &[&str] = &["ok", "unavailable", "rejected"];

/// The metrics there are, each with the labels of its series and the values seen.
#[derive(Debug, Clone, Default)]
pub struct Known(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Known {
    /// What is known without asking a server.
    pub fn elsewhere() -> Self {
        let mut known = Self::default();
        for (name, labels) in ELSEWHERE {
            known.add(name, labels.iter().map(|label| (*label, "")));
        }
        known
    }

    /// Adds a series.
    pub fn add<'a>(&mut self, name: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let metric = self.0.entry(name.to_owned()).or_default();
        let given = GIVEN.map(|label| (label, ""));
        for (label, value) in labels.into_iter().chain(given) {
            let values = metric.entry(label.to_owned()).or_default();
            values.insert(value.to_owned());
        }
    }

    /// Adds what a recording rule makes.
    pub fn add_recorded(&mut self, name: &str, labels: &BTreeSet<String>) {
        let labels = labels.iter().map(|label| (label.clone(), BTreeSet::new()));
        self.0.insert(name.to_owned(), labels.collect());
    }

    /// Adds all that another knows.
    pub fn merge(&mut self, other: Self) {
        for (name, labels) in other.0 {
            let metric = self.0.entry(name).or_default();
            for (label, values) in labels {
                metric.entry(label).or_default().extend(values);
            }
        }
    }

    /// The labels of a metric; `None` where there is no such metric.
    pub fn labels(&self, name: &str) -> Option<BTreeSet<String>> {
        Some(self.0.get(name)?.keys().cloned().collect())
    }

    /// All values that a label can have, where that is known: of `le` what was seen.
    pub fn values(&self, name: &str, label: &str) -> Option<BTreeSet<&str>> {
        if label == "le" {
            let seen = self.0.get(name)?.get(label)?;
            return Some(seen.iter().map(String::as_str).collect());
        }
        let of_it = |it: &&(&str, &str, &[&'static str])| (it.0, it.1) == (name, label);
        let (_, _, values) = VALUES.iter().find(of_it)?;
        Some(values.iter().copied().collect())
    }

    /// The values of labels that were seen and that are not in our lists: the lists are of yesterday.
    pub fn unlisted(&self) -> Vec<String> {
        let mut unlisted = Vec::new();
        for (name, label, values) in VALUES {
            let seen = self.0.get(name).and_then(|metric| metric.get(label));
            for value in seen.into_iter().flatten() {
                if !value.is_empty() && !values.contains(&value.as_str()) {
                    unlisted.push(format!("{name}{{{label}={value:?}}}"));
                }
            }
        }
        unlisted
    }
}
