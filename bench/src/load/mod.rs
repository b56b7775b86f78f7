//! Load on a server, made by `semel bench` in a process of its own.

mod report;

use std::{fmt, path::Path, process::Command, time::Duration};

pub use report::Report;

use crate::{
    Outcome, child,
    output::grouped,
    plan::{CONNECTIONS, KEY_BYTES, REPLAYED_KEYS, RESULT_BYTES},
    server,
};

/// The namespace of every load: one that nobody configured.
pub const NAMESPACE: &str = "bench";

/// How much longer than its length a load may take, for answers that are under way at the end.
const GRACE: Duration = Duration::from_secs(60);
/// How long the preparation of a key may take, by a load that prepares some.
const PREPARING: Duration = Duration::from_micros(500);
/// What a load that only prepares measures, because each measures something.
const BRIEF: Duration = Duration::from_millis(200);
/// What keys begin with of which two loads have to know.
const PREFIX: &str = "replay-";

/// How the calls travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One HTTP/2 request each.
    Unary,
    /// Pipelined on a stream.
    Session,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unary => "unary",
            Self::Session => "session",
        })
    }
}

/// What each operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Claims a new key.
    Claims,
    /// Claims a key that was completed before.
    Replays,
    /// Claims a new key and completes it.
    Pairs,
}

/// One load.
#[derive(Debug, Clone)]
pub struct Load {
    transport: Transport,
    work: Work,
    callers: u64,
    /// Operations a second, started on time whether or not earlier ones were answered. Without it
    /// each caller starts its next operation when the last one was answered.
    rate: Option<f64>,
    result_bytes: u64,
    /// Of a thousand claims, those of a key that was claimed lately.
    repeats: u64,
    /// Completed keys of replays, and who completes them.
    duplicates: u64,
    duplicates_stand: bool,
    /// Where keys and chance come from; without it the run has one of its own.
    seed: Option<u64>,
    length: Duration,
    warm_up: Duration,
}

impl Load {
    pub fn new(transport: Transport, work: Work, callers: u64) -> Self {
        Self {
            transport,
            work,
            callers,
            rate: None,
            result_bytes: RESULT_BYTES,
            repeats: 0,
            duplicates: REPLAYED_KEYS,
            duplicates_stand: false,
            seed: None,
            length: Duration::from_secs(1),
            warm_up: Duration::ZERO,
        }
    }

    /// Measures for `length`, after `warm_up`.
    pub fn lasting(self, length: Duration, warm_up: Duration) -> Self {
        Self {
            length,
            warm_up,
            ..self
        }
    }

    /// An open loop at this many operations a second.
    pub fn at(self, rate: f64) -> Self {
        let rate = Some(rate.max(1.0).floor());
        Self { rate, ..self }
    }

    pub fn results_of(self, result_bytes: u64) -> Self {
        Self {
            result_bytes,
            ..self
        }
    }

    /// So many of a thousand claims are of keys that were claimed lately.
    pub fn repeating(self, per_mille: u64) -> Self {
        let repeats = per_mille.min(1_000);
        Self { repeats, ..self }
    }

    /// Replays of so many keys.
    pub fn over_duplicates(self, duplicates: u64) -> Self {
        Self { duplicates, ..self }
    }

    /// The load that completes the keys which this one is to replay, and what is left of this one. For
    /// both to have the same keys they have the same seed.
    pub fn prepared_apart(self, seed: u64) -> (Self, Self) {
        let seed = Some(seed);
        let load = Self { seed, ..self };
        let preparation = load.clone().lasting(BRIEF, Duration::ZERO);
        let duplicates_stand = true;
        (
            preparation,
            Self {
                duplicates_stand,
                ..load
            },
        )
    }

    /// The seed that it must have.
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    pub fn work(&self) -> Work {
        self.work
    }

    /// Measured time.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// Measured time and the warming up before it.
    pub fn whole_length(&self) -> Duration {
        self.warm_up + self.length
    }

