//! The arguments, and the settings that they make.

use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;

use super::keys::{Keys, NUMBER_BYTES, Results};
use super::mix::{Kind, Mix};
use super::percent::Percent;
use crate::cli::{Exit, exit, parse};

/// More would be a mistake, and times would no longer be exact.
const MOST_A_SECOND: u64 = 10_000_000;
/// What every server has as its limits.
const KEY_BYTES: i64 = 255;
const RESULT_BYTES: i64 = 4 * 1024 * 1024;
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Measure how much a server does, and how fast.
///
/// Claims keys in a namespace of their own and shows operations per second and latencies. With
/// --rate, operations come at that rate whether or not the server keeps up, as they do from users,
/// and latencies count from the time an operation was to be sent at: waiting for a slow server
/// counts. Without it, each caller sends the next operation when its last one was answered, which
/// shows the most the server can do. To size a machine, measure the peak first, and then the
/// latencies at half of it or less.
///
/// Every answer is checked. A run in which an operation failed, or was answered other than it must
/// be, says so and is not a success. The keys stay until their leases and retention are over: use a
/// server, or a namespace, that you can do without.
#[derive(Debug, clap::Args)]
#[command(after_long_help = after_help())]
pub(in crate::cli) struct Args {
    /// The server
    #[arg(
        long,
        env = "SEMEL_ADDRESS",
        value_name = "URL",
        default_value = "http://127.0.0.1:7420",
        help_heading = "Server and output"
    )]
    address: String,

    /// The namespace of the keys
    #[arg(
        long,
        short,
        value_name = "NAME",
        default_value = "bench",
        help_heading = "Server and output"
    )]
    namespace: String,

    /// Show one JSON object on standard output at the end
    #[arg(long, help_heading = "Server and output")]
    pub json: bool,

    /// Show no line each second on standard error
    #[arg(long, help_heading = "Server and output")]
    pub quiet: bool,

    /// How operations are sent: each as a call of its own, or many on a stream
    #[arg(long, value_name = "HOW", default_value = "session")]
    transport: Transport,

    /// Operations a second (an open loop), or `max`: as fast as the callers are answered (a closed
    /// loop)
    #[arg(long, value_name = "N|max", default_value = "max", value_parser = rate)]
    rate: Rate,

    /// Operations under way at most. In an open loop, those that find no place wait, and that
    /// counts as latency
    #[arg(long, value_name = "N", default_value_t = 64,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    callers: u32,

    /// HTTP/2 connections that the callers share
    #[arg(long, value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,

    /// How long to measure
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse::duration)]
    duration: Duration,

    /// How long to send operations before that
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse::duration)]
    warm_up: Duration,

    /// Operations that claim a fresh key [default: 100, or 0 with another kind]
    #[arg(long, value_name = "PERCENT", help_heading = "Operations")]
    new: Option<Percent>,

    /// Operations that claim a key that is completed, and must get its result [default: 0]
    #[arg(long, value_name = "PERCENT", help_heading = "Operations")]
    duplicate: Option<Percent>,

    /// Operations that claim a fresh key and complete it; the two calls are one operation
    /// [default: 0]
    #[arg(long, value_name = "PERCENT", help_heading = "Operations")]
    pair: Option<Percent>,

    /// Operations that claim, as another attempt, a key that this run has claimed lately: it must
    /// be in progress, or completed with its result. While there is none whose lease holds, one of
    /// the other kinds takes their place [default: 0]
    #[arg(long, value_name = "PERCENT", help_heading = "Operations")]
    repeat: Option<Percent>,

    /// Keys claimed last that --repeat draws from, all callers' together
    #[arg(long, value_name = "N", default_value_t = 100_000,
        value_parser = clap::value_parser!(u32).range(1..=10_000_000),
        help_heading = "Operations")]
    repeats: u32,

    /// Keys that are completed before the run, for --duplicate to draw from: on sessions, where
    /// the server has them
    #[arg(long, value_name = "N", default_value_t = 1_000,
        value_parser = clap::value_parser!(u64).range(1..=100_000_000),
        help_heading = "Operations")]
    duplicates: u64,

    /// Complete none of --duplicates now: an earlier run with the same namespace, --key-prefix,
    /// --seed and lengths has, by --duplicates or --preload-complete
    #[arg(long, requires_all = ["key_prefix", "seed"], help_heading = "Operations")]
    duplicates_stand: bool,

    /// Length of the keys
    #[arg(long, value_name = "N", default_value_t = 36,
        value_parser = clap::value_parser!(u16).range(16..=KEY_BYTES),
        help_heading = "Operations")]
    key_bytes: u16,

    /// Begin the keys with this, and make the same keys from the same seed again. Otherwise no two
    /// runs have a key in common
    #[arg(long, value_name = "TEXT", help_heading = "Operations")]
    key_prefix: Option<String>,

    /// Length of the results
    #[arg(long, value_name = "N", default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(0..=RESULT_BYTES),
        help_heading = "Operations")]
    result_bytes: u32,

    /// Where chance starts from: the same seed makes the same mix in the same order [default: any]
    #[arg(long, value_name = "N", help_heading = "Operations")]
    seed: Option<u64>,

    /// Claim so many fresh keys before the run, on sessions, as fast as it can
    #[arg(long, value_name = "N", help_heading = "Operations",
        value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    preload: Option<u64>,

    /// Complete the keys of --preload, too
    #[arg(long, requires = "preload", help_heading = "Operations")]
    preload_complete: bool,
}

