//! The size report, `--size`: what many live keys and large results cost.

mod place;

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use self::place::{Place, table_space};
use crate::{
    Outcome,
    args::Args,
    bench::Bench,
    deletes::rate_of_change,
    fill::{self, Fill},
    load::{Load, Transport, Work},
    output::{self, aligned, grouped, short},
    plan::UNARY_CALLERS,
    postgres::SEMEL,
    proc::Resident,
    stations::{many, pairs, purging},
};

/// Results whose way through Postgres is shown: in the page, nearly too large for that, beside it.
const SIZES: [(u64, &str); 3] = [
    (256, "session pair, 256 B"),
    (1_024, "session pair, 1 KiB"),
    (65_536, "session pair, 64 KiB"),
];
/// Of the result of each of the many keys.
const RESULT_BYTES: u64 = 64;
const CALLERS: u64 = 1_024;
/// Fewer, with large results: what is under way is held in memory three times over.
const CALLERS_OF_LARGE: u64 = 256;
/// Expired keys of the embedded store at most.
const MOST_EXPIRED_EMBEDDED: u64 = 1_000_000;
/// A bucket of keys in which nothing was left to purge is looked at again within a minute.
const PURGE_BEGINS_WITHIN: Duration = Duration::from_secs(120);

/// One figure of the report.
#[derive(Debug, Serialize)]
struct Line {
    what: String,
    value: f64,
    unit: &'static str,
}

/// All of them.
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
    let expired = bench.plan.expired * 2;
    for (place, keys, expired) in [
        (Place::Postgres, bench.plan.keys, expired),
        (
            Place::Embedded(bench.data_dir()?),
            bench.plan.embedded_keys,
            expired.min(MOST_EXPIRED_EMBEDDED),
        ),
    ] {
        keys_in(&mut bench, &place, keys, &mut lines)?;
        purge_in(&mut bench, &place, expired, &mut lines)?;
    }
    results(&mut bench, &mut lines)?;
    close(&bench, &lines, started.elapsed())
}

/// Many live keys, completed by sessions: their space, and claims and replays among them.
fn keys_in(bench: &mut Bench, place: &Place, keys: u64, lines: &mut Lines) -> Outcome<()> {
    let name = place.name();
    let what = format!("{name}, {} keys", grouped(keys as f64));
    let replays = |transport, callers| {
        Load::new(transport, Work::Replays, callers)
            .over_duplicates(keys)
            .results_of(RESULT_BYTES)
    };
    let server = place.serve(bench)?;
    let filling = Instant::now();
    let seed = bench.next_seed();
    let (filling_in, _) = replays(Transport::Session, CALLERS).prepared_apart(seed);
    bench.load(&what, &server, &filling_in, || Ok(()))?;
    let took_s = filling.elapsed().as_secs_f64();
    let of = format!("{name}: live keys, completed, results of {RESULT_BYTES} B");
    lines.put(of, keys as f64, "");
    lines.put(format!("{name}: completing them by sessions"), took_s, "s");
    place.leave(bench, server)?;
    place.settle(bench)?;
    place.space(bench, keys, lines)?;

    let server = place.serve(bench)?;
    let claims = bench.load(&what, &server, &many::load(bench), || Ok(()))?;
    lines.put(
        format!("{name}: Session claims among them"),
        claims.rate,
        "/s",
    );
    for (transport, callers) in [
        (Transport::Session, CALLERS),
        (Transport::Unary, UNARY_CALLERS),
    ] {
        let (_, load) = replays(transport, callers)
            .lasting(bench.plan.length, bench.plan.warm_up)
            .prepared_apart(seed);
        let replays = bench.load(&what, &server, &load, || Ok(()))?;
        let of = format!("{name}: {transport} replays, of all of them");
        lines.put(of, replays.rate, "/s");
    }
    if let Some(resident) = Resident::of(server.pid()) {
        let of = format!("{name}: server, resident at most");
        lines.put(of, resident.peak_mib, "MiB");
    }
    place.leave(bench, server)
}

/// The purge among the live keys: from its first delete on, alone and then beside claims.
fn purge_in(bench: &mut Bench, place: &Place, expired: u64, lines: &mut Lines) -> Outcome<()> {
    let name = place.name();
    let fill = Fill {
        keys: expired,
        result_bytes: RESULT_BYTES as usize,
        age: fill::expired_age(),
        seed: bench.next_seed(),
    };
    place.fill(bench, &fill)?;
    bench.postgres.settle()?;
    let server = place.serve(bench)?;
    let mut deletes = place.deletes(bench, &server)?;
    deletes.wait_for_the_first(PURGE_BEGINS_WITHIN)?;
    let from = deletes.elapsed();
    deletes.watch(bench.plan.length)?;
    let alone = rate_of_change(deletes.since(from));
    let load = Load::new(Transport::Session, Work::Claims, CALLERS)
        .lasting(bench.plan.length, bench.plan.warm_up);
    let (claims, beside) = purging(bench, deletes, &server, &load)?;
    for (when, rate) in [("no load", alone.rate), ("beside Session claims", beside)] {
        if rate <= 0.0 {
            return Err(format!("{name}: the purge deleted nothing while watched, {when}").into());
        }
        lines.put(format!("{name}: rows purged, {when}"), rate, "/s");
    }
    let of = format!("{name}: Session claims, beside the purge");
    lines.put(of, claims.rate, "/s");
    place.leave(bench, server)
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
        table_space(bench, SEMEL, &format!("{of}: a key"), lines)?;
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
