//! Logs: sentences with fields, to standard error; and where spans go, if anybody collects them.

use std::{env, io::IsTerminal as _};

use clap::ValueEnum;
use opentelemetry_sdk::trace::SdkTracer;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{LevelFilter, filter_fn},
    fmt,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// The target of spans that are made for a collector. No log line is about them, whatever `RUST_LOG`
/// says, or each line within a call would have them in front.
pub const SPANS: &str = "otel::spans";

/// Lines that wait to be written. What comes while so many wait is dropped: a reader of the log that
/// has stopped reading must not stop the lanes.
const LINES: usize = 16_384;

/// What the SDK says of each batch that a collector did not take is told once, by us.
const QUIET: [&str; 3] = ["opentelemetry", "opentelemetry_sdk", "opentelemetry-otlp"];

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Starts a server's logging. `RUST_LOG` sets the levels; without it, our own lines from `info` on.
/// Spans go to the tracer, whatever the levels are. What is not written yet is written when the guard
/// is dropped.
///
/// Does nothing where the process logs already, as in tests.
#[must_use = "lines are written until it is dropped"]
pub fn init_server(format: LogFormat, tracer: Option<SdkTracer>) -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES)
        .finish(std::io::stderr());
    start(format, "info", tracer, writer);
    guard
}

/// Starts the logging of a command, from `level` on: each line is written at once.
pub fn init_command(level: &str) {
    start(LogFormat::Text, level, None, std::io::stderr);
}

fn start<W>(format: LogFormat, level: &str, tracer: Option<SdkTracer>, writer: W)
where
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let spans = tracer.map(|tracer| {
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_filter(
                filter_fn(|it| it.is_span() && it.target() == SPANS)
                    .with_max_level_hint(LevelFilter::INFO),
            )
    });
    let lines = fmt::layer()
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let (filter, problem) = filter(env::var("RUST_LOG").ok().as_deref(), level);
    let _ = tracing_subscriber::registry()
        .with(spans)
        .with(lines.with_filter(filter))
        .try_init();
    if let Some(problem) = problem {
        tracing::warn!("RUST_LOG is not understood and does not count: {problem}");
    }
}

/// What `asked` says, or the default where it says nothing or what cannot be read; and why not.
fn filter(asked: Option<&str>, level: &str) -> (EnvFilter, Option<String>) {
    let asked = asked.filter(|asked| !asked.trim().is_empty());
    let ours = format!("warn,semel={level},semel_server={level}");
    let (mut directives, problem) = match asked.map(|asked| (asked, EnvFilter::try_new(asked))) {
        None => (ours, None),
        Some((asked, Ok(_))) => (asked.to_owned(), None),
        Some((_, Err(error))) => (ours, Some(error.to_string())),
    };
    for target in QUIET {
        if !directives.contains(target) {
            directives.push_str(&format!(",{target}=off"));
        }
    }
    directives.push_str(&format!(",{SPANS}=off"));
    (EnvFilter::new(directives), problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directives(asked: Option<&str>) -> String {
        filter(asked, "info").0.to_string()
    }

    #[test]
    fn the_sdk_is_quiet_unless_it_is_asked_for() {
        for asked in [None, Some(""), Some("  "), Some("info")] {
            let all = directives(asked);
            for target in QUIET {
                assert!(all.contains(&format!("{target}=off")), "{asked:?}: {all}");
            }
            assert!(all.contains("otel::spans=off"), "{all}");
        }
        let asked = directives(Some("warn,opentelemetry_sdk=debug"));
        assert!(asked.contains("opentelemetry_sdk=debug"), "{asked}");
        assert!(!asked.contains("opentelemetry_sdk=off"), "{asked}");
    }

    #[test]
    fn what_cannot_be_read_counts_as_nothing_and_is_told() {
        let (filter, problem) = filter(Some("semel=loud"), "info");
        assert!(filter.to_string().contains("semel=info"), "{filter}");
        assert!(problem.is_some());
    }
}