/// How operations are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Transport {
    /// A call for each claim and completion
    Unary,
    /// A stream on each connection that carries them all
    Session,
}

impl Transport {
    pub fn name(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::Session => "session",
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Rate {
    Max,
    PerSecond(u64),
}

fn rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate::Max);
    }
    match text.parse() {
        Ok(rate @ 1..=MOST_A_SECOND) => Ok(Rate::PerSecond(rate)),
        _ => Err(format!("must be 1 to {MOST_A_SECOND}, or `max`")),
    }
}

fn after_help() -> String {
    let examples = "\
Examples:
  semel bench                                     the peak of new claims, on sessions
  semel bench --transport unary --callers 256     the same, with single calls
  semel bench --rate 20000 --callers 4096         latencies at 20,000 a second
  semel bench --new 80 --duplicate 15 --pair 5 --duration 1m
  semel bench --new 99.9 --repeat 0.1             one in a thousand comes twice
  semel bench --json --quiet | jq .latency_us.all.p99";
    let codes = exit::table(
        "every operation was answered as it must be",
        &[
            Exit::Failure,
            Exit::Usage,
            Exit::NotAllowed,
            Exit::Unavailable,
        ],
    );
    format!("{examples}\n\n{codes}\n 130  Ctrl-C ended it; what was measured by then is shown")
}

/// What a run is to do, checked.
#[derive(Debug)]
pub(super) struct Settings {
    pub address: String,
    pub namespace: String,
    pub transport: Transport,
    /// Operations a second; `None` in a closed loop.
    pub rate: Option<u64>,
    pub callers: usize,
    pub connections: usize,
    pub duration: Duration,
    pub warm_up: Duration,
    pub mix: Mix,
    /// Completed keys: they have the numbers from 0.
    pub duplicates: u64,
    /// Those keys are there already.
    pub duplicates_stand: bool,
    /// Keys claimed last that are claimed again; 0 where none are.
    pub repeats: usize,
    /// Keys to claim before the run: they have the numbers after those.
    pub preload: u64,
    pub preload_kind: Kind,
    pub key_bytes: usize,
    pub result_bytes: usize,
    pub seed: u64,
    pub keys: Arc<Keys>,
    pub results: Arc<Results>,
}

impl Args {
    /// Checks what clap could not.
    pub(super) fn check(self) -> Result<Settings, String> {
        let mix = Mix::new([self.new, self.duplicate, self.pair, self.repeat])?;
        if self.address.starts_with("https:") {
            return Err(format!(
                "--address {} asks for TLS, which this command does not speak; give an address such \
                 as http://127.0.0.1:7420",
                self.address
            ));
        }
        if self.duration.is_zero() || self.duration > LONGEST {
            return Err("--duration must be more than 0s and at most 24h".into());
        }
        if self.warm_up > LONGEST {
            return Err("--warm-up must be at most 24h".into());
        }
        let key_bytes = usize::from(self.key_bytes);
        if let Some(prefix) = &self.key_prefix
            && prefix.len() + NUMBER_BYTES > key_bytes
        {
            return Err(format!(
                "--key-prefix has {} bytes; {key_bytes} of --key-bytes, less {NUMBER_BYTES} for a \
                 number, are the most it can have",
                prefix.len()
            ));
        }
        // Short, because it may have to be typed.
        let seed = self.seed.unwrap_or_else(|| rand::random::<u32>().into());
        let result_bytes = self.result_bytes as usize;
        Ok(Settings {
            address: self.address,
            namespace: self.namespace,
            transport: self.transport,
            rate: match self.rate {
                Rate::Max => None,
                Rate::PerSecond(rate) => Some(rate),
            },
            callers: self.callers as usize,
            connections: self.connections.min(self.callers) as usize,
            duration: self.duration,
            warm_up: self.warm_up,
            mix,
            duplicates: if mix.has(Kind::Duplicate) {
                self.duplicates
            } else {
                0
            },
            duplicates_stand: self.duplicates_stand,
            repeats: if mix.has(Kind::Repeat) {
                self.repeats as usize
            } else {
                0
            },
            preload: self.preload.unwrap_or(0),
            preload_kind: if self.preload_complete {
                Kind::Pair
            } else {
                Kind::New
            },
            key_bytes,
            result_bytes,
            seed,
            keys: Keys::new(self.key_prefix.as_deref(), key_bytes, seed).into(),
            results: Results::new(result_bytes, seed).into(),
        })
    }
}

