//! The development commands of this repository.
//!
//! A fresh machine needs Rust, a C compiler and Python 3; what else the commands need,
//! they find on the machine or fetch into `target/tools`.

mod bench;
mod children;
mod dashboard;
mod failure;
mod lint;
mod postgres;
mod report;
mod step;
mod test;
mod webhooks;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The development commands of this repository.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every test of the workspace against real servers.
    Test(test::Options),
    /// Check formatting, clippy's lints and those of the wire contract.
    Lint,
    /// What CI runs: lint, then test.
    Ci,
    /// Measure Semel beside its peers and judge it by its goals; `--quick` for a small run.
    Bench(bench::Options),
    /// Run a private PostgreSQL until Ctrl-C.
    Postgres(postgres::Options),
    /// Make Grafana's dashboard from `deploy/dashboard.toml`.
    Dashboard(dashboard::Options),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Test(options) => test::run(&options),
        Command::Lint => lint::run(),
        Command::Ci => lint::run().and_then(|()| test::run(&test::Options::default())),
        Command::Bench(options) => bench::run(&options),
        Command::Postgres(options) => postgres::run(&options),
        Command::Dashboard(options) => dashboard::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
