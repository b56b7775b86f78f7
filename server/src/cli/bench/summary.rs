//! What a run came to: as a table for people or as one JSON object for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::args::{Settings, Transport};
use super::mix::Kind;
use super::recorder::{Latencies, Seen};
use crate::cli::numbers::grouped;
use crate::cli::parse::show_duration;

/// A run's figures.
#[derive(Debug)]
pub(super) struct Summary<'a> {
    pub settings: &'a Settings,
    pub seen: Seen,
    /// How long was measured.
    pub measured: Duration,
    pub backlog_max: u64,
    pub preload: Option<Preloaded>,
    pub is_cut: bool,
}

/// What was claimed before the run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Preloaded {
    pub keys: u64,
    pub took: Duration,
}

impl Summary<'_> {
    fn per_second(&self, count: u64) -> f64 {
        let seconds = self.measured.as_secs_f64();
        if seconds > 0.0 {
            count as f64 / seconds
        } else {
            0.0
        }
    }

    /// Each line of the table of latencies: its name and what it is of.
    fn latencies(&self) -> Vec<(&'static str, Latencies)> {
        let kinds = self.settings.mix.kinds();
        let kinds = kinds.map(|kind: Kind| (kind.name(), self.seen.of(kind).clone()));
        [("all", self.seen.all())]
            .into_iter()
            .chain(kinds)
            .collect()
    }

    pub fn to_json(&self) -> Value {
        let settings = self.settings;
        let errors: Map<String, Value> = self
            .seen
            .errors
            .each()
            .map(|(reason, count, _)| (reason.to_owned(), count.into()))
            .collect();
        let latencies: Map<String, Value> = self
            .latencies()
            .into_iter()
            .map(|(name, latencies)| (name.to_owned(), latencies_json(&latencies)))
            .collect();
        let preload = self
            .preload
            .map(|it| json!({ "keys": it.keys, "seconds": it.took.as_secs_f64() }));
        json!({
            "address": settings.address,
            "transport": settings.transport.name(),
            "loop": if settings.rate.is_some() { "open" } else { "closed" },
            "rate": settings.rate,
            "callers": settings.callers,
            "connections": settings.connections,
            "seed": settings.seed,
            "duration_s": self.measured.as_secs_f64(),
            "operations": self.seen.operations,
            "operations_per_s": self.per_second(self.seen.operations),
            "calls": self.seen.calls,
            "calls_per_s": self.per_second(self.seen.calls),
            "errors": errors,
            "latency_us": latencies,
            "backlog_max": self.backlog_max,
            "preload": preload,
            "cut_short": self.is_cut,
        })
    }

    pub fn to_text(&self) -> String {
        let settings = self.settings;
        let mut lines = vec![
            format!("{}, namespace {}", settings.address, settings.namespace),
            field("load", self.load()),
            field("mix", self.mix()),
            field(
                "keys",
                format!("seed {}, first {}", settings.seed, settings.first_key()),
            ),
        ];
        if let Some(preload) = &self.preload {
            let keys = format!(
                "{} keys in {:.1} s",
                grouped(preload.keys),
                preload.took.as_secs_f64()
            );
            lines.push(field("preload", keys));
        }
        let rate = |count| {
            let per_second = self.per_second(count).round() as u64;
            format!("{} done, {}/s", grouped(count), grouped(per_second))
        };
        let cut = if self.is_cut { ", cut short" } else { "" };
        lines.push(field(
            "measured",
            format!(
                "{:.2} s after {} of warm-up{cut}",
                self.measured.as_secs_f64(),
                show_duration(settings.warm_up)
            ),
        ));
        lines.push(field("operations", rate(self.seen.operations)));
        if settings.mix.has(Kind::Pair) {
            lines.push(field("calls", rate(self.seen.calls)));
        }
        if settings.rate.is_some() {
            let most = format!("at most {} operations", grouped(self.backlog_max));
            lines.push(field("backlog", most));
        }
        let errors = match self.seen.errors.is_empty() {
            true => "none".into(),
            false => self.seen.errors.sentence(),
        };
        lines.push(field("errors", errors));
        lines.push(String::new());
        lines.push(format!(
            "latency in ms, counted from {}",
            self.counted_from()
        ));
        lines.push(self.table());
        lines.join("\n")
    }

    fn load(&self) -> String {
        let settings = self.settings;
        let how = match settings.rate {
            Some(rate) => format!("open loop, {} operations a second", grouped(rate)),
            None => "closed loop".into(),
        };
        let transport = match settings.transport {
            Transport::Unary => "single calls",
            Transport::Session => "a session on each",
        };
        format!(
            "{how}, {} callers, {} connections, {transport}",
            grouped(settings.callers as u64),
            settings.connections
        )
    }

    fn mix(&self) -> String {
        let mix = self.settings.mix;
        let kinds = mix
            .kinds()
            .map(|kind| format!("{} % {}", mix.percent(kind), kind.name()));
        format!(
            "{}; keys of {} bytes, results of {}",
            kinds.collect::<Vec<_>>().join(", "),
            self.settings.key_bytes,
            self.settings.result_bytes
        )
    }

    fn counted_from(&self) -> &'static str {
        match self.settings.rate {
            Some(_) => "the time an operation was to be sent at, however late it was sent",
            None => "the moment an operation was sent",
        }
    }

    fn table(&self) -> String {
        let mut table = format!("  {:<10}{:>12}", "", "count");
        for name in ["min", "mean", "p50", "p90", "p99", "p99.9", "max"] {
            // Writing to a String cannot fail.
            let _ = write!(table, "{name:>10}");
        }
        for (name, latencies) in self.latencies() {
            let _ = write!(table, "\n  {name:<10}{:>12}", grouped(latencies.len()));
            if latencies.is_empty() {
                continue;
            }
            for (_, value) in figures(&latencies) {
                let _ = write!(table, "{:>10.3}", value / 1_000.0);
            }
        }
        table
    }
}