    /// Arguments of `semel`.
    fn arguments(&self, address: &str, seed: u64) -> Vec<String> {
        let claims = 1_000 - self.repeats;
        let share = |work: Work, per_mille: u64| match self.work == work {
            true => format!("{}.{}", per_mille / 10, per_mille % 10),
            false => "0".into(),
        };
        let duration = |duration: Duration| format!("{}ms", duration.as_millis());
        let rate = self.rate.map_or("max".into(), |rate| format!("{rate}"));
        let flags = [
            ("--address", address.to_owned()),
            ("--namespace", NAMESPACE.to_owned()),
            ("--transport", self.transport.to_string()),
            ("--rate", rate),
            ("--callers", self.callers.to_string()),
            ("--connections", CONNECTIONS.min(self.callers).to_string()),
            ("--new", share(Work::Claims, claims)),
            ("--repeat", share(Work::Claims, self.repeats)),
            ("--duplicate", share(Work::Replays, 1_000)),
            ("--pair", share(Work::Pairs, 1_000)),
            ("--duplicates", self.duplicates.to_string()),
            ("--key-bytes", KEY_BYTES.to_string()),
            ("--result-bytes", self.result_bytes.to_string()),
            ("--duration", duration(self.length)),
            ("--warm-up", duration(self.warm_up)),
            ("--seed", seed.to_string()),
        ];
        let flags = flags
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value]);
        let mut arguments: Vec<_> = ["bench".to_owned()].into_iter().chain(flags).collect();
        if self.work == Work::Replays {
            arguments.extend(["--key-prefix".to_owned(), PREFIX.to_owned()]);
        }
        if self.duplicates_stand {
            arguments.push("--duplicates-stand".to_owned());
        }
        arguments.extend(["--json".to_owned(), "--quiet".to_owned()]);
        arguments
    }

    /// How long it may take at most.
    fn limit(&self) -> Duration {
        let keys = match self.work == Work::Replays && !self.duplicates_stand {
            true => u32::try_from(self.duplicates).unwrap_or(u32::MAX),
            false => 0,
        };
        self.whole_length() + GRACE + PREPARING * keys
    }

    /// Runs it with the binary `semel`; `tick` is called several times a second meanwhile.
    ///
    /// A `seed` of its own gives each run keys that no other run has.
    pub fn run(
        &self,
        semel: &Path,
        address: &str,
        seed: u64,
        tick: impl FnMut() -> Outcome<()>,
    ) -> Outcome<Report> {
        let mut command = server::without_settings(Command::new(semel));
        command.args(self.arguments(address, seed));
        let ended = child::run_watched(&mut command, self.limit(), tick)?;
        Report::from_run(&ended)
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let work = match self.work {
            Work::Claims => "claims",
            Work::Replays => "replays",
            Work::Pairs => "claim + complete",
        };
        let Self {
            transport, callers, ..
        } = self;
        write!(f, "{transport} {work}, {callers} callers")?;
        if self.work == Work::Replays {
            let keys = grouped(self.duplicates as f64);
            let doing = match self.duplicates_stand {
                true => "of",
                false => "preparing",
            };
            write!(f, ", {doing} {keys} keys")?;
        }
        if self.repeats > 0 {
            write!(f, ", {} in 1,000 repeated", self.repeats)?;
        }
        match self.rate {
            Some(rate) => write!(f, ", {rate}/s"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_told_to_semel_bench_flag_by_flag() {
        let load = Load::new(Transport::Session, Work::Pairs, 1_024)
            .lasting(Duration::from_secs(8), Duration::from_millis(500))
            .at(1_234.9)
            .results_of(64);
        let line = load.arguments("http://127.0.0.1:7", 42).join(" ");
        assert_eq!(
            line,
            "bench --address http://127.0.0.1:7 --namespace bench --transport session --rate 1234 \
             --callers 1024 --connections 4 --new 0 --repeat 0 --duplicate 0 --pair 100.0 \
             --duplicates 100000 --key-bytes 25 --result-bytes 64 --duration 8000ms --warm-up 500ms --seed 42 --json \
             --quiet"
        );
    }

    #[test]
    fn one_in_a_thousand_is_a_tenth_of_a_percent() {
        let load = Load::new(Transport::Session, Work::Claims, 1).repeating(1);
        let line = load.arguments("a", 1).join(" ");
        assert!(
            line.contains("--new 99.9 --repeat 0.1 --duplicate 0 "),
            "{line}"
        );
        assert!(load.to_string().ends_with("1 in 1,000 repeated"));
    }

    #[test]
    fn a_preparation_has_the_keys_of_the_load_that_it_is_for_and_longer_time() {
        let load = Load::new(Transport::Unary, Work::Replays, 64)
            .over_duplicates(1_000_000)
            .lasting(Duration::from_secs(8), Duration::from_secs(2));
        let (preparation, load) = load.prepared_apart(7);
        let lines = [&preparation, &load].map(|load| load.arguments("a", 7).join(" "));
        for line in &lines {
            assert!(line.contains("--duplicates 1000000 "), "{line}");
            assert!(line.contains("--seed 7 --key-prefix replay- "), "{line}");
        }
        assert!(!lines[0].contains("--duplicates-stand"));
        assert!(lines[1].contains("--duplicates-stand"));
        assert_eq!((preparation.seed(), load.seed()), (Some(7), Some(7)));
        assert_eq!(load.limit(), Duration::from_secs(70));
        assert!(preparation.limit() > Duration::from_secs(500));
    }

    #[test]
    fn a_single_caller_has_a_single_connection() {
        let load = Load::new(Transport::Unary, Work::Claims, 1);
        let line = load.arguments("a", 1).join(" ");
        assert!(
            line.contains("--rate max --callers 1 --connections 1"),
            "{line}"
        );
        assert_eq!(load.to_string(), "unary claims, 1 callers");
    }
}
