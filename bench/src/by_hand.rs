//! What a service would write without Semel: an insert-if-absent of its own, driven by pgbench.

use std::{io::Write as _, process::Command};

use semel_test_postgres::Cluster;

use crate::Outcome;

const TABLE: &str = "CREATE TABLE claims (
    key text PRIMARY KEY,
    state smallint NOT NULL DEFAULT 1,
    owner text NOT NULL,
    claimed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_until timestamptz NOT NULL DEFAULT clock_timestamp() + interval '30 seconds',
    result bytea
)";

const CLAIM: &str = "\\set n random(1, 9000000000000000000)
INSERT INTO claims (key, owner) VALUES ('order-' || :n, 'worker') ON CONFLICT DO NOTHING;
";

pub fn prepare(cluster: &Cluster) -> Outcome<()> {
    cluster.query("by_hand", TABLE)?;
    Ok(())
}

/// Claims per second.
pub fn claims(cluster: &Cluster, clients: usize, seconds: u64) -> Outcome<f64> {
    let mut script = tempfile::NamedTempFile::new()?;
    script.write_all(CLAIM.as_bytes())?;
    let output = Command::new(cluster.bin_dir().join("pgbench"))
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
        .arg(format!("--client={clients}"))
        .arg(format!("--time={seconds}"))
        .arg(format!("--file={}", script.path().display()))
        .arg(cluster.url("by_hand"))
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text.lines().find_map(|line| {
        line.strip_prefix("tps = ")?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    });
    match rate {
        Some(rate) if output.status.success() => Ok(rate),
        _ => Err(format!(
            "pgbench failed: {}",
            String::from_utf8_lossy(&output.stderr)
        )
        .into()),
    }
}
