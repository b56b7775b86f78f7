//! Keys in a file: SQLite inside the server.
//!
//! One connection, in WAL mode and with a sync at each commit, on a thread of its own (`slot.rs`).
//! Everything goes through it in turn: there is one lane, and it never looks while it writes. So the
//! index of the keys can be partly in memory (`key_index.rs`). A second connection to read with would have a cache of its own, empty after each commit. A lock on the data
//! directory keeps a second server out: two processes would each be right about the file and wrong
//! about who is waiting for which key.
//!
//! Two drivers share the one SQLite in this binary. sqlx has the migrations, as for Postgres; every
//! statement goes through rusqlite, which binds a row and steps it where sqlx sends each statement to
//! its thread and answers row by row.

mod admin;
mod batches;
mod census;
mod connection;
mod directory;
mod fault;
mod key_index;
mod load;
mod purge;
mod slot;
#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use rusqlite::{Transaction, TransactionBehavior};
use sqlx::{ConnectOptions, Connection};

use self::{
    batches::{OwnCompletion, OwnSwap},
    directory::Directory,
    fault::CallError,
    key_index::Keys,
    slot::Slot,
};
use super::{
    CensusPart, CensusPlace, Clock, Completed, Completion, Connections, Inserted, Loaded,
    NamespaceRow, OpenError, Purged, Store, StoreError, Swap, batch::Sorted, schema,
};
use crate::key::{KeyId, Namespace, NewRecord, PolicyId, Span, Timestamp};

/// Versions before it can corrupt the file when a WAL is reset while another connection reads.
const LEAST_VERSION: (&str, [u32; 3]) = ("3.51.3", [3, 51, 3]);

/// How long the disk may take to say that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
#[error("the write lock could not be had within {READY_TIMEOUT:?}; does the disk hang?")]
struct NotReady;

/// How the store works.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// Who tells the time.
    pub clock: Clock,
    /// How many of the newest keys are found in memory, before their places go to the index in the
    /// file. More make each claim cheaper and a start longer.
    pub newest_in_memory: usize,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            clock: Clock::Store,
            newest_in_memory: key_index::KEPT,
        }
    }
}

/// Keys in a file.
#[derive(Debug)]
pub struct SqliteStore {
    clock: Clock,
    /// Holds the data directory until it is closed.
    slot: Slot,
}

impl SqliteStore {
    /// Takes the data directory, which is made if it is missing, and brings the file in it up to
    /// this binary's schema.
    ///
    /// # Errors
    /// When another server has the directory, it cannot be written to, the file is not a database
    /// or a newer binary's, or the SQLite in this binary is one that corrupts files.
    pub async fn open(
        data_directory: impl AsRef<Path>,
        options: SqliteOptions,
    ) -> Result<Self, OpenError> {
        check_version(rusqlite::version())?;
        let directory = Arc::new(Directory::take(data_directory.as_ref())?);
        let unusable = |cause| OpenError::DatabaseFile {
            path: directory.database(),
            cause,
        };
        let mut migrating = connection::migrating(&directory)
            .connect()
            .await
            .map_err(|error| unusable(error.into()))?;
        schema::SQLITE.migrate(&mut migrating).await?;
        migrating
            .close()
            .await
            .map_err(|error| unusable(error.into()))?;

        let SqliteOptions {
            clock,
            newest_in_memory,
        } = options;
        let slot = Slot::start(directory.clone(), newest_in_memory)
            .map_err(|error| unusable(error.into()))?;
        slot.open().await.map_err(|error| match error {
            StoreError::Unavailable(cause) | StoreError::Rejected(cause) => unusable(cause),
        })?;
        Ok(Self { clock, slot })
    }

    /// Runs `work` in one transaction, at the time since which it has the write lock. This process is
    /// the only writer and has one connection, so the lock is there for the asking.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>, &mut Keys<'_>, Timestamp) -> Result<T, CallError>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let clock = self.clock.clone();
        let work = move |transaction: &Transaction<'_>, keys: &mut Keys<'_>| {
            work(transaction, keys, clock.now_here())
        };
        self.slot.run(TransactionBehavior::Immediate, work).await
    }

    /// Runs `work`, which only looks, in one transaction.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>, &mut Keys<'_>) -> Result<T, CallError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.slot.run(TransactionBehavior::Deferred, work).await
    }
}

