//! What is run in each round: stations, each of which serves some measures.

mod by_hand;
mod durable;
mod embedded;
mod latency;
pub mod many;
mod memory;
mod purge;
mod telemetry;
mod unary;

use std::time::Instant;

pub use durable::pairs;
pub use purge::purging;

use crate::{Outcome, args::Args, bench::Bench, goals::Hindrance, output};

/// Measures that are taken together, and how.
struct Station {
    serves: &'static [&'static str],
    run: fn(&mut Bench) -> Outcome<()>,
}

/// In such an order that peers follow one another.
const STATIONS: [Station; 11] = [
    Station {
        serves: &["P1", "P2", "P3", "P7"],
        run: by_hand::run,
    },
    Station {
        serves: &["P1", "P2", "P7"],
        run: durable::claims,
    },
    Station {
        serves: &["P3", "P10"],
        run: durable::completions,
    },
    Station {
        serves: &["P8"],
        run: latency::run,
    },
    Station {
        serves: &["P4"],
        run: unary::claims,
    },
    Station {
        serves: &["P6"],
        run: unary::replays,
    },
    Station {
        serves: &["P5"],
        run: embedded::run,
    },
    Station {
        serves: &["P9"],
        run: many::run,
    },
    Station {
        serves: &["P11"],
        run: purge::run,
    },
    Station {
        serves: &["P12"],
        run: memory::run,
    },
    Station {
        serves: &["P13"],
        run: telemetry::run,
    },
];

/// Runs everything that was asked for, and tells how it came out. Whether every goal is met.
pub fn run(args: &Args) -> Outcome<bool> {
    let started = Instant::now();
    let mut bench = Bench::start(args)?;
    output::announce(&bench);
    for round in 1..=bench.plan.rounds {
        eprintln!("round {round} of {}", bench.plan.rounds);
        bench.book.next_round();
        for station in &STATIONS {
            if !bench.plan.wants(station.serves) {
                continue;
            }
            // The others' figures are worth having, also for finding out what is wrong.
            if let Err(error) = (station.run)(&mut bench) {
                let why = format!("round {round}: {error}");
                eprintln!("  NO RUN: {why}");
                for id in station.serves {
                    bench.hindrances.insert(id, Hindrance::Failed(why.clone()));
                }
            }
        }
    }
    output::close(&bench, started.elapsed())
}
