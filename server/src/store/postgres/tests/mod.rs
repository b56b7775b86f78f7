//! Postgres, tried for real.

mod digests;
mod faults;
mod fences;
mod new;
mod plans;
mod rules;
mod schema;
mod speed;

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use semel_test_postgres::Cluster;

use super::*;
use crate::store::{
    ManualClock,
    testing::{self, START},
};

/// A database of its own on a server, and a store on it.
struct Fresh {
    cluster: &'static Cluster,
    database: String,
    clock: ManualClock,
    store: PostgresStore,
}

/// Makes an empty database on the shared server.
fn empty_database() -> (&'static Cluster, String) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let cluster = Cluster::shared().expect("a Postgres to test on");
    let name = format!("store_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    cluster.create_database(&name).unwrap();
    (cluster, name)
}

impl Fresh {
    async fn open() -> Self {
        let (cluster, database) = empty_database();
        let clock = ManualClock::at(START);
        let options = PostgresOptions {
            migrate: true,
            clock: Clock::Manual(clock.clone()),
            // Tests set the clock, and want to see the purge at once.
            purge_lag: Span::ZERO,
            ..PostgresOptions::new(cluster.url(&database))
        };
        let store = PostgresStore::open(&options).await.unwrap();
        Self {
            cluster,
            database,
            clock,
            store,
        }
    }

    /// Another server on the same database.
    async fn another(&self, clock: Clock) -> PostgresStore {
        let options = PostgresOptions {
            clock,
            // Tests set the clock, and want to see the purge at once.
            purge_lag: Span::ZERO,
            ..PostgresOptions::new(self.cluster.url(&self.database))
        };
        PostgresStore::open(&options).await.unwrap()
    }

    /// A connection with the settings of a session.
    async fn connection(&self, session: Session) -> sqlx::PgConnection {
        self.store.connector.open(session).await.unwrap()
    }

    /// One value, as the superuser sees it.
    fn ask(&self, sql: &str) -> String {
        let rows = self.cluster.query(&self.database, sql).unwrap();
        rows[0][0].clone().unwrap_or_default()
    }

    /// A statement without an answer, as the superuser.
    fn run(&self, sql: &str) {
        self.cluster.query(&self.database, sql).unwrap();
    }

    /// How many deadlocks there were, once the statistics have arrived.
    async fn deadlocks(&self) -> String {
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.ask("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    }
}

/// Enough batches of new keys that the next is taken for one.
async fn expect_new_keys(fresh: &Fresh) {
    for batch in 0..40 {
        testing::claim_all(&fresh.store, &testing::ids(&format!("new-{batch}"), 3)).await;
    }
}
