//! Latency against load, open loop over Session on Postgres: P8 and the chart.

use super::durable;
use crate::{
    Outcome,
    bench::Bench,
    book::figure as f,
    load::{Load, Transport, Work},
};

pub fn run(bench: &mut Bench) -> Outcome<()> {
    let peak = durable::peak(bench)?;
    let callers = most_callers(bench);
    for (percent, rate, p50_us, p99_us) in f::STEPS {
        let (length, cost) = if percent == 50 {
            (bench.plan.length, Some("session claim, half of the peak"))
        } else {
            (bench.plan.brief, None)
        };
        let offered = peak * f64::from(percent) / 100.0;
        let load = Load::new(Transport::Session, Work::Claims, callers)
            .at(offered)
            .lasting(length, bench.plan.warm_up);
        let report = bench.on_postgres(&load, cost)?;
        bench.book.put(rate, offered);
        bench.book.put(p50_us, report.p50_us);
        bench.book.put(p99_us, report.p99_us);
    }
    Ok(())
}

/// An open loop needs as many as may be under way at once, or it would close.
pub fn most_callers(bench: &Bench) -> u64 {
    bench
        .plan
        .callers
        .iter()
        .copied()
        .max()
        .unwrap_or(4_096)
        .max(4_096)
}
