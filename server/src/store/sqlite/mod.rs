//! Keys in a file: SQLite inside the server.
//!
//! One connection writes, in WAL mode and with a sync at each commit; everything that writes goes
//! through it in turn. Another one reads. A lock on the data directory keeps a second server out:
//! two processes would each be right about the file and wrong about who is waiting for which key.

mod admin;
mod batches;
mod connection;
mod directory;
mod fault;
mod purge;
mod template;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::sync::Mutex;

use self::{
    connection::{Slot, reader, writer},
    directory::Directory,
};
use super::{
    Clock, Completion, Inserted, Loaded, NamespaceRow, OpenError, Purged, Store, StoreError, Swap,
    batch::Sorted, schema,
};
use crate::key::{KeyId, Namespace, NewRecord, PolicyId, Span, Timestamp};

/// Versions before it can corrupt the file when a WAL is reset while another connection reads.
const LEAST_VERSION: (&str, [u32; 3]) = ("3.51.3", [3, 51, 3]);

/// How long the disk may take to say that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
#[error("the write lock could not be had within {READY_TIMEOUT:?}; does the disk hang?")]
struct NotReady;

/// Keys in a file.
#[derive(Debug)]
pub struct SqliteStore {
    clock: Clock,
    write: Slot,
    read: Slot,
    /// Held until the store is closed.
    directory: Mutex<Option<Directory>>,
}

impl SqliteStore {
    /// Takes the data directory, which is made if it is missing, and brings the file in it up to
    /// this binary's schema.
    ///
    /// # Errors
    /// When another server has the directory, it cannot be written to, the file is not a database
    /// or a newer binary's, or the SQLite in this binary is one that corrupts files.
    pub async fn open(data_directory: impl AsRef<Path>, clock: Clock) -> Result<Self, OpenError> {
        let directory = Directory::take(data_directory.as_ref())?;
        let database = directory.database();
        let unusable = |error: sqlx::Error| unusable(&database, error);
        let options = writer(database.clone());
        let mut connection = options.connect().await.map_err(unusable)?;
        check_version(&mut connection)
            .await
            .map_err(|error| match error {
                VersionError::TooOld(error) => error,
                VersionError::Sql(error) => unusable(error),
            })?;
        schema::SQLITE.migrate(&mut connection).await?;
        Ok(Self {
            clock,
            write: Slot::with(options, connection),
            read: Slot::new(reader(database)),
            directory: Mutex::new(Some(directory)),
        })
    }
}

fn unusable(path: &Path, error: sqlx::Error) -> OpenError {
    OpenError::DatabaseFile {
        path: PathBuf::from(path),
        cause: Box::new(error),
    }
}

enum VersionError {
    TooOld(OpenError),
    Sql(sqlx::Error),
}

async fn check_version(connection: &mut SqliteConnection) -> Result<(), VersionError> {
    let found: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(connection)
        .await
        .map_err(VersionError::Sql)?;
    let (least, at_least) = LEAST_VERSION;
    if is_at_least(&found, at_least) {
        return Ok(());
    }
    Err(VersionError::TooOld(OpenError::SqliteTooOld {
        found,
        least,
    }))
}

fn is_at_least(version: &str, least: [u32; 3]) -> bool {
    let parts: Result<Vec<u32>, _> = version.split('.').map(str::parse).collect();
    parts.is_ok_and(|parts| parts >= least.to_vec())
}

#[async_trait]
impl Store for SqliteStore {
    fn engine(&self) -> &'static str {
        "sqlite"
    }

    fn lanes(&self) -> usize {
        1
    }

    async fn insert_if_absent(
        &self,
        _lane: usize,
        records: &[&NewRecord],
    ) -> Result<Vec<Option<Inserted>>, StoreError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let sorted = Sorted::new(records.iter().map(|record| &record.id))?;
        let write = batches::InsertIfAbsent { records, sorted };
        self.write.write(&self.clock, &write).await
    }

    async fn load(&self, _lane: usize, keys: &[&KeyId]) -> Result<Loaded, StoreError> {
        let read = batches::Load {
            clock: &self.clock,
            sorted: Sorted::new(keys.iter().copied())?,
        };
        self.read.read(&read).await
    }

    async fn complete_if_held(
        &self,
        _lane: usize,
        completions: &[Completion<'_>],
    ) -> Result<Vec<Option<Timestamp>>, StoreError> {
        if completions.is_empty() {
            return Ok(Vec::new());
        }
        let sorted = Sorted::new(completions.iter().map(|completion| completion.id))?;
        let write = batches::CompleteIfHeld {
            completions,
            sorted,
        };
        self.write.write(&self.clock, &write).await
    }

    async fn compare_and_swap(
        &self,
        _lane: usize,
        swaps: &[Swap<'_>],
    ) -> Result<Vec<bool>, StoreError> {
        if swaps.is_empty() {
            return Ok(Vec::new());
        }
        let sorted = Sorted::new(swaps.iter().map(|swap| swap.id))?;
        let write = batches::CompareAndSwap { swaps, sorted };
        self.write.write(&self.clock, &write).await
    }

    async fn purge(&self, limit: u32) -> Result<Purged, StoreError> {
        self.write.write(&self.clock, &purge::Purge { limit }).await
    }

    async fn ready(&self) -> Result<(), StoreError> {
        let asked = self.write.write(&self.clock, &admin::Ready);
        tokio::time::timeout(READY_TIMEOUT, asked)
            .await
            .map_err(|_| StoreError::unavailable(NotReady))?
    }

    async fn policies(&self) -> Result<Vec<(PolicyId, String)>, StoreError> {
        self.read.read(&admin::Policies).await
    }

    async fn namespaces(&self) -> Result<Vec<NamespaceRow>, StoreError> {
        self.read.read(&admin::Namespaces).await
    }

    async fn put_policy(&self, id: PolicyId, text: &str) -> Result<(), StoreError> {
        let write = admin::PutPolicy { id, text };
        self.write.write(&self.clock, &write).await
    }

    async fn put_namespace(
        &self,
        namespace: &Namespace,
        policy: PolicyId,
        remembered_until_now: Option<Span>,
    ) -> Result<(), StoreError> {
        let write = admin::PutNamespace {
            namespace,
            policy,
            remembered_until_now,
        };
        self.write.write(&self.clock, &write).await
    }

    async fn close(&self) {
        // The writer last: it moves the WAL into the file when it goes.
        self.read.close().await;
        self.write.close().await;
        self.directory.lock().await.take();
    }
}
