//! What may be said on the command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Parser, Subcommand};

use crate::goals;

/// Measure Semel beside its peers and judge it by its goals.
///
/// Starts servers of its own, on free ports and in temporary directories, and ends them. Exits with 1
/// when a goal is missed, or a figure is missing without a good reason. Results: target/bench/latest.json
/// (id, what, value, goal, met; goal and met are null where a measure is shown and not judged),
/// details.json (every run), throughput.svg and latency.svg.
#[derive(Debug, Parser)]
pub struct Args {
    /// Everything small and once, in under three minutes: to see that it works
    #[arg(long)]
    pub quick: bool,
    /// How often each measure runs [default: 3; with --quick 1]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub rounds: Option<u64>,
    /// Seconds of each run, after warming up [default: 4; with --quick 2]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: Option<u64>,
    /// Run only these measures, such as P1,P9
    #[arg(long, value_delimiter = ',', value_name = "ID", value_parser = goal_id)]
    pub only: Vec<String>,
    /// Live keys of P9 and of --size [default: 10,000,000; with --quick 500,000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub keys: Option<u64>,
    /// Live keys of --size in the embedded store [default: a tenth of --keys, up to 1,000,000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub embedded_keys: Option<u64>,
    /// The size report instead: what many keys and large results cost. With --keys 100000000, which
    /// are the most, it needs some 80 GB of disk and an hour
    #[arg(long)]
    pub size: bool,
    /// The `semel` binary [default: the one beside this program]
    #[arg(long, value_name = "PATH")]
    pub server: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the calls of Semel and do nothing, until killed (the peer of P4 and P6)
    #[command(hide = true)]
    NoopServer {
        /// Where to listen
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Take spans and keep none, until killed (for P13)
    #[command(hide = true)]
    Collector {
        /// Where to listen
        #[arg(long)]
        listen: SocketAddr,
    },
}

/// One measure's name, in capitals.
fn goal_id(text: &str) -> Result<String, String> {
    let id = text.trim().to_uppercase();
    match goals::measures().any(|measure| measure == id) {
        true => Ok(id),
        false => Err("must be one of P1 to P13".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_named_in_any_case_and_must_exist() {
        let args = Args::try_parse_from(["bench", "--only", "p1,P12"]).unwrap();
        assert_eq!(args.only, ["P1", "P12"]);
        assert!(Args::try_parse_from(["bench", "--only", "P14"]).is_err());
    }
}
