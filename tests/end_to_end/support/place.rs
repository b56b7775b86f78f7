//! Where servers keep their keys.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use semel_test_postgres::Cluster;
use tempfile::TempDir;

/// An empty store, gone with its last owner (a database with its cluster).
#[derive(Clone)]
pub enum Place {
    /// A directory for the embedded store.
    Sqlite(Arc<TempDir>),
    /// A database.
    Postgres {
        /// The address, with its database.
        url: String,
    },
}

/// The engines that every server runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The embedded one.
    Sqlite,
    /// The private Postgres.
    Postgres,
}

impl Engine {
    /// An empty store of this engine.
    pub async fn place(self) -> Place {
        match self {
            Self::Sqlite => {
                let dir = tempfile::tempdir().expect("a directory can be made");
                Place::Sqlite(Arc::new(dir))
            }
            Self::Postgres => Place::database(shared_cluster().await).await,
        }
    }
}

impl Place {
    /// A new database of `cluster`.
    pub async fn database(cluster: &'static Cluster) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("end_to_end_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let url = cluster.url(&name);
        blocking(move || cluster.create_database(&name)).await;
        Self::Postgres { url }
    }

    /// The arguments of `semel serve` that name it.
    pub fn arguments(&self) -> [String; 2] {
        match self {
            Self::Sqlite(dir) => ["--data-dir".into(), dir.path().display().to_string()],
            Self::Postgres { url } => ["--database-url".into(), url.clone()],
        }
    }

    /// The database's address.
    pub fn url(&self) -> &str {
        match self {
            Self::Sqlite(_) => panic!("the embedded store has no address"),
            Self::Postgres { url } => url,
        }
    }
}

/// The private Postgres that these tests share. It is not to be broken.
pub async fn shared_cluster() -> &'static Cluster {
    let started = tokio::task::spawn_blocking(Cluster::shared).await;
    started
        .expect("no panic")
        .unwrap_or_else(|error| panic!("{error}"))
}

/// A Postgres to break. It goes with the process.
pub async fn own_cluster() -> &'static Cluster {
    Box::leak(Box::new(blocking(Cluster::start).await))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, semel_test_postgres::Error> + Send + 'static,
) -> T {
    let done = tokio::task::spawn_blocking(work).await.expect("no panic");
    done.unwrap_or_else(|error| panic!("{error}"))
}
