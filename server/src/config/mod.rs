//! The server's configuration: defaults, file, environment and flags, to one checked [`Config`].
//!
//! Everything is read and checked before any port is bound, and all problems are told at once.
//! A flag beats its environment variable, which beats the file, which beats the default.

mod file;
mod policy;
mod section;

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use crate::{
    key::{Namespace, Policy},
    lanes::LaneSettings,
    net::NetSettings,
    purge::PurgeSettings,
    telemetry::TelemetrySettings,
};

/// The port that Semel listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 7420;
/// The port of metrics and health unless told otherwise.
pub const DEFAULT_HTTP_PORT: u16 = 7421;
/// Where the embedded store lives unless told otherwise.
pub const DEFAULT_DATA_DIR: &str = "./semel-data";

/// How often the keys are counted unless told otherwise.
const DEFAULT_CENSUS_INTERVAL: Duration = Duration::from_secs(15);

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `listen`: the address to serve on. Default `127.0.0.1:7420`.
    pub listen: SocketAddr,
    /// `http_listen`: the address of metrics, liveness and readiness over HTTP; `None` where it says
    /// `"off"`. Default `127.0.0.1:7421`.
    pub http_listen: Option<SocketAddr>,
    /// `show_keys`: whether spans and logs show keys as they are. Default no: a hash of them.
    /// `metrics`: whether anything is measured. Default yes. `max_metric_namespaces`: how many namespaces have metrics of their own. Default 100; the others
    /// are `_other`.
    pub telemetry: TelemetrySettings,
    /// `census_interval`: how often the keys are counted by state. Default 15 s; `0s` turns it off.
    pub census_interval: Duration,
    /// `database_url` or `data_dir`: where keys are kept.
    pub store: StoreConfig,
    /// `migrate`: whether `serve` brings a Postgres database's schema up to date. Default yes; the
    /// embedded store's always is.
    pub migrate: bool,
    /// `drain`: how long a stop waits for calls under way. Default 20 s.
    pub drain: Duration,
    /// `max_calls`: most calls of callers, and again of holders, under way at once; and as many
    /// commands of streams. Default 16,384.
    pub calls: usize,
    /// `max_connections`: most connections at once. Default 1,024.
    pub net: NetSettings,
    /// Bounds of the lanes: `max_waiters` (default 8,192, at most half of `max_calls`), `max_queue` per lane (default 4,096)
    /// and `max_batch` per commit (default 1,024).
    pub lanes: LaneSettings,
    /// `purge_interval`: rest of the purge when nothing is left to do. Default 1 s; `0s` turns it
    /// off.
    pub purge: PurgeSettings,
    /// `[defaults]`: the policy of namespaces that nobody configured. `None` where the file has no
    /// such table: then what the store has holds, or the built-in one.
    pub default_policy: Option<Policy>,
    /// `[namespaces.NAME]`: namespaces with policies of their own.
    pub namespaces: Vec<(Namespace, Policy)>,
}

/// Where keys are kept.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreConfig {
    /// An embedded SQLite file in this directory. Default `./semel-data`.
    Sqlite {
        /// The directory; made if it is not there.
        data_dir: PathBuf,
    },
    /// A Postgres database.
    Postgres {
        /// Its URL.
        url: String,
        /// `lanes`: connections that write. Default: as many as there are processors, 2 to 8.
        /// More suit a database that is far away; fewer make larger commits.
        lanes: usize,
    },
}

impl fmt::Debug for StoreConfig {
    /// A database URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { data_dir } => write!(f, "Sqlite({})", data_dir.display()),
            Self::Postgres { lanes, .. } => write!(f, "Postgres({lanes} lanes)"),
        }
    }
}

/// What flags and environment variables say. `None` where they say nothing.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--config`, `SEMEL_CONFIG`.
    pub config: Option<PathBuf>,
    /// `--listen`, `SEMEL_LISTEN`.
    pub listen: Option<String>,
    /// `--http-listen`, `SEMEL_HTTP_LISTEN`.
    pub http_listen: Option<String>,
    /// `--show-keys`, `SEMEL_SHOW_KEYS`.
    pub show_keys: bool,
    /// `--data-dir`, `SEMEL_DATA_DIR`.
    pub data_dir: Option<PathBuf>,
    /// `--database-url`, `SEMEL_DATABASE_URL`.
    pub database_url: Option<String>,
    /// `--allow-plaintext`, `SEMEL_ALLOW_PLAINTEXT`.
    pub allow_plaintext: bool,
    /// `--no-migrate`, `SEMEL_NO_MIGRATE`.
    pub no_migrate: bool,
}

