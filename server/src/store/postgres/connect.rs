//! Connections: made in bounded time, to a primary only, with the session that a batch needs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, Row};

use super::PostgresOptions;
use crate::store::{Connections, OpenError, StoreError};

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Session {
    /// Batches of a lane.
    Lane,
    /// The purge.
    Sweep,
    /// The census.
    Census,
    /// Policies, namespaces, readiness.
    Admin,
    /// Migrations: they take as long as they take.
    Migration,
}

/// How long the server works on one statement. It ends the statement itself, so that no cancel
/// request is ever sent: one could make a commit that was not replicated yet look acknowledged.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the purge relies on: no insert may live longer than this allows.
const WITHOUT_FAIL: &str = "statement_timeout";

/// Settings of every session but a migration's. A server that does not know one is used without.
const COMMON: [(&str, &str); 4] = [
    // Milliseconds; STATEMENT_TIMEOUT.
    ("statement_timeout", "10000"),
    ("idle_in_transaction_session_timeout", "10000"),
    ("idle_session_timeout", "0"),
    // A client that vanished is noticed, and its locks released, within a minute.
    ("tcp_keepalives_idle", "30"),
];

/// A batch always is a nested loop: its rows in their order, a probe of the primary key for each. So
/// its plan does not tip over when statistics are old, and it takes its locks in the order of the
/// batch, which is that of the primary key. The statements' text does its part; see `load.sql`.
const LANE: [(&str, &str); 6] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    // Twice the work of a plain index scan for one row a probe.
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    // Switched-off plans have huge costs, which would bring the compiler in.
    ("jit", "off"),
];

/// The purge reads an index in its order, so it needs plain scans of it, and then goes to each row by
/// its address, in the order that it has brought them into: a nested loop.
const SWEEP: [(&str, &str); 6] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("jit", "off"),
];

/// The census reads a range of addresses. A scan of all would be right, too, and look cheaper where the
/// statistics are old; and helpers would take the processors from those who ask.
const CENSUS: [(&str, &str); 3] = [
    ("enable_seqscan", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("jit", "off"),
];

/// Makes connections.
#[derive(Debug)]
pub(super) struct Connector {
    options: PgConnectOptions,
    timeout: Duration,
    closed: AtomicBool,
    open: Arc<AtomicU64>,
    opened: AtomicU64,
    failed: AtomicU64,
}

/// A connection, counted for as long as it lives.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) connection: PgConnection,
    open: Open,
}

