//! Logs: sentences with fields, to standard error; and where spans go, if anybody collects them.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use opentelemetry_sdk::trace::SdkTracer;
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::filter_fn, fmt, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// The target of spans that are made for a collector. No log line is about them, and no name of ours
/// is in it, so that `RUST_LOG=semel=info` does not show them in front of every line.
pub const SPANS: &str = "otel::spans";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Starts logging. `RUST_LOG` sets the levels; without it, our own lines from `level` on. Spans go to
/// the tracer, whatever the levels are.
///
/// Does nothing where the process logs already, as in tests.
pub fn init(format: LogFormat, level: &str, tracer: Option<SdkTracer>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        // What the SDK says of each batch that a collector did not take is told once, by us.
        EnvFilter::new(format!(
            "warn,opentelemetry=off,opentelemetry_sdk=off,opentelemetry-otlp=off,\
             semel={level},semel_server={level}"
        ))
    });
    let spans = tracer.map(|tracer| {
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(|it| it.is_span() && it.target() == SPANS))
    });
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let _ = tracing_subscriber::registry()
        .with(spans)
        .with(lines.with_filter(filter))
        .try_init();
}