fn field(name: &str, value: String) -> String {
    format!("  {name:<12}{value}")
}

/// The figures in their order, in microseconds.
fn figures(latencies: &Latencies) -> [(&'static str, f64); 7] {
    let quantile = |q| latencies.value_at_quantile(q) as f64;
    [
        ("min", latencies.min() as f64),
        ("mean", latencies.mean()),
        ("p50", quantile(0.5)),
        ("p90", quantile(0.9)),
        ("p99", quantile(0.99)),
        ("p999", quantile(0.999)),
        ("max", latencies.max() as f64),
    ]
}

fn latencies_json(latencies: &Latencies) -> Value {
    let mut object = Map::new();
    object.insert("count".into(), latencies.len().into());
    for (name, value) in figures(latencies) {
        // Of nothing there is no latency.
        let value = if latencies.is_empty() {
            Value::Null
        } else {
            value.into()
        };
        object.insert(name.into(), value);
    }
    object.into()
}

/// Microseconds as milliseconds, for people.
pub(super) fn millis(us: f64) -> String {
    format!("{:.3} ms", us / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::args::tests::settings;
    use crate::cli::bench::recorder::Recorder;
    use crate::cli::bench::schedule::Window;

    fn summary(settings: &Settings) -> Summary<'_> {
        let window = Window::new(Duration::ZERO, Duration::from_secs(2));
        let mut recorder = Recorder::new(settings.rate.is_some());
        for n in 1..=1_000 {
            recorder.called(&window, n);
            recorder.called(&window, n);
            recorder.done(&window, Kind::Pair, 0, n * 1_000);
        }
        recorder.seen.errors.others("WRONG_RESULT", 3, "");
        Summary {
            settings,
            seen: recorder.seen,
            measured: Duration::from_secs(2),
            backlog_max: 1_234,
            preload: None,
            is_cut: false,
        }
    }

    #[test]
    fn json_has_the_fields_that_programs_know() {
        let settings = settings("--rate 500 --pair 49.9 --duplicate 50 --repeat 0.1 --seed 7");
        let json = summary(&settings).to_json();
        let pair = &json["latency_us"]["pair"];
        assert_eq!(pair["count"], 1_000);
        assert_eq!((&pair["min"], &pair["p50"]), (&json!(1.0), &json!(500.0)));
        assert_eq!(pair["p999"], json!(999.0));
        assert_eq!(json["latency_us"]["all"], *pair);
        let nothing = &json["latency_us"]["duplicate"];
        assert_eq!(
            (&nothing["count"], &nothing["max"]),
            (&json!(0), &json!(null))
        );
        assert_eq!(json["latency_us"]["repeat"]["count"], 0);
        assert!(json["latency_us"].get("new").is_none());

        let mut rest = json;
        rest.as_object_mut().unwrap().remove("latency_us");
        assert_eq!(
            rest,
            json!({
                "address": "http://127.0.0.1:7420",
                "transport": "session",
                "loop": "open",
                "rate": 500,
                "callers": 64,
                "connections": 4,
                "seed": 7,
                "duration_s": 2.0,
                "operations": 1_000,
                "operations_per_s": 500.0,
                "calls": 2_000,
                "calls_per_s": 1_000.0,
                "errors": { "WRONG_RESULT": 3 },
                "backlog_max": 1_234,
                "preload": null,
                "cut_short": false,
            })
        );
    }

    #[test]
    fn a_closed_loop_has_no_rate_and_a_preload_is_told() {
        let settings = settings("");
        let mut summary = summary(&settings);
        summary.preload = Some(Preloaded {
            keys: 10,
            took: Duration::from_millis(500),
        });
        summary.is_cut = true;
        let json = summary.to_json();
        assert_eq!(
            (&json["loop"], &json["rate"]),
            (&json!("closed"), &json!(null))
        );
        assert_eq!(json["preload"], json!({ "keys": 10, "seconds": 0.5 }));
        assert_eq!(json["cut_short"], true);
    }

    #[test]
    fn text_says_the_same_and_from_when_latency_counts() {
        let settings = settings("--rate 500 --pair 99.9 --repeat 0.1 --seed 7");
        let text = summary(&settings).to_text();
        for part in [
            "open loop, 500 operations a second, 64 callers",
            "99.9 % pair, 0.1 % repeat",
            "seed 7, first ",
            "1,000 done, 500/s",
            "2,000 done, 1,000/s",
            "at most 1,234",
            "3 WRONG_RESULT",
            "was to be sent",
            "0.500",
        ] {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
    }
}
