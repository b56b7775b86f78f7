//! What metrics and traces cost: Semel with them and without, in turn. P13.
//!
//! With them is the default, and one call in a hundred traced to a collector on this machine that
//! takes everything; without is with neither. Twice each in a round and mirrored, so that a machine
//! that grows slower or faster is no advantage to either.

use std::fs;

use crate::{
    Outcome,
    bench::Bench,
    book::{Figure, figure as f},
    load::{Load, Transport, Work},
    plan::UNARY_CALLERS,
    server::Server,
};

/// The part of all calls that is traced.
const SAMPLED: &str = "0.01";

pub fn run(bench: &mut Bench) -> Outcome<()> {
    let (length, warm_up) = (bench.plan.length, bench.plan.warm_up);
    let dir = bench.data_dir()?;
    let off = dir.path().join("off.toml");
    fs::write(&off, "metrics = false\n")?;
    let off = off.display().to_string();
    let collector = Server::collector()?;
    let endpoint = collector.url();
    let without: (&[&str], &[(&str, &str)]) = (&["--config", &off], &[]);
    let with: (&[&str], &[(&str, &str)]) = (
        &[],
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", SAMPLED),
        ],
    );
    let callers = bench.plan.callers.last().copied().unwrap_or(UNARY_CALLERS);
    let session = Load::new(Transport::Session, Work::Claims, callers);
    let unary = Load::new(Transport::Unary, Work::Claims, UNARY_CALLERS);
    for (load, told, quiet) in [
        (session, f::SESSION_CLAIMS_TOLD, f::SESSION_CLAIMS_QUIET),
        (unary, f::UNARY_CLAIMS_TOLD, f::UNARY_CLAIMS_QUIET),
    ] {
        let load = load.lasting(length, warm_up);
        let mut sums: [(Figure, f64); 2] = [(told, 0.0), (quiet, 0.0)];
        for which in [1, 0, 0, 1] {
            let ((arguments, variables), what) = match which {
                0 => (with, "Semel that tells"),
                _ => (without, "Semel that is quiet"),
            };
            let report = bench.on_postgres_as(&load, None, what, arguments, variables)?;
            sums[which].1 += report.rate / 2.0;
        }
        for (figure, rate) in sums {
            bench.book.put(figure, rate);
        }
    }
    Ok(())
}