fn check_version(found: &str) -> Result<(), OpenError> {
    let (least, at_least) = LEAST_VERSION;
    if is_at_least(found, at_least) {
        return Ok(());
    }
    Err(OpenError::SqliteTooOld {
        found: found.into(),
        least,
    })
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
        each_once(records.iter().map(|record| &record.id))?;
        let records: Vec<NewRecord> = records.iter().map(|record| (*record).clone()).collect();
        self.write(move |transaction, keys, now| {
            batches::insert_if_absent(transaction, keys, now, &records)
        })
        .await
    }

    async fn load(&self, _lane: usize, keys: &[&KeyId]) -> Result<Loaded, StoreError> {
        each_once(keys.iter().copied())?;
        let keys: Vec<KeyId> = keys.iter().map(|key| (*key).clone()).collect();
        let clock = self.clock.clone();
        self.read(move |transaction, index| load::load(transaction, index, clock.now_here(), &keys))
            .await
    }

    async fn complete_if_held(
        &self,
        _lane: usize,
        completions: &[Completion<'_>],
    ) -> Result<Vec<Option<Completed>>, StoreError> {
        if completions.is_empty() {
            return Ok(Vec::new());
        }
        each_once(completions.iter().map(|completion| completion.id))?;
        let completions: Vec<_> = completions.iter().map(OwnCompletion::from).collect();
        self.write(move |transaction, keys, now| {
            batches::complete_if_held(transaction, keys, now, &completions)
        })
        .await
    }

    async fn compare_and_swap(
        &self,
        _lane: usize,
        swaps: &[Swap<'_>],
    ) -> Result<Vec<bool>, StoreError> {
        if swaps.is_empty() {
            return Ok(Vec::new());
        }
        each_once(swaps.iter().map(|swap| swap.id))?;
        let swaps: Vec<_> = swaps.iter().map(OwnSwap::from).collect();
        self.write(move |transaction, keys, _| batches::compare_and_swap(transaction, keys, &swaps))
            .await
    }

    async fn purge(&self, limit: u32) -> Result<Purged, StoreError> {
        self.write(move |transaction, keys, now| purge::purge(transaction, keys, now, limit))
            .await
    }

    async fn census(&self, from: CensusPlace) -> Result<Option<CensusPart>, StoreError> {
        let clock = self.clock.clone();
        self.read(move |transaction, _| census::census(transaction, clock.now_here(), from))
            .await
            .map(Some)
    }

    fn connections(&self) -> Connections {
        self.slot.connections()
    }

    async fn ready(&self) -> Result<(), StoreError> {
        // That the write lock can be had. Nothing is written, so nothing is synced either.
        let asked = self.write(|_, _, _| Ok(()));
        tokio::time::timeout(READY_TIMEOUT, asked)
            .await
            .map_err(|_| StoreError::unavailable(NotReady))?
    }

    async fn policies(&self) -> Result<Vec<(PolicyId, String)>, StoreError> {
        self.read(|transaction, _| admin::policies(transaction))
            .await
    }

    async fn namespaces(&self) -> Result<Vec<NamespaceRow>, StoreError> {
        self.read(|transaction, _| admin::namespaces(transaction))
            .await
    }

    async fn put_policy(&self, id: PolicyId, text: &str) -> Result<(), StoreError> {
        let text = text.to_owned();
        self.write(move |transaction, _, _| admin::put_policy(transaction, id, &text))
            .await
    }

    async fn put_namespace(
        &self,
        namespace: &Namespace,
        policy: PolicyId,
        remembered_until_now: Option<Span>,
    ) -> Result<(), StoreError> {
        let namespace = namespace.clone();
        self.write(move |transaction, _, now| {
            admin::put_namespace(transaction, now, &namespace, policy, remembered_until_now)
        })
        .await
    }

    async fn close(&self) {
        self.slot.close().await;
    }
}

/// A key stands once in a batch. Nobody else has locks here to wait for, so its order is free.
fn each_once<'a>(ids: impl Iterator<Item = &'a KeyId>) -> Result<(), StoreError> {
    Sorted::new(ids).map(drop)
}
