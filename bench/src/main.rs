//! Semel beside the same work done otherwise, in turn and in the same minutes: `cargo xtask bench`.
//!
//! Every measure runs in each round, directly before or after its peer; medians over the rounds
//! and their ratios are judged by the goals P1 to P13 (`goals.rs`). A run with an error is no run,
//! and fails the measures that needed it. [`bench::Bench`] holds what runs, [`stations`] say what
//! is run, [`book::Book`] keeps what came of it, [`output`] and [`chart`] show it.

mod args;
mod bench;
mod book;
mod by_hand;
mod chart;
mod child;
mod collector;
mod deletes;
mod fill;
mod goals;
mod load;
mod machine;
mod meter;
mod noop;
mod output;
mod plan;
mod postgres;
mod proc;
mod redis;
mod server;
mod size;
mod stations;
mod statistics;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, Command};

/// The no-op server is to cost what Semel's own plumbing costs, and Semel uses this one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Nothing reacts to one kind of failure differently from another; each is told in a sentence.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.command {
        Some(Command::NoopServer { listen }) => noop::run(*listen).map(|()| true),
        Some(Command::Collector { listen }) => collector::run(*listen).map(|()| true),
        None if args.size => size::run(&args).map(|()| true),
        None => stations::run(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
