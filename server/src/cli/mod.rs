//! The command line: arguments to work to an exit code.

mod bench;
mod claim;
mod complete;
mod demo;
mod encoding;
mod exit;
mod fail;
mod lookup;
mod migrate;
mod numbers;
mod outcome;
mod parse;
mod payload;
mod remote;
mod report;
mod serve;

use std::io;

use clap::{Parser, Subcommand};

pub use exit::Exit;

/// Idempotency as a service: may I do this now, or has it been done?
#[derive(Debug, Parser)]
#[command(
    name = "semel",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = exit::HELP
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Serve(serve::Args),
    Migrate(migrate::Args),
    // The largest by far; the others need not be as large.
    Claim(Box<claim::Args>),
    Complete(complete::Args),
    Fail(fail::Args),
    Lookup(lookup::Args),
    Bench(Box<bench::Args>),
}

/// Runs the command line of this process.
pub fn run() -> Exit {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("semel: cannot start: {error}");
            return Exit::Failure;
        }
    };
    let exit = runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::run(args).await,
            Command::Serve(args) => serve::run(args).await,
            Command::Migrate(args) => migrate::run(args).await,
            Command::Claim(args) => claim::run(*args).await,
            Command::Complete(args) => complete::run(args).await,
            Command::Fail(args) => fail::run(args).await,
            Command::Lookup(args) => lookup::run(args).await,
            Command::Bench(args) => bench::run(*args).await,
        }
    });
    // Whatever is left, such as a name look-up under way, must not hold the exit up.
    runtime.shutdown_background();
    exit
}

/// Says what is wrong with the arguments, where clap could not know.
fn misused(problem: &str) -> Exit {
    eprintln!("semel: {problem}");
    Exit::Usage
}

/// Prints without the panic of `println!` when the reader is gone.
fn print_bytes(to: &mut dyn io::Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_command_comes_after_two_dashes_and_keeps_its_own_flags() {
        let line = "semel claim order-1 -n mail --wait 1m --on-failure terminal -- cp -n a b";
        assert!(parsed(line).is_ok());
        assert!(parsed("semel claim order-1").is_ok());
        assert!(parsed("semel claim order-1 cp").is_err());
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        for line in [
            "semel claim k --quiet",
            "semel claim k --on-failure retry",
            "semel claim k --json -- true",
            "semel claim k --fingerprint 00 --fingerprint-of f",
            "semel claim k --lease soon",
            "semel complete k",
            "semel complete k --token 01 --result a --result-file b",
            "semel fail k --token 01 --kind lost",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