#[derive(Debug)]
struct Open(Arc<AtomicU64>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Live {
    /// Says goodbye to the server, within a second.
    pub(super) async fn hang_up(self) {
        hang_up(self.connection).await;
        drop(self.open);
    }
}

/// The store was closed.
#[derive(Debug, thiserror::Error)]
#[error("the store is closed")]
struct Closed;

#[derive(Debug, thiserror::Error)]
#[error("no answer within {0:?}")]
struct NoAnswer(Duration);

impl Connector {
    pub(super) fn new(options: &PostgresOptions) -> Result<Self, OpenError> {
        // sqlx takes any scheme, and what follows it for a name to show.
        if !["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| options.url.starts_with(scheme))
        {
            return Err(OpenError::BadAddress {
                problem: "it does not begin with postgres://".into(),
            });
        }
        let parsed: PgConnectOptions =
            options
                .url
                .parse()
                .map_err(|error: sqlx::Error| OpenError::BadAddress {
                    problem: match error {
                        sqlx::Error::Configuration(cause) => cause.to_string(),
                        // Others may quote the address, and so its password.
                        _ => "it cannot be read".into(),
                    },
                })?;
        Ok(Self {
            options: parsed
                .application_name("semel")
                // Calls are traced where they are made, without the text of statements.
                .disable_statement_logging(),
            timeout: options.connect_timeout,
            closed: AtomicBool::new(false),
            open: Arc::default(),
            opened: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    /// No more connections from now on.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// A connection for a call.
    pub(super) async fn connect(&self, session: Session) -> Result<Live, StoreError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(StoreError::unavailable(Closed));
        }
        match self.open(session).await {
            Ok(connection) => Ok(self.count(connection)),
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                Err(StoreError::unavailable(error))
            }
        }
    }

    /// Counts a connection in, that calls will be made on.
    pub(super) fn count(&self, connection: PgConnection) -> Live {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        Live {
            connection,
            open: Open(self.open.clone()),
        }
    }

    /// What became of all of them.
    pub(super) fn connections(&self) -> Connections {
        Connections {
            open: self.open.load(Ordering::Relaxed),
            opened: self.opened.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// A connection, with what is wrong in words for whoever starts the server.
    pub(super) async fn open(&self, session: Session) -> Result<PgConnection, OpenError> {
        match tokio::time::timeout(self.timeout, self.establish(session)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(OpenError::Unreachable {
                address: self.address(),
                cause: Box::new(NoAnswer(self.timeout)),
            }),
        }
    }

    async fn establish(&self, session: Session) -> Result<PgConnection, OpenError> {
        let mut connection = self.options.connect().await.map_err(|e| self.refused(e))?;
        // sqlx has no target_session_attrs. A standby may become the primary, and the other way
        // round, so each new connection is asked.
        let recovering: bool = sqlx::query_scalar("SELECT pg_is_in_recovery()")
            .fetch_one(&mut connection)
            .await
            .map_err(|e| self.refused(e))?;
        if recovering {
            return Err(OpenError::Standby {
                address: self.address(),
            });
        }
        self.be_durable(&mut connection).await?;
        let (common, own): (&[_], &[_]) = match session {
            Session::Lane => (&COMMON, &LANE),
            Session::Sweep => (&COMMON, &SWEEP),
            Session::Census => (&COMMON, &CENSUS),
            Session::Admin => (&COMMON, &[]),
            Session::Migration => (&[], &[]),
        };
        for (name, value) in common.iter().chain(own) {
            if let Err(error) = set(&mut connection, name, value).await {
                if !matches!(error, sqlx::Error::Database(_)) || *name == WITHOUT_FAIL {
                    return Err(self.refused(error));
                }
                tracing::info!(setting = name, %error, "the database does not know a setting; going on without it");
            }
        }
        Ok(connection)
    }

    /// Sees to it that a commit is on disk when it is acknowledged.
    async fn be_durable(&self, connection: &mut PgConnection) -> Result<(), OpenError> {
        let not_durable = |problem: String| OpenError::NotDurable {
            address: self.address(),
            problem,
        };
        for chance_to_set in [true, false] {
            let level: String = sqlx::query("SHOW synchronous_commit")
                .fetch_one(&mut *connection)
                .await
                .and_then(|row| row.try_get(0))
                .map_err(|error| not_durable(error.to_string()))?;
            match level.as_str() {
                // The second waits for standbys to apply as well: stronger, so it is left alone.
                "on" | "remote_apply" => return Ok(()),
                weaker if chance_to_set => {
                    tracing::info!(level = weaker, "raising synchronous_commit to `on`");
                    set(connection, "synchronous_commit", "on")
                        .await
                        .map_err(|error| not_durable(error.to_string()))?;
                }
                weaker => return Err(not_durable(format!("it stays `{weaker}`"))),
            }
        }
        Ok(())
    }

    fn refused(&self, error: sqlx::Error) -> OpenError {
        let address = self.address();
        let code = error.as_database_error().and_then(|error| error.code());
        // Not allowed in, no such database.
        let refused = code.is_some_and(|code| code.starts_with("28") || code == "3D000");
        let cause = Box::new(error);
        if refused {
            OpenError::Refused { address, cause }
        } else {
            OpenError::Unreachable { address, cause }
        }
    }

    /// Host, port and database: what may be shown.
    fn address(&self) -> String {
        let options = &self.options;
        let database = options.get_database().unwrap_or(options.get_username());
        match options.get_socket() {
            Some(socket) => format!("{}/{database}", socket.display()),
            None => format!("{}:{}/{database}", options.get_host(), options.get_port()),
        }
    }
}

async fn set(connection: &mut PgConnection, name: &str, value: &str) -> Result<(), sqlx::Error> {
    // Both come from the tables above; SET takes no parameters.
    let statement = format!("SET {name} = '{value}'");
    connection.execute(AssertSqlSafe(statement)).await.map(drop)
}

/// Says goodbye to the server, within a second.
pub(super) async fn hang_up(connection: PgConnection) {
    let _ = tokio::time::timeout(Duration::from_secs(1), connection.close()).await;
}
