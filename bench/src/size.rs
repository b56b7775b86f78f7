//! The size report, `--size`: what many live keys and large results cost.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::json;

use crate::{
    Outcome,
    args::Args,
    bench::Bench,
    deletes::{Deletes, rate_of_change},
    fill::{self, Fill},
    load::{Load, Transport, Work},
    output::{self, aligned, grouped, short},
    plan::UNARY_CALLERS,
    postgres::{MANY, SEMEL},
    proc::Resident,
    stations::{many, pairs, purging},
};

/// Results whose way through Postgres is shown: in the page, nearly too large for that, beside it.
const SIZES: [(u64, &str); 3] = [
    (256, "session pair, 256 B"),
    (1_024, "session pair, 1 KiB"),
    (65_536, "session pair, 64 KiB"),
];
/// Keys that replays are spread over.
const REPLAYED: u64 = 100_000;
const CALLERS: u64 = 1_024;
/// Fewer, with large results: what is under way is held in memory three times over.
const CALLERS_OF_LARGE: u64 = 256;

/// One figure of the report.
#[derive(Debug, Serialize)]
struct Line {
    what: String,
    value: f64,
    unit: &'static str,
}

#[derive(Default)]
struct Lines(Vec<Line>);

impl Lines {
    fn put(&mut self, what: impl Into<String>, value: f64, unit: &'static str) {
        let what = what.into();
        self.0.push(Line { what, value, unit });
    }
}

/// Fills, measures and tells.
pub fn run(args: &Args) -> Outcome<()> {
    let started = Instant::now();
    let mut bench = Bench::start(args)?;
    output::announce(&bench);
    bench.book.next_round();
    let mut lines = Lines::default();
    keys(&mut bench, &mut lines)?;
    purge(&mut bench, &mut lines)?;
    results(&mut bench, &mut lines)?;
    close(&bench, &lines, started.elapsed())
}

/// Many live keys: their space, and claims and replays among them.
fn keys(bench: &mut Bench, lines: &mut Lines) -> Outcome<()> {
    let keys = bench.plan.keys;
    let filling = Instant::now();
    many::fill_once(bench)?;
    lines.put("live keys, completed, results of 64 B", keys as f64, "");
    lines.put("filling them in", filling.elapsed().as_secs_f64(), "s");
    space(bench, MANY, "a live key", lines)?;

    bench.postgres.settle()?;
    let server = bench.semel_on(MANY, &[])?;
    let among = format!("among {} keys", grouped(keys as f64));
    let load = many::load(bench);
    let claims = bench.load(&among, &server, &load, || Ok(()))?;
    lines.put(format!("Session claims {among}"), claims.rate, "/s");
    for (transport, callers) in [
        (Transport::Session, CALLERS),
        (Transport::Unary, UNARY_CALLERS),
    ] {
        let load = Load::new(transport, Work::Replays, callers)
            .over_duplicates(REPLAYED)
            .lasting(bench.plan.length, bench.plan.warm_up);
        let replays = bench.load(&among, &server, &load, || Ok(()))?;
        let what = format!(
            "{transport} replays of {} keys {among}",
            grouped(REPLAYED as f64)
        );
        lines.put(what, replays.rate, "/s");
    }
    if let Some(resident) = Resident::of(server.pid()) {
        lines.put("server, resident at most", resident.peak_mib, "MiB");
    }
    Ok(())
}

/// Bytes of each row of `records`, by where they are.
fn space(bench: &Bench, database: &str, of: &str, lines: &mut Lines) -> Outcome<()> {
    let sql = "SELECT (SELECT count(*) FROM records), \
               pg_relation_size(oid), \
               coalesce(pg_total_relation_size(nullif(reltoastrelid, 0)), 0), \
               (SELECT sum(pg_relation_size(indexrelid))::bigint FROM pg_index \
                WHERE indrelid = c.oid AND indisprimary), \
               (SELECT sum(pg_relation_size(indexrelid))::bigint FROM pg_index \
                WHERE indrelid = c.oid AND NOT indisprimary), \
               pg_total_relation_size(oid) \
               FROM pg_class AS c WHERE oid = 'records'::regclass";
    let [rows, table, toast, primary, other, all] = bench.postgres.numbers(database, sql)?;
    for (part, bytes) in [
        ("the table", table),
        ("TOAST", toast),
        ("the primary key", primary),
        ("other indexes", other),
        ("everything", all),
    ] {
        let each = bytes as f64 / rows.max(1) as f64;
        lines.put(format!("disk for {of}: {part}"), each, "B");
    }
    Ok(())
}

/// The purge among many live keys, alone and beside claims.
fn purge(bench: &mut Bench, lines: &mut Lines) -> Outcome<()> {
    let fill = Fill {
        keys: bench.plan.expired,
        result_bytes: 64,
        age: fill::expired_age(),
        seed: bench.next_seed(),
    };
    bench.fill(MANY, &fill)?;
    bench.postgres.settle()?;
    let mut deletes = Deletes::begin(&bench.postgres, MANY)?;
    let server = bench.semel_on(MANY, &[])?;
    let (started, length) = (Instant::now(), bench.plan.length);
    while started.elapsed() < length {
        deletes.look()?;
        thread::sleep(Duration::from_millis(50));
    }
    let alone = rate_of_change(deletes.since(Duration::ZERO));
    lines.put("rows purged, no load", alone.rate, "/s");
    let load = Load::new(Transport::Session, Work::Claims, CALLERS)
        .lasting(bench.plan.length, bench.plan.warm_up);
    let (claims, purged) = purging(bench, MANY, &server, &load)?;
    lines.put("rows purged, beside Session claims", purged, "/s");
    lines.put("Session claims, beside the purge", claims.rate, "/s");
    Ok(())
}

/// Completions with results of several sizes.
fn results(bench: &mut Bench, lines: &mut Lines) -> Outcome<()> {
    for (size, of) in SIZES {
        let callers = if size > 4_096 {
            CALLERS_OF_LARGE
        } else {
            CALLERS
        };
        let (report, hot) = pairs(bench, callers, size, of)?;
        lines.put(format!("{of}: pairs"), report.rate, "/s");
        lines.put(format!("{of}: HOT share of completions"), hot, "");
        let cost = bench.book.costs().find(|(name, _)| *name == of);
        if let Some(wal_bytes) = cost.and_then(|(_, cost)| cost.wal_bytes) {
            lines.put(format!("{of}: write-ahead log for a key"), wal_bytes, "B");
        }
        space(bench, SEMEL, &format!("a key, {of}"), lines)?;
    }
    Ok(())
}

fn close(bench: &Bench, lines: &Lines, took: Duration) -> Outcome<()> {
    let rows: Vec<_> = lines
        .0
        .iter()
        .map(|line| [line.what.clone(), short(line.value), line.unit.to_owned()])
        .collect();
    println!("\n{}", aligned(&rows, |column| column != 1));
    println!("{}", output::circumstances(bench));
    for note in bench.book.notes() {
        println!("Note: {note}.");
    }
    let report = json!({
        "machine": bench.machine,
        "took_s": took.as_secs_f64(),
        "figures": lines.0,
        "book": bench.book.to_json(),
    });
    let dir = output::target_dir()?;
    output::write_json(&dir, "size.json", &report)?;
    println!("Written to {}.", dir.join("size.json").display());
    Ok(())
}
