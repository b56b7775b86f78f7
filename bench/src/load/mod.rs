//! Load on a server, made by `semel bench` in a process of its own.

mod report;

use std::{fmt, path::Path, process::Command, time::Duration};

pub use report::Report;

use crate::{
    Outcome, child,
    plan::{CONNECTIONS, DUPLICATES, KEY_BYTES, RESULT_BYTES},
    server,
};

/// The namespace of every load: one that nobody configured.
pub const NAMESPACE: &str = "bench";

/// How much longer than its length a load may take: preparing keys, and answers under way at the end.
const GRACE: Duration = Duration::from_secs(600);

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
    duplicates: u64,
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
            duplicates: DUPLICATES,
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

    pub fn over_duplicates(self, duplicates: u64) -> Self {
        Self { duplicates, ..self }
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
        let share = |work: Work| if self.work == work { "100" } else { "0" };
        let duration = |duration: Duration| format!("{}ms", duration.as_millis());
        let rate = self.rate.map_or("max".into(), |rate| format!("{rate}"));
        let flags = [
            ("--address", address.to_owned()),
            ("--namespace", NAMESPACE.to_owned()),
            ("--transport", self.transport.to_string()),
            ("--rate", rate),
            ("--callers", self.callers.to_string()),
            ("--connections", CONNECTIONS.min(self.callers).to_string()),
            ("--new", share(Work::Claims).to_owned()),
            ("--duplicate", share(Work::Replays).to_owned()),
            ("--pair", share(Work::Pairs).to_owned()),
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
        ["bench".to_owned()]
            .into_iter()
            .chain(flags)
            .chain(["--json".to_owned(), "--quiet".to_owned()])
            .collect()
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
        let ended = child::run_watched(&mut command, self.whole_length() + GRACE, tick)?;
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
             --callers 1024 --connections 4 --new 0 --duplicate 0 --pair 100 --duplicates 1000 \
             --key-bytes 25 --result-bytes 64 --duration 8000ms --warm-up 500ms --seed 42 --json \
             --quiet"
        );
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
