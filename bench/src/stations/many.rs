//! Claims of new keys among many live ones, beside claims in an empty table: P9.

use std::time::Duration;

use crate::{
    Outcome,
    bench::Bench,
    book::figure as f,
    fill::Fill,
    load::{Load, Transport, Work},
    output::grouped,
    postgres::MANY,
};

/// Of the result of each filled key.
const RESULT_BYTES: usize = 64;
/// What the goal speaks of.
const FULL: u64 = 10_000_000;

pub fn run(bench: &mut Bench) -> Outcome<()> {
    let load = load(bench);
    fill_once(bench)?;
    let none = bench.on_postgres(&load, "session claim, 1,024 callers")?;
    bench.book.put(f::CLAIMS_AMONG_NONE, none.rate);

    bench.postgres.settle()?;
    let server = bench.semel_on(MANY, &[])?;
    let keys = grouped(bench.plan.keys as f64);
    let many = bench.load(&format!("among {keys} keys"), &server, &load, || Ok(()))?;
    bench.book.put(f::CLAIMS_AMONG_MANY, many.rate);
    Ok(())
}

/// Session claims. Warming up takes twice as long as elsewhere: after a checkpoint the first change of
/// each of the many index pages is logged with the whole page, and a run is to show what comes after.
pub fn load(bench: &Bench) -> Load {
    Load::new(Transport::Session, Work::Claims, bench.plan.callers[0])
        .lasting(bench.plan.length, bench.plan.warm_up * 2)
}

/// Fills in the keys, once in a whole bench; later rounds find the keys of the earlier ones as well.
pub fn fill_once(bench: &mut Bench) -> Outcome<()> {
    if bench.postgres.has_records(MANY)? {
        return Ok(());
    }
    let keys = bench.plan.keys;
    if keys < FULL {
        bench.book.note(format!(
            "{} live keys stood for the many; the goal, P9, is about {}",
            grouped(keys as f64),
            grouped(FULL as f64)
        ));
    }
    let fill = Fill {
        keys,
        result_bytes: RESULT_BYTES,
        age: Duration::ZERO,
        seed: bench.next_seed(),
    };
    bench.fill(MANY, &fill)
}
