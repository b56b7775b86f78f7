//! Semel beside the same work done by hand, on one private Postgres, in turn and in the same
//! minutes:
//!
//! ```text
//! cargo build --release -p semel-server && cargo run --release -p semel-bench
//! ```
//!
//! Each measure runs several times in turn with its peer; medians and their ratio are printed. A
//! run with an error is no run: it ends the program with code 1.

mod by_hand;
mod load;
mod server;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use semel_test_postgres::Cluster;

/// The load is to cost as little as it can of the processors it shares with the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measure Semel's unary claims beside pgbench's hand-written insert.
#[derive(Debug, Parser)]
struct Args {
    /// Callers, each with one call under way; pgbench gets as many clients
    #[arg(long, default_value_t = 64)]
    callers: usize,
    /// HTTP/2 connections that the callers share
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Seconds of each run, after one of warming up
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How often each measure runs
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Run only the measures whose names contain this
    #[arg(long, default_value = "")]
    only: String,
    /// The `semel` binary [default: the one beside this program]
    #[arg(long)]
    server: Option<PathBuf>,
}

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let cluster = Cluster::start()?;
    cluster.create_database("semel")?;
    cluster.create_database("by_hand")?;
    by_hand::prepare(&cluster)?;
    let binary = args
        .server
        .clone()
        .map_or_else(server::beside_this_program, Ok)?;
    let on_postgres = server::Server::start(&binary, &["--database-url", &cluster.url("semel")])?;
    let data_dir = tempfile::tempdir()?;
    let data_dir = data_dir.path().display().to_string();
    let on_sqlite = server::Server::start(&binary, &["--data-dir", &data_dir])?;

    let length = Duration::from_secs(args.seconds);
    let shape = load::Shape {
        callers: args.callers,
        connections: args.connections,
        length,
    };
    let measures: [(&str, Measure); 5] = [
        (
            "pgbench, insert by hand",
            Box::new(|_| by_hand::claims(&cluster, args.callers, args.seconds)),
        ),
        (
            "Semel on Postgres, claim",
            Box::new(|run| runtime.block_on(load::claims(on_postgres.address(), &shape, run))),
        ),
        (
            "Semel on Postgres, replay",
            Box::new(|run| runtime.block_on(load::replays(on_postgres.address(), &shape, run))),
        ),
        (
            "Semel on Postgres, claim + complete",
            Box::new(|run| runtime.block_on(load::pairs(on_postgres.address(), &shape, run))),
        ),
        (
            "Semel embedded, claim",
            Box::new(|run| runtime.block_on(load::claims(on_sqlite.address(), &shape, run))),
        ),
    ];
    println!(
        "{} callers over {} connections, {} rounds of {} s each",
        args.callers, args.connections, args.rounds, args.seconds
    );
    let measures: Vec<_> = measures
        .into_iter()
        .filter(|(name, _)| name.contains(&args.only))
        .collect();
    let mut rates = vec![Vec::new(); measures.len()];
    for round in 0..args.rounds {
        for (rates, (name, measure)) in rates.iter_mut().zip(&measures) {
            let rate = measure(round)?;
            println!("  round {}: {name}: {rate:.0}/s", round + 1);
            rates.push(rate);
        }
    }
    let medians: Vec<f64> = rates.iter_mut().map(|rates| median(rates)).collect();
    println!(
        "\n{:<38}{:>12}{:>16}",
        "median", "per second", "of pgbench's"
    );
    for ((name, _), median) in measures.iter().zip(&medians) {
        println!("{name:<38}{median:>12.0}{:>16.2}", median / medians[0]);
    }
    Ok(())
}

type Measure<'a> = Box<dyn Fn(usize) -> Outcome<f64> + 'a>;

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    let middle = rates.len() / 2;
    if rates.len() % 2 == 1 {
        rates[middle]
    } else {
        (rates[middle - 1] + rates[middle]) / 2.0
    }
}
