//! An embedded file in a directory of its own.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use async_trait::async_trait;
use semel_server::store::{
    Clock, ManualClock, SharedStore,
    sqlite::{SqliteOptions, SqliteStore},
};
use tokio::sync::Mutex;

use crate::{Database, Engine};

/// SQLite, embedded. One process has the file, so all servers of a test share one store.
pub struct Sqlite {
    dir: tempfile::TempDir,
    store: Mutex<Option<SharedStore>>,
}

#[async_trait]
impl Engine for Sqlite {
    async fn create() -> Arc<dyn Database> {
        Arc::new(Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
            store: Mutex::default(),
        })
    }
}

#[async_trait]
impl Database for Sqlite {
    async fn open(&self, clock: &ManualClock) -> SharedStore {
        let mut open = self.store.lock().await;
        if let Some(store) = open.as_ref() {
            return store.clone();
        }
        let options = SqliteOptions {
            clock: Clock::Manual(clock.clone()),
            // So few that keys of every case are found in both parts of the index.
            newest_in_memory: 2,
        };
        let store = SqliteStore::open(self.dir.path(), options)
            .await
            .unwrap_or_else(|error| panic!("the store does not open: {error}"));
        let store: SharedStore = Arc::new(store);
        *open = Some(store.clone());
        store
    }

    async fn trace(&self) -> String {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(self.dir.path()).expect("the directory is there") {
            let path = entry.expect("the directory can be read").path();
            // The index of the log is shared memory: readers write their marks into it.
            if path.to_string_lossy().ends_with("-shm") {
                continue;
            }
            let content = fs::read(&path).expect("the file can be read");
            let mut hasher = DefaultHasher::new();
            content.hash(&mut hasher);
            files.insert(path, (content.len(), hasher.finish()));
        }
        files
            .into_iter()
            .fold(String::new(), |mut trace, (path, (len, hash))| {
                writeln!(trace, "{} {len} {hash:x}", path.display()).expect("a string takes it");
                trace
            })
    }

    async fn close(&self) {
        if let Some(store) = self.store.lock().await.take() {
            store.close().await;
        }
    }

    async fn remove(&self) {
        self.close().await;
    }
}
