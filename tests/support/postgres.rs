//! A schema of its own in a Postgres, or in what speaks its protocol.

use std::{
    env,
    fmt::Write as _,
    process,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use semel_server::{
    key::Span,
    store::{
        Clock, ManualClock, SharedStore,
        postgres::{PostgresOptions, PostgresStore},
    },
};
use semel_test_postgres::Cluster;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use tokio::sync::Mutex;

use crate::{Database, Engine};

/// Postgres: the private one, or the one that `SEMEL_TEST_DATABASE_URL` names.
pub struct Postgres {
    /// The server's address, without our schema.
    base: String,
    schema: String,
    stores: Mutex<Vec<SharedStore>>,
}

/// Two, so that tests meet more than one and a server under test does not run out of connections.
const LANES: usize = 2;

/// The tables that hold what servers write.
const TABLES: [&str; 5] = ["records", "policies", "namespaces", "sweeps", "fence_floor"];

#[async_trait]
impl Engine for Postgres {
    async fn create() -> Arc<dyn Database> {
        Arc::new(Self::schema().await)
    }
}

impl Postgres {
    /// An empty schema.
    pub async fn schema() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static STARTED: LazyLock<u128> = LazyLock::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            since.unwrap_or_default().as_micros()
        });
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let schema = format!("semel_test_{:x}_{}_{number}", *STARTED, process::id());
        let database = Self {
            base: base_url().await,
            schema,
            stores: Mutex::default(),
        };
        database
            .execute(&format!("CREATE SCHEMA {}", database.schema))
            .await;
        database
    }

    /// The address that leads into this schema.
    pub fn url(&self) -> String {
        let separator = if self.base.contains('?') { '&' } else { '?' };
        let Self { base, schema, .. } = self;
        format!("{base}{separator}options=-c%20search_path%3D{schema}")
    }

    /// A connection into this schema, to look at what a store did.
    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url())
            .await
            .unwrap_or_else(|error| panic!("cannot connect to the test database: {error}"))
    }

    async fn execute(&self, statement: &str) {
        let mut connection = self.connect().await;
        connection
            .execute(AssertSqlSafe(statement.to_owned()))
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
        let _ = connection.close().await;
    }
}

#[async_trait]
impl Database for Postgres {
    async fn open(&self, clock: &ManualClock) -> SharedStore {
        let options = PostgresOptions {
            lanes: LANES,
            migrate: true,
            clock: Clock::Manual(clock.clone()),
            // Tests set the clock, and want to see the purge at once.
            purge_lag: Span::ZERO,
            ..PostgresOptions::new(self.url())
        };
        let store = PostgresStore::open(&options)
            .await
            .unwrap_or_else(|error| panic!("the store does not open: {error}"));
        let store: SharedStore = Arc::new(store);
        self.stores.lock().await.push(store.clone());
        store
    }

    async fn trace(&self) -> String {
        let mut connection = self.connect().await;
        let mut trace = String::new();
        for table in TABLES {
            // A new version has another place, and a row that was only locked another xmax.
            let sql = format!("SELECT ctid::text, xmin::text, xmax::text FROM {table} ORDER BY 1");
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection);
            for row in rows.await.expect("the tables are there") {
                let (place, made, locked): (String, String, String) =
                    (row.get(0), row.get(1), row.get(2));
                writeln!(trace, "{table} {place} {made} {locked}").expect("a string takes it");
            }
        }
        trace
    }

    async fn close(&self) {
        for store in self.stores.lock().await.drain(..) {
            store.close().await;
        }
    }

    async fn remove(&self) {
        self.close().await;
        // Whoever still holds a lock in there after a failed test is not waited for without end.
        let Self { schema, .. } = self;
        self.execute(&format!(
            "SET lock_timeout = '10s'; SET client_min_messages = warning; \
             DROP SCHEMA {schema} CASCADE"
        ))
        .await;
    }
}

async fn base_url() -> String {
    match env::var("SEMEL_TEST_DATABASE_URL") {
        Ok(url) if !url.is_empty() => url,
        _ => tokio::task::spawn_blocking(|| {
            let cluster = Cluster::shared().unwrap_or_else(|error| panic!("{error}"));
            cluster.url("postgres")
        })
        .await
        .expect("the private Postgres starts"),
    }
}