/// Everything that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: a flag, or a key of the file.
    pub place: String,
    /// What is wrong, and what the limit is.
    pub problem: String,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "the configuration has {count} problem{plural}:")?;
        for Problem { place, problem } in &self.0 {
            write!(f, "\n  {place}: {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl Config {
    /// Reads the file, if one is named, and puts everything together.
    ///
    /// # Errors
    /// All problems at once.
    pub fn load(overrides: &Overrides) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let file = match &overrides.config {
            Some(path) => file::read(path, &mut problems),
            None => file::File::default(),
        };
        let config = Self::assemble(overrides, file, &mut problems);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(Problems(problems)),
        }
    }

    fn assemble(
        overrides: &Overrides,
        file: file::File,
        problems: &mut Vec<Problem>,
    ) -> Option<Self> {
        let listen = match &overrides.listen {
            Some(text) => file::parse_address(text)
                .map_err(|problem| {
                    problems.push(Problem {
                        place: "--listen".into(),
                        problem,
                    })
                })
                .ok(),
            None => Some(
                file.listen
                    .unwrap_or_else(|| (Ipv4Addr::LOCALHOST, DEFAULT_PORT).into()),
            ),
        };
        let allow_plaintext = overrides.allow_plaintext || file.allow_plaintext.unwrap_or(false);
        let http_listen = match &overrides.http_listen {
            Some(text) => file::parse_address_or_off(text)
                .map_err(|problem| {
                    problems.push(Problem {
                        place: "--http-listen".into(),
                        problem,
                    })
                })
                .ok(),
            None => Some(
                file.http_listen
                    .unwrap_or_else(|| Some((Ipv4Addr::LOCALHOST, DEFAULT_HTTP_PORT).into())),
            ),
        };
        for (place, address) in [("listen", listen), ("http_listen", http_listen.flatten())] {
            if let Some(address) = address
                && !address.ip().is_loopback()
                && !allow_plaintext
            {
                problems.push(Problem {
                    place: place.into(),
                    problem: format!(
                        "{address} can be reached from other machines, and Semel serves plaintext \
                         without authentication; add --allow-plaintext (allow_plaintext = true) if \
                         the network is yours alone"
                    ),
                });
            }
        }
        if let (Some(listen), Some(Some(http))) = (listen, http_listen)
            && listen == http
            && listen.port() != 0
        {
            problems.push(Problem {
                place: "http_listen".into(),
                problem: format!("must be another address than that of gRPC, is {http} too"),
            });
        }
        let store = store(overrides, &file, problems);
        let calls = file.max_calls.unwrap_or(16_384);
        let default_policy = policy::policy("defaults", &file.defaults, None, problems);
        // Where the defaults are wrong, the namespaces are still checked, against our own.
        let namespaces = policy::namespaces(&file.namespaces, default_policy.as_ref(), problems);
        Some(Self {
            listen: listen?,
            http_listen: http_listen?,
            telemetry: {
                let defaults = TelemetrySettings::default();
                TelemetrySettings {
                    show_keys: overrides.show_keys || file.show_keys.unwrap_or(defaults.show_keys),
                    metrics: file.metrics.unwrap_or(defaults.metrics),
                    namespaces: file.max_metric_namespaces.unwrap_or(defaults.namespaces),
                }
            },
            census_interval: file.census_interval.unwrap_or(DEFAULT_CENSUS_INTERVAL),
            store,
            migrate: !overrides.no_migrate && file.migrate.unwrap_or(true),
            drain: file.drain.unwrap_or(Duration::from_secs(20)),
            calls,
            net: NetSettings {
                connections: file
                    .max_connections
                    .unwrap_or(NetSettings::default().connections),
                ..NetSettings::default()
            },
            lanes: {
                let defaults = LaneSettings::default();
                LaneSettings {
                    queue: file.max_queue.unwrap_or(defaults.queue),
                    batch: file.max_batch.unwrap_or(defaults.batch),
                    waiters: waiters(&file, calls, problems),
                    ..defaults
                }
            },
            purge: {
                let defaults = PurgeSettings::default();
                PurgeSettings {
                    interval: file.purge_interval.unwrap_or(defaults.interval),
                    ..defaults
                }
            },
            default_policy: default_policy.filter(|_| !file.defaults.is_empty()),
            namespaces,
        })
    }
}

/// A Claim that waits is a call under way, so those that wait must leave room for others.
fn waiters(file: &file::File, calls: usize, problems: &mut Vec<Problem>) -> usize {
    let most = (calls / 2).max(1);
    let waiters = file
        .max_waiters
        .unwrap_or(LaneSettings::default().waiters.min(most));
    if waiters > most && file.max_waiters.is_some() {
        problems.push(Problem {
            place: "max_waiters".into(),
            problem: format!("must be at most half of max_calls ({calls}), is {waiters}"),
        });
    }
    waiters
}

/// Fewer lanes commit more together, more lanes wait for less. Measured with 64 callers on two
/// processors that Postgres shared: one lane 19,900 claims a second, two 22,400, four 19,600.
fn default_lanes() -> usize {
    std::thread::available_parallelism()
        .map_or(2, usize::from)
        .clamp(2, 8)
}

/// Flags beat the file; within either, naming both places is a contradiction.
fn store(overrides: &Overrides, file: &file::File, problems: &mut Vec<Problem>) -> StoreConfig {
    let mut both = |place: &str| {
        problems.push(Problem {
            place: place.into(),
            problem: "a database URL and a data directory exclude each other; name one".into(),
        });
    };
    let lanes = file.lanes.unwrap_or_else(default_lanes);
    let (url, data_dir) = match (&overrides.database_url, &overrides.data_dir) {
        (None, None) => {
            if file.database_url.is_some() && file.data_dir.is_some() {
                both("database_url");
            }
            (file.database_url.clone(), file.data_dir.clone())
        }
        (url, data_dir) => {
            if url.is_some() && data_dir.is_some() {
                both("--database-url");
            }
            (url.clone(), data_dir.clone())
        }
    };
    match url {
        Some(url) => {
            if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
                problems.push(Problem {
                    place: "database_url".into(),
                    problem: "must start with postgres:// or postgresql://".into(),
                });
            }
            StoreConfig::Postgres { url, lanes }
        }
        None => StoreConfig::Sqlite {
            data_dir: data_dir.unwrap_or(DEFAULT_DATA_DIR.into()),
        },
    }
}

#[cfg(test)]
mod tests;
