//! The alerts, without a server: Prometheus reads them, each is told apart from its opposite, and each says
//! what it has to.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::{
    deploy::{alerts, file, yaml},
    promtool::judge,
};

const RULES: &str = "deploy/prometheus/alerts.yml";
const TESTS: &str = "deploy/prometheus/alerts_test.yml";

#[test]
fn promtool_takes_the_rules() {
    judge(&["check", "rules"], &[&file(RULES)], "");
}

#[test]
fn promtool_takes_the_configuration() {
    let config = file("deploy/prometheus/prometheus.yml");
    judge(&["check", "config"], &[&config], "");
}

#[test]
fn the_alerts_fire_when_they_should_and_only_then() {
    judge(&["test", "rules"], &[&file(TESTS)], "");
}

#[derive(Deserialize)]
struct Tests {
    tests: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    alert_rule_test: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    alertname: String,
    exp_alerts: Vec<Value>,
}

/// Promtool counts an alert that no case names as tested.
#[test]
fn each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() {
    let tests: Tests = yaml(TESTS);
    let mut seen = BTreeMap::<_, BTreeSet<bool>>::new();
    for case in tests
        .tests
        .into_iter()
        .flat_map(|group| group.alert_rule_test)
    {
        let fires = !case.exp_alerts.is_empty();
        seen.entry(case.alertname).or_default().insert(fires);
    }
    for (name, _) in alerts() {
        let cases = seen.remove(&name).unwrap_or_default();
        assert!(cases.contains(&true), "{name}: no case in which it fires");
        assert!(
            cases.contains(&false),
            "{name}: no case in which it does not"
        );
    }
    assert!(
        seen.is_empty(),
        "cases of alerts that there are not: {seen:?}"
    );
}

#[test]
fn each_alert_says_how_urgent_it_is_what_is_wrong_and_what_to_do_first() {
    let mut names = BTreeSet::new();
    for (name, alert) in alerts() {
        assert!(name.starts_with("Semel"), "{name}");
        let severity = alert.labels.get("severity").map(String::as_str);
        assert!(
            matches!(severity, Some("critical" | "warning")),
            "{name}: severity {severity:?}"
        );
        for annotation in ["summary", "description", "runbook_url"] {
            let text = alert.annotations.get(annotation).map_or("", String::as_str);
            assert!(!text.is_empty(), "{name} has no {annotation}");
        }
        let description = &alert.annotations["description"];
        assert!(
            description.contains(" First "),
            "{name} does not say what to do first"
        );
        // Whom it concerns: a namespace, or all of them.
        let whom = ["{{ $labels.namespace }}", "very namespace", "any namespace"];
        assert!(
            whom.iter().any(|it| description.contains(it)),
            "{name} names no namespace"
        );
        assert!(names.insert(name.clone()), "two alerts are called {name}");
    }
}
