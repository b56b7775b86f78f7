//! What `semel bench --json` tells of a run.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Outcome, child::Ended};

/// A run in which every operation succeeded.
#[derive(Debug, Clone)]
pub struct Report {
    /// Operations a second.
    pub rate: f64,
    /// Operations in the measured time.
    pub operations: f64,
    /// Latency of an operation.
    pub p50_us: f64,
    pub p99_us: f64,
    /// Everything, as it came.
    pub raw: serde_json::Value,
}

/// The part that is judged here.
#[derive(Debug, Deserialize)]
struct Json {
    operations: u64,
    operations_per_s: f64,
    errors: BTreeMap<String, u64>,
    latency_us: BTreeMap<String, Option<Latency>>,
    #[serde(default)]
    cut_short: bool,
}

#[derive(Debug, Deserialize)]
struct Latency {
    /// Null where nothing was done.
    p50: Option<f64>,
    p99: Option<f64>,
}

impl Report {
    /// A run with an error is no run.
    pub fn from_run(ended: &Ended) -> Outcome<Self> {
        match Self::parse(&ended.stdout) {
            Ok(report) if ended.status.success() => Ok(report),
            Ok(_) => Err(no_run(ended, "it failed")),
            Err(error) => Err(no_run(ended, &error.to_string())),
        }
    }

    fn parse(text: &str) -> Outcome<Self> {
        let raw: serde_json::Value =
            serde_json::from_str(text).map_err(|error| format!("no report: {error}"))?;
        let json = Json::deserialize(&raw)
            .map_err(|error| format!("not the report that was agreed on: {error}"))?;
        if !json.errors.is_empty() {
            return Err(format!("operations failed: {:?}", json.errors).into());
        }
        if json.cut_short {
            return Err("it was cut short".into());
        }
        if json.operations == 0 {
            return Err("nothing was done".into());
        }
        let latency = json.latency_us.get("all").and_then(Option::as_ref);
        let latency = latency.and_then(|latency| latency.p50.zip(latency.p99));
        let (p50_us, p99_us) = latency.ok_or("it tells no latencies")?;
        Ok(Self {
            rate: json.operations_per_s,
            operations: json.operations as f64,
            p50_us,
            p99_us,
            raw,
        })
    }
}

fn no_run(ended: &Ended, why: &str) -> Box<dyn std::error::Error + Send + Sync> {
    let complaint = ended.complaint();
    let separator = if complaint.is_empty() { "" } else { "\n" };
    format!(
        "semel bench: {why} ({}){separator}{complaint}",
        ended.status
    )
    .into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    /// What a run printed, in the form that was agreed on.
    const GOOD: &str = r#"{
        "address": "http://127.0.0.1:7420", "transport": "session", "loop": "open", "rate": 40000,
        "callers": 1024, "connections": 4, "seed": 1, "duration_s": 8.0,
        "operations": 319993, "operations_per_s": 39999.1, "calls": 319993, "calls_per_s": 39999.1,
        "errors": {},
        "latency_us": {
            "all": {"count": 319993, "min": 310, "mean": 1502.2, "p50": 1391, "p90": 2100, "p99": 3999, "p999": 7001, "max": 9001},
            "new": {"count": 319993, "min": 310, "mean": 1502.2, "p50": 1391, "p90": 2100, "p99": 3999, "p999": 7001, "max": 9001},
            "duplicate": null, "pair": null
        },
        "backlog_max": 17, "preload": null, "cut_short": false
    }"#;

    fn ended(code: i32, stdout: &str) -> Ended {
        Ended {
            status: std::process::ExitStatus::from_raw(code << 8),
            stdout: stdout.into(),
            stderr: "semel: 3 operations failed\n".into(),
        }
    }

    #[test]
    fn a_good_run_gives_its_figures() {
        let report = Report::from_run(&ended(0, GOOD)).unwrap();
        assert_eq!((report.p50_us, report.p99_us), (1_391.0, 3_999.0));
        assert_eq!(report.rate, 39_999.1);
        assert_eq!(report.raw["backlog_max"], 17);
    }

    #[test]
    fn a_run_with_an_error_is_no_run() {
        let bad = [
            (1, GOOD.to_owned()),
            (
                0,
                GOOD.replace("\"errors\": {}", "\"errors\": {\"UNAVAILABLE\": 3}"),
            ),
            (
                0,
                GOOD.replace("\"cut_short\": false", "\"cut_short\": true"),
            ),
            (
                0,
                GOOD.replace("\"operations\": 319993", "\"operations\": 0"),
            ),
            (0, GOOD.replace("\"all\"", "\"some\"")),
            (0, "Segmentation fault".to_owned()),
        ];
        for (code, stdout) in bad {
            let error = Report::from_run(&ended(code, &stdout))
                .unwrap_err()
                .to_string();
            assert!(error.contains("3 operations failed"), "{error}");
        }
    }
}
