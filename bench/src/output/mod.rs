//! Telling how it came out: on the terminal, as JSON for programs, and as charts.

mod table;

use std::{fs, path::Path, time::Duration};

use serde_json::json;

pub use table::{aligned, grouped, short};

use crate::{
    Outcome,
    bench::Bench,
    chart,
    goals::{Judged, Line, MEASURES},
    plan::REPLAYED_KEYS,
};

/// Says what is about to happen, and under which circumstances.
pub fn announce(bench: &Bench) {
    let plan = &bench.plan;
    eprintln!("{}", circumstances(bench));
    eprintln!(
        "{} round(s), runs of {} s after {} s of warming up",
        plan.rounds,
        plan.length.as_secs(),
        plan.warm_up.as_secs_f64()
    );
    if bench.redis.is_none() {
        eprintln!("SKIPPING P5: redis-server and redis-benchmark are not installed");
    }
}

/// Prints and writes everything. Whether every goal is met.
pub fn close(bench: &Bench, took: Duration) -> Outcome<bool> {
    let judged: Vec<_> = MEASURES
        .iter()
        .filter(|measure| bench.plan.wants(&[measure.family()]))
        .map(|measure| Judged::new(measure, &bench.book, &bench.hindrances))
        .collect();
    println!();
    if bench.plan.quick {
        println!(
            "QUICK: short runs, once. They show that everything works, and no more than that.\n"
        );
    }
    print!("{}", table::goals(&judged));
    println!("\n{}", table::costs(&bench.book));
    println!("{}", circumstances(bench));
    for note in bench.book.notes() {
        println!("Note: {note}.");
    }
    println!("Took {:.0} min.", (took.as_secs_f64() / 60.0).ceil());

    let dir = target_dir()?;
    let lines: Vec<Line> = judged.iter().map(Judged::line).collect();
    write_json(&dir, "latest.json", &lines)?;
    write_json(&dir, "details.json", &details(bench, took))?;
    for (name, svg) in [
        ("throughput.svg", chart::throughput(&bench.book)),
        ("latency.svg", chart::latency(&bench.book)),
    ] {
        if let Some(svg) = svg {
            fs::write(dir.join(name), svg)?;
        }
    }
    println!("Written to {}.", dir.display());
    Ok(judged.iter().all(|judged| judged.verdict.is_fine()))
}

/// `target/bench`, made if it is not there.
pub fn target_dir() -> Outcome<std::path::PathBuf> {
    let dir = semel_test_postgres::tools::target_dir().join("bench");
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

pub fn write_json(dir: &Path, name: &str, value: &impl serde::Serialize) -> Outcome<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    Ok(fs::write(dir.join(name), text)?)
}

fn details(bench: &Bench, took: Duration) -> serde_json::Value {
    let plan = &bench.plan;
    let settings: serde_json::Map<_, _> = bench
        .postgres
        .settings()
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    let hindrances: serde_json::Map<_, _> = bench
        .hindrances
        .iter()
        .map(|(id, hindrance)| ((*id).to_owned(), json!(format!("{hindrance:?}"))))
        .collect();
    json!({
        "machine": bench.machine,
        "postgres_settings": settings,
        "parameters": {
            "quick": plan.quick,
            "rounds": plan.rounds,
            "length_s": plan.length.as_secs_f64(),
            "warm_up_s": plan.warm_up.as_secs_f64(),
            "session_callers": plan.callers,
            "pgbench_clients": plan.pgbench_clients,
            "replayed_keys": REPLAYED_KEYS,
            "keys": plan.keys,
            "expired_keys": plan.expired,
        },
        "took_s": took.as_secs_f64(),
        "hindrances": hindrances,
        "book": bench.book.to_json(),
    })
}

/// What everything ran on and how Postgres was set up.
pub fn circumstances(bench: &Bench) -> String {
    let machine = &bench.machine;
    let settings: Vec<_> = bench
        .postgres
        .settings()
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!(
        "{} × {}, {:.0} GiB, Linux {}, {}; Postgres {}{}. Load, servers and databases shared it.\n\
         Postgres, one for Semel and pgbench alike: fsync and synchronous_commit on, {}; before each \
         run an emptied table and a checkpoint.",
        machine.processors,
        machine.processor.as_deref().unwrap_or("unknown processor"),
        machine.memory_gib.unwrap_or(0.0),
        machine.kernel.as_deref().unwrap_or("?"),
        machine
            .file_system
            .as_deref()
            .unwrap_or("unknown file system"),
        machine.postgres,
        machine
            .redis
            .as_ref()
            .map_or(String::new(), |version| format!(", Redis {version}")),
        settings.join(", "),
    )
}
