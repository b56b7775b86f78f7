//! What a service would write without Semel: statements of its own, driven by pgbench.
//!
//! Generous to the peer where there is a choice: one index only, although something would have to
//! purge as well; the result is a constant of the prepared statement and never travels; pages keep
//! room, so that completing is a HOT update.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    Outcome, child,
    plan::RESULT_BYTES,
    postgres::{BY_HAND, Postgres},
    statistics::median,
};

const TABLE: &str = "CREATE TABLE claims (
    key text PRIMARY KEY,
    state smallint NOT NULL DEFAULT 1,
    owner text NOT NULL,
    fingerprint bytea NOT NULL DEFAULT '',
    claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_until timestamptz DEFAULT clock_timestamp() + interval '30 seconds',
    completed_at timestamptz,
    expires_at timestamptz,
    result bytea
) WITH (fillfactor = 70)";

/// Keys are as long as those of the other loads.
const CLAIM: &str = "\\set n random(1, 9000000000000000000)
INSERT INTO claims (key, owner) VALUES ('order-' || :n, 'worker') ON CONFLICT DO NOTHING;
";

/// The holder proves itself by its name and the state. Each statement is a transaction of its own,
/// with the work between the two in a real service.
const COMPLETE: &str = "UPDATE claims
SET state = 2, completed_at = clock_timestamp(), lease_until = NULL,
    expires_at = clock_timestamp() + interval '7 days', result = 'RESULT'
WHERE key = 'order-' || :n AND owner = 'worker' AND state = 1;
";

/// Beyond the length of a run.
const GRACE: Duration = Duration::from_secs(60);

/// What pgbench is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    Claims,
    /// A claim and its completion.
    Pairs,
}

impl Script {
    fn text(self) -> String {
        match self {
            Self::Claims => CLAIM.into(),
            Self::Pairs => {
                let result = format!("\\x{}", "72".repeat(RESULT_BYTES as usize));
                CLAIM.to_owned() + &COMPLETE.replace("RESULT", &result)
            }
        }
    }
}

/// A run to be made.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    pub script: Script,
    pub clients: u64,
    /// Measured time.
    pub length: Duration,
    /// Before that, by a run of its own that counts for nothing. pgbench knows whole seconds.
    pub warm_up: Duration,
    /// Whether each transaction's latency is written down. That takes time, so the rate of such a
    /// run is not the most that there is.
    pub logs: bool,
}

/// What a run came to.
pub struct Run {
    /// Transactions a second, each the whole script, without the time to connect.
    pub rate: f64,
    /// Median latency; of runs that log only.
    pub p50_us: Option<f64>,
    /// What pgbench printed.
    pub output: String,
}

/// The program, beside the server's own or on `PATH`.
pub fn find(postgres: &Postgres) -> Option<PathBuf> {
    let beside = postgres.cluster().bin_dir().join("pgbench");
    if beside.is_file() {
        return Some(beside);
    }
    crate::machine::on_path("pgbench")
}

pub fn prepare(postgres: &Postgres) -> Outcome<()> {
    postgres.run(BY_HAND, TABLE)
}

impl Job {
    /// Arguments of pgbench for so long.
    fn arguments(&self, file: &Path, length: Duration) -> Vec<String> {
        let seconds = length.as_secs_f64().ceil().max(1.0);
        vec![
            "--no-vacuum".into(),
            "--protocol=prepared".into(),
            // No more threads than clients, or it complains.
            format!("--jobs={}", self.clients.min(2)),
            format!("--client={}", self.clients),
            format!("--time={seconds}"),
            format!("--file={}", file.display()),
        ]
    }
}

/// Warms up and runs.
pub fn run(pgbench: &Path, postgres: &Postgres, job: &Job) -> Outcome<Run> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("script.sql");
    fs::write(&file, job.script.text())?;
    let pgbench_for = |length: Duration, more: &[String]| {
        let mut command = Command::new(pgbench);
        command
            .args(job.arguments(&file, length))
            .args(more)
            .arg(postgres.url(BY_HAND));
        child::run(&mut command, length + GRACE)?.successful("pgbench")
    };
    if !job.warm_up.is_zero() {
        pgbench_for(job.warm_up, &[])?;
    }
    let mut more = Vec::new();
    if job.logs {
        let prefix = dir.path().join("latency").display().to_string();
        more = vec!["--log".into(), "--log-prefix".into(), prefix];
    }
    let output = pgbench_for(job.length, &more)?;
    let rate = rate(&output).ok_or_else(|| format!("pgbench tells no rate:\n{output}"))?;
    let mut latencies = Vec::new();
    for entry in fs::read_dir(dir.path())? {
        let path = entry?.path();
        if path != file {
            latencies.extend(fs::read_to_string(path)?.lines().filter_map(latency_us));
        }
    }
    Ok(Run {
        rate,
        p50_us: median(&latencies),
        output,
    })
}

/// From `tps = 14021.123456 (without initial connection time)`.
fn rate(output: &str) -> Option<f64> {
    let line = output
        .lines()
        .find_map(|line| line.strip_prefix("tps = "))?;
    line.split_whitespace().next()?.parse().ok()
}

/// From a line of the log: client, transaction, latency in microseconds, and so on.
fn latency_us(line: &str) -> Option<f64> {
    line.split(' ').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_a_claim_and_its_completion_of_the_same_key() {
        let text = Script::Pairs.text();
        assert_eq!(text.matches(";\n").count(), 2, "two statements, no BEGIN");
        assert_eq!(text.matches("'order-' || :n").count(), 2);
        assert!(text.contains(&"72".repeat(256)) && !text.contains(&"72".repeat(257)));
    }

    #[test]
    fn pgbench_is_told_whole_seconds_and_no_more_threads_than_clients() {
        let job = |clients| Job {
            script: Script::Claims,
            clients,
            length: Duration::ZERO,
            warm_up: Duration::ZERO,
            logs: false,
        };
        let half = Duration::from_millis(1_500);
        let line = job(1).arguments(Path::new("f"), half).join(" ");
        assert!(
            line.contains("--jobs=1 --client=1 --time=2 --file=f"),
            "{line}"
        );
        let line = job(64).arguments(Path::new("f"), Duration::ZERO).join(" ");
        assert!(line.contains("--jobs=2 --client=64 --time=1 "), "{line}");
    }

    #[test]
    fn rate_and_latency_are_found_in_what_pgbench_prints() {
        let output = "pgbench (15.18)\nlatency average = 0.07 ms\n\
                      tps = 14021.25 (without initial connection time)\n";
        assert_eq!(rate(output), Some(14_021.25));
        assert_eq!(rate("pgbench: error"), None);
        assert_eq!(latency_us("0 199 2241 0 1175850568 995598"), Some(2_241.0));
        assert_eq!(latency_us("0 199 skipped 0 1175850568 995598"), None);
    }
}