impl Settings {
    /// The number of the first key that the run itself claims.
    pub fn first_fresh(&self) -> u64 {
        self.duplicates + self.preload
    }

    /// A key to look at: the first one that was prepared, or else claimed.
    pub fn first_key(&self) -> String {
        self.keys.of(0)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use clap::{Args as _, FromArgMatches as _};

    use super::*;

    fn parsed(line: &str) -> Result<Args, clap::Error> {
        let command = Args::augment_args(clap::Command::new("bench"));
        let words = ["bench"].into_iter().chain(line.split_whitespace());
        Args::from_arg_matches(&command.try_get_matches_from(words)?)
    }

    pub fn settings(line: &str) -> Settings {
        let args = parsed(line).unwrap_or_else(|error| panic!("{error}"));
        args.check().unwrap_or_else(|problem| panic!("{problem}"))
    }

    #[test]
    fn what_is_not_said_is_a_closed_loop_of_new_claims_on_sessions() {
        let settings = settings("");
        assert_eq!(settings.transport, Transport::Session);
        assert_eq!(settings.rate, None);
        assert_eq!(settings.mix, Mix::only(Kind::New));
        assert_eq!((settings.callers, settings.connections), (64, 4));
        assert_eq!((settings.duplicates, settings.first_fresh()), (0, 0));
        assert_eq!(settings.repeats, 0);
        assert_eq!(settings.namespace, "bench");
    }

    #[test]
    fn prepared_keys_are_numbered_before_those_of_the_run() {
        let settings = settings("--duplicate 100 --duplicates 20 --preload 300 --callers 2");
        assert_eq!(settings.first_fresh(), 320);
        assert_eq!(settings.connections, 2, "none without a caller");
        assert_eq!(settings.preload_kind, Kind::New);
    }

    #[test]
    fn a_bad_argument_is_named_with_its_limit() {
        for (line, parts) in [
            ("--new 50 --pair 40", ["--new 50", "must make 100"]),
            ("--rate 0", ["--rate", "1 to 10000000"]),
            ("--rate 1.5", ["--rate", "or `max`"]),
            ("--callers 0", ["--callers", "1..=100000"]),
            ("--connections 0", ["--connections", "1..=1000"]),
            ("--key-bytes 15", ["--key-bytes", "16..=255"]),
            ("--key-bytes 256", ["--key-bytes", "16..=255"]),
            (
                "--key-prefix too-long-by-1 --key-bytes 18",
                ["--key-prefix has 13", "18 of --key-bytes"],
            ),
            ("--result-bytes 4194305", ["--result-bytes", "0..=4194304"]),
            ("--pair 101", ["--pair", "0 to 100"]),
            ("--repeat 0.0001", ["--repeat", "3 decimals"]),
            ("--repeat 100", ["--repeat 100", "add --new or --pair"]),
            (
                "--duplicate 100 --duplicates-stand",
                ["--key-prefix <TEXT>", "--seed <N>"],
            ),
            ("--duplicates 0", ["--duplicates", "1..="]),
            ("--duration 0s", ["--duration", "more than 0s"]),
            ("--duration 10", ["--duration", "500ms"]),
            ("--warm-up 25h", ["--warm-up", "at most 24h"]),
            ("--address https://semel:1", ["--address", "TLS"]),
            (
                "--preload-complete",
                ["--preload-complete", "--preload <N>"],
            ),
            ("--transport carrier", ["--transport", "unary, session"]),
        ] {
            let problem = match parsed(line) {
                Err(error) => error.to_string(),
                Ok(args) => args
                    .check()
                    .err()
                    .unwrap_or_else(|| panic!("{line} is fine")),
            };
            for part in parts {
                assert!(problem.contains(part), "{line}: no {part:?} in {problem}");
            }
        }
    }
}
