//! How long, how often and how large.

use std::time::Duration;

use crate::args::Args;

/// Lengths and sizes of a whole run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub quick: bool,
    pub rounds: u64,
    /// Of each run, measured.
    pub length: Duration,
    /// Of each run, before that.
    pub warm_up: Duration,
    /// Of runs whose figure settles soon: the steps of the latency chart, and memory.
    pub brief: Duration,
    /// Caller counts that are tried for a peak over Session; the better one counts.
    pub callers: Vec<u64>,
    /// Clients that pgbench is tried with; the best count counts. From too few to too many, so that
    /// the best is among them.
    pub pgbench_clients: Vec<u64>,
    /// Live keys of P9.
    pub keys: u64,
    /// Live keys in the embedded store, of the size report.
    pub embedded_keys: u64,
    /// Expired keys that wait for the purge of P11 before each of its runs.
    pub expired: u64,
    /// Measures to run; empty for all.
    only: Vec<String>,
}

/// HTTP/2 connections of a load with many callers.
pub const CONNECTIONS: u64 = 4;
/// Callers of the unary measures.
pub const UNARY_CALLERS: u64 = 64;
/// Length of a load's keys: about that of the keys which pgbench makes.
pub const KEY_BYTES: u64 = 25;
/// Length of the result of a Complete, unless a measure says otherwise.
pub const RESULT_BYTES: u64 = 256;
/// Completed keys that replays are spread over: several times as many as a server has hints of what
/// stands.
pub const REPLAYED_KEYS: u64 = 100_000;
/// Most keys in the embedded store, unless another number is asked for.
const MOST_EMBEDDED_KEYS: u64 = 1_000_000;

impl Plan {
    pub fn new(args: &Args) -> Self {
        let pick = |quick: u64, full: u64| if args.quick { quick } else { full };
        let seconds = args.seconds.unwrap_or(pick(2, 4));
        let keys = args.keys.unwrap_or(pick(500_000, 10_000_000));
        let length = Duration::from_secs(seconds);
        Self {
            quick: args.quick,
            rounds: args.rounds.unwrap_or(pick(1, 3)),
            length,
            warm_up: Duration::from_millis(pick(500, 2_000)),
            brief: length / 2,
            callers: if args.quick {
                vec![1_024]
            } else {
                vec![1_024, 4_096]
            },
            pgbench_clients: if args.quick {
                vec![16, UNARY_CALLERS]
            } else {
                vec![1, 16, 32, UNARY_CALLERS, 128]
            },
            keys,
            embedded_keys: args
                .embedded_keys
                .unwrap_or((keys / 10).clamp(1, MOST_EMBEDDED_KEYS)),
            // More than the highest rate that a purge was ever seen to reach here, for a whole run.
            expired: pick(120_000, 260_000) * (seconds + 2),
            only: args.only.clone(),
        }
    }

    /// Whether one of these measures is to run.
    pub fn wants(&self, measures: &[&str]) -> bool {
        self.only.is_empty() || measures.iter().any(|id| self.only.iter().any(|o| o == id))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn plan(flags: &[&str]) -> Plan {
        Plan::new(&Args::parse_from([&["bench"], flags].concat()))
    }

    #[test]
    fn quick_is_small_and_flags_beat_it() {
        let quick = plan(&["--quick"]);
        assert_eq!((quick.rounds, quick.keys), (1, 500_000));
        let flags = plan(&["--quick", "--rounds", "4", "--keys", "7", "--seconds", "5"]);
        assert_eq!((flags.rounds, flags.keys), (4, 7));
        assert_eq!(flags.length, Duration::from_secs(5));
        assert!(plan(&[]).rounds >= 3);
    }

    #[test]
    fn the_embedded_store_has_a_tenth_of_the_keys_up_to_a_million_unless_asked_for_more() {
        let keys = |flags: &[&str]| plan(flags).embedded_keys;
        assert_eq!(keys(&["--quick"]), 50_000);
        assert_eq!(keys(&["--keys", "100000000"]), 1_000_000);
        assert_eq!(keys(&["--keys", "1"]), 1);
        assert_eq!(keys(&["--embedded-keys", "5000000"]), 5_000_000);
    }

    #[test]
    fn the_peer_of_p2_has_as_many_clients_as_semel_has_callers() {
        for flags in [&[][..], &["--quick"]] {
            assert!(plan(flags).pgbench_clients.contains(&UNARY_CALLERS));
        }
    }

    #[test]
    fn a_station_runs_when_any_of_its_measures_is_wanted() {
        assert!(plan(&[]).wants(&["P3"]));
        let some = plan(&["--only", "P1,P3"]);
        assert!(some.wants(&["P2", "P3"]));
        assert!(!some.wants(&["P2", "P12"]));
    }
}
