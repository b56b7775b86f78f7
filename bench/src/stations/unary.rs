//! Single calls beside a server that does nothing: P4 and P6.

use crate::{
    Outcome,
    bench::Bench,
    book::figure as f,
    load::{Load, Transport, Work},
    plan::UNARY_CALLERS,
};

fn load(bench: &Bench, work: Work) -> Load {
    Load::new(Transport::Unary, work, UNARY_CALLERS).lasting(bench.plan.length, bench.plan.warm_up)
}

pub fn claims(bench: &mut Bench) -> Outcome<()> {
    let load = load(bench, Work::Claims);
    let noop = bench.noop(&load, "no-op claim, 64 callers")?;
    bench.book.put(f::NOOP_CLAIMS, noop.rate);
    let embedded = bench.embedded(&load, "unary claim embedded, 64 callers")?;
    bench.book.put(f::EMBEDDED_UNARY, embedded.rate);
    Ok(())
}

pub fn replays(bench: &mut Bench) -> Outcome<()> {
    let load = load(bench, Work::Replays);
    let noop = bench.noop(&load, "no-op replay, 64 callers")?;
    bench.book.put(f::NOOP_REPLAYS, noop.rate);
    let durable = bench.on_postgres(&load, "unary replay, 64 callers")?;
    bench.book.put(f::UNARY_REPLAYS, durable.rate);
    Ok(())
}
