//! The purge beside claims: P11.
//!
//! Keys that expired a day ago wait in the table in all runs. In the first two the purge is turned off,
//! in the others it works: once beside half of the peak, once beside as many claims as can be made.
//! There the rates of both are compared, and at each load the claims' p99 with that without the purge.

use std::fs;

use super::{durable, latency};
use crate::{
    Outcome,
    bench::Bench,
    book::figure as f,
    deletes::{Deletes, rate_of_change},
    fill::{self, Fill},
    load::{Load, Report, Transport, Work},
    output::grouped,
    postgres::EXPIRED,
    server::Server,
};

/// Of the result of each expired key.
const RESULT_BYTES: usize = 64;
/// A count that stands still for so long at a run's end stands still for want of expired keys.
const DRY_AFTER_S: f64 = 2.0;

pub fn run(bench: &mut Bench) -> Outcome<()> {
    let peak = durable::peak(bench)?;
    top_up(bench)?;
    let dir = bench.data_dir()?;
    let config = dir.path().join("no-purge.toml");
    fs::write(&config, "purge_interval = \"0s\"\n")?;
    let config = config.display().to_string();

    let half = Load::new(
        Transport::Session,
        Work::Claims,
        latency::most_callers(bench),
    )
    .at(peak / 2.0)
    .lasting(bench.plan.length, bench.plan.warm_up);
    let full = Load::new(Transport::Session, Work::Claims, bench.plan.callers[0])
        .lasting(bench.plan.length, bench.plan.warm_up);
    for (load, p99_us) in [(&half, f::HALF_P99_QUIET_US), (&full, f::FULL_P99_QUIET_US)] {
        bench.postgres.settle()?;
        let server = bench.semel_on(EXPIRED, &["--config", &config])?;
        let quiet = bench.load("without the purge", &server, load, || Ok(()))?;
        bench.book.put(p99_us, quiet.p99_us);
        drop(server);
        bench.postgres.wait_until_left(EXPIRED)?;
    }

    bench.postgres.settle()?;
    let server = bench.semel_on(EXPIRED, &[])?;
    let deletes = Deletes::in_postgres(&bench.postgres, EXPIRED)?;
    let (beside, _) = purging(bench, deletes, &server, &half)?;
    bench.book.put(f::HALF_P99_BESIDE_PURGE_US, beside.p99_us);

    // The last run has taken most of them, and fillers and purge must not meet.
    drop(server);
    bench.postgres.wait_until_left(EXPIRED)?;
    top_up(bench)?;
    bench.postgres.settle()?;
    let server = bench.semel_on(EXPIRED, &[])?;
    let deletes = Deletes::in_postgres(&bench.postgres, EXPIRED)?;
    let (claimed, purged) = purging(bench, deletes, &server, &full)?;
    bench.book.put(f::CLAIMED_BESIDE_PURGE, claimed.rate);
    bench.book.put(f::FULL_P99_BESIDE_PURGE_US, claimed.p99_us);
    bench.book.put(f::PURGED, purged);
    Ok(())
}

/// A load while the purge works, and the rows that went meanwhile, a second.
pub fn purging(
    bench: &mut Bench,
    mut deletes: Deletes,
    server: &Server,
    load: &Load,
) -> Outcome<(Report, f64)> {
    let from = deletes.elapsed() + load.whole_length() - load.length();
    let report = bench.load("beside the purge", server, load, || deletes.look())?;
    let measured = deletes.since(from);
    let purged = rate_of_change(measured);
    eprintln!("    the purge took {} rows a second", grouped(purged.rate));
    bench.book.put_run("rows deleted, by second", measured);
    if purged.still_s > DRY_AFTER_S {
        bench.book.note(
            "the purge stood still before the end of a run: it was out of expired keys, or stuck",
        );
    }
    Ok((report, purged.rate))
}

/// Fills in as many expired keys as were purged since the last time.
fn top_up(bench: &mut Bench) -> Outcome<()> {
    let left = if bench.postgres.has_records(EXPIRED)? {
        let completed = "SELECT count(*) FROM records WHERE state = 2";
        let [left] = bench.postgres.numbers(EXPIRED, completed)?;
        left.unsigned_abs()
    } else {
        0
    };
    let keys = bench.plan.expired.saturating_sub(left);
    let fill = Fill {
        keys,
        result_bytes: RESULT_BYTES,
        age: fill::expired_age(),
        seed: bench.next_seed(),
    };
    bench.fill(EXPIRED, &fill)
}
