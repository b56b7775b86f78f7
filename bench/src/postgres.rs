//! The one private Postgres that Semel and the work by hand share, each in databases of their own.

use std::{
    thread,
    time::{Duration, Instant},
};

use semel_test_postgres::{Cluster, Settings};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use tokio::runtime::Runtime;

use crate::{Outcome, machine};

/// Where Semel keeps the keys of most measures. Emptied before each run.
pub const SEMEL: &str = "semel";
/// Where the work by hand does. Emptied before each run.
pub const BY_HAND: &str = "by_hand";
/// Where Semel keeps the many keys of P9.
pub const MANY: &str = "many";
/// Where Semel keeps what the purge of P11 works on.
pub const EXPIRED: &str = "expired";

/// How long a run waits for a vacuum that an earlier one left behind.
const VACUUM_LIMIT: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A running cluster.
pub struct Postgres {
    cluster: Cluster,
    runtime: Runtime,
    settings: Vec<(&'static str, String)>,
}

impl Postgres {
    /// Starts it with the settings of a moderately sized server, and makes the databases.
    pub fn start() -> Outcome<Self> {
        let settings = settings(machine::memory_bytes());
        let mut chosen = Settings::new();
        for (name, value) in &settings {
            chosen = chosen.set(*name, value);
        }
        let postgres = Self {
            cluster: Cluster::start_with(chosen)?,
            runtime: tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?,
            settings,
        };
        for database in [SEMEL, BY_HAND, MANY, EXPIRED] {
            postgres.cluster.create_database(database)?;
        }
        Ok(postgres)
    }

    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What differs from Postgres's own defaults, the same for everybody.
    pub fn settings(&self) -> &[(&'static str, String)] {
        &self.settings
    }

    pub fn url(&self, database: &str) -> String {
        self.cluster.url(database)
    }

    /// For those who have futures to wait for.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Runs one statement.
    pub fn run(&self, database: &str, sql: &str) -> Outcome<()> {
        self.runtime.block_on(async {
            let mut connection = PgConnection::connect(&self.url(database)).await?;
            sqlx::raw_sql(AssertSqlSafe(sql))
                .execute(&mut connection)
                .await?;
            connection.close().await?;
            Ok(())
        })
    }

    /// The whole numbers of one row.
    pub fn numbers<const N: usize>(&self, database: &str, sql: &str) -> Outcome<[i64; N]> {
        self.runtime.block_on(async {
            let mut connection = PgConnection::connect(&self.url(database)).await?;
            let row = sqlx::query(AssertSqlSafe(sql))
                .fetch_one(&mut connection)
                .await?;
            connection.close().await?;
            let mut numbers = [0; N];
            for (at, number) in numbers.iter_mut().enumerate() {
                *number = row.try_get::<Option<i64>, _>(at)?.unwrap_or(0);
            }
            Ok(numbers)
        })
    }

    /// The server's own version.
    pub fn version(&self) -> Outcome<String> {
        let rows = self.cluster.query("postgres", "SHOW server_version")?;
        let version = rows.into_iter().flatten().flatten().next();
        Ok(version.ok_or("Postgres does not tell its version")?)
    }

    /// Bytes of write-ahead log since the cluster was made. Of all databases, so only one may work.
    pub fn wal_bytes(&self) -> Outcome<i64> {
        let [bytes] = self.numbers(
            "postgres",
            "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint",
        )?;
        Ok(bytes)
    }

    /// The same start for every run: empty tables, no vacuum under way that another run caused, and
    /// a checkpoint just done, so that none falls into one run and not into its peer's.
    pub fn settle(&self) -> Outcome<()> {
        if self.has_records(SEMEL)? {
            self.run(SEMEL, "TRUNCATE records")?;
        }
        self.run(BY_HAND, "TRUNCATE claims")?;
        let workers = "SELECT count(*) FROM pg_stat_activity \
                       WHERE backend_type = 'autovacuum worker'";
        let started = Instant::now();
        while self.numbers("postgres", workers)? != [0] {
            if started.elapsed() > VACUUM_LIMIT {
                eprintln!("    a vacuum of an earlier run goes on beside the next one");
                break;
            }
            thread::sleep(LOOK_EVERY);
        }
        self.run("postgres", "CHECKPOINT")
    }

    /// Whether a server, or a fill, has made Semel's tables in `database`.
    pub fn has_records(&self, database: &str) -> Outcome<bool> {
        let tables = "SELECT count(*) FROM pg_class WHERE relname = 'records'";
        Ok(self.numbers(database, tables)? == [1])
    }

    /// Waits until nobody is connected to `database`: then all that was done there is in its
    /// statistics.
    pub fn wait_until_left(&self, database: &str) -> Outcome<()> {
        let connected = format!(
            "SELECT count(*) FROM pg_stat_activity \
             WHERE datname = '{database}' AND backend_type = 'client backend'"
        );
        let started = Instant::now();
        while self.numbers("postgres", &connected)? != [0] {
            if started.elapsed() > VACUUM_LIMIT {
                return Err(format!("somebody stays connected to {database}").into());
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

/// A quarter of the machine's memory for its cache, as is the custom, and no more than a middling
/// server has. Checkpoints come when we ask for them: one that came by itself would fall on one side
/// of a comparison only.
fn settings(memory_bytes: Option<u64>) -> Vec<(&'static str, String)> {
    const MIB: u64 = 1024 * 1024;
    let quarter_mib = memory_bytes.map_or(512, |bytes| bytes / MIB / 4);
    vec![
        (
            "shared_buffers",
            format!("{}MB", quarter_mib.clamp(128, 2_048)),
        ),
        ("max_wal_size", "4GB".into()),
        ("checkpoint_timeout", "30min".into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_a_quarter_of_the_memory_up_to_a_middling_servers() {
        let of = |gib: u64| settings(Some(gib << 30))[0].1.clone();
        assert_eq!(of(4), "1024MB");
        assert_eq!(of(64), "2048MB");
        assert_eq!(settings(None)[0].1, "512MB");
    }
}
