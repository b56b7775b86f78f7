//! The configuration: what is accepted, and that every problem is told at once.

use std::{fs, path::Path};

use super::*;
use crate::key::{OnLapse, Span};

fn load(file: &str) -> Result<Config, Problems> {
    with_file(file, Overrides::default())
}

fn with_file(file: &str, overrides: Overrides) -> Result<Config, Problems> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("semel.toml");
    fs::write(&path, file).unwrap();
    Config::load(&Overrides {
        config: Some(path),
        ..overrides
    })
}

fn places(problems: &Problems) -> Vec<&str> {
    problems
        .0
        .iter()
        .map(|problem| problem.place.as_str())
        .collect()
}

#[test]
fn nothing_said_is_the_embedded_store_on_loopback() {
    let config = Config::load(&Overrides::default()).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:7420");
    assert_eq!(
        config.store,
        StoreConfig::Sqlite {
            data_dir: "./semel-data".into()
        }
    );
    assert!(config.migrate);
}

#[test]
fn a_namespace_says_what_differs_from_the_defaults() {
    let config = load(
        r#"
        listen = "127.0.0.1:0"
        database_url = "postgres://semel@db/semel"
        lanes = 8
        drain = "5s"
        [defaults]
        retention = "2d"
        [namespaces.payments]
        on_lapse = "hold"
        backoff_factor = 1.5
        fingerprint_required = true
        "#,
    )
    .unwrap();
    assert_eq!(
        config.store,
        StoreConfig::Postgres {
            url: "postgres://semel@db/semel".into(),
            lanes: 8
        }
    );
    let [(namespace, policy)] = &config.namespaces[..] else {
        panic!("one namespace")
    };
    assert_eq!(namespace.as_str(), "payments");
    assert_eq!(policy.on_lapse(), OnLapse::Hold);
    assert_eq!(policy.settings().backoff_factor_milli, 1_500);
    assert_eq!(policy.retention(), Span::from_secs(2 * 86_400));
    assert!(policy.fingerprint_required());
}

#[test]
fn all_problems_are_told_at_once_with_their_places() {
    let problems = load(
        r#"
        listen = "localhost"
        lanes = 0
        speed = "fast"
        drain = 5
        [defaults]
        retention = "1ms"
        [namespaces.Payments]
        [namespaces.orders]
        attempts = 0
        on_lapse = "shrug"
        colour = "red"
        "#,
    )
    .unwrap_err();
    assert_eq!(
        places(&problems),
        [
            "listen",
            "lanes",
            "drain",
            "speed",
            "defaults.retention",
            "namespaces.Payments",
            "namespaces.orders.on_lapse",
            "namespaces.orders.colour",
            "namespaces.orders.attempts"
        ],
        "{problems}"
    );
}

#[test]
fn flags_beat_the_file() {
    let overrides = Overrides {
        listen: Some("127.0.0.1:9".into()),
        data_dir: Some("elsewhere".into()),
        no_migrate: true,
        ..Overrides::default()
    };
    let config = with_file(
        "listen = \"127.0.0.1:8\"\ndatabase_url = \"postgres://x\"",
        overrides,
    )
    .unwrap();
    assert_eq!(config.listen.port(), 9);
    assert_eq!(
        config.store,
        StoreConfig::Sqlite {
            data_dir: "elsewhere".into()
        }
    );
    assert!(!config.migrate);
}

#[test]
fn an_address_that_others_can_reach_has_to_be_asked_for() {
    for address in ["0.0.0.0:7420", "[::]:7420", "10.0.0.1:7420"] {
        let file = format!("listen = \"{address}\"");
        assert_eq!(places(&load(&file).unwrap_err()), ["listen"]);
        assert!(load(&format!("{file}\nallow_plaintext = true")).is_ok());
    }
    assert!(load("listen = \"[::1]:7420\"").is_ok());
}

#[test]
fn a_missing_file_and_a_broken_one_are_told() {
    let missing = Overrides {
        config: Some("no/such/file.toml".into()),
        ..Overrides::default()
    };
    let problems = Config::load(&missing).unwrap_err();
    assert_eq!(
        Path::new(&problems.0[0].place),
        Path::new("no/such/file.toml")
    );
    assert!(
        load("listen = ")
            .unwrap_err()
            .to_string()
            .contains("is not TOML")
    );
}

#[test]
fn two_stores_are_a_contradiction() {
    let problems = load("data_dir = \"a\"\ndatabase_url = \"postgres://x\"").unwrap_err();
    assert_eq!(places(&problems), ["database_url"]);
    let problems = load("database_url = \"mysql://x\"").unwrap_err();
    assert_eq!(places(&problems), ["database_url"]);
}

#[test]
fn a_database_url_is_never_printed() {
    let config = load("database_url = \"postgres://u:secret@db/semel\"").unwrap();
    assert!(!format!("{config:?}").contains("secret"));
}
