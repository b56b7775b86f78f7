//! The two connections: one that writes, one that reads.

use std::{path::PathBuf, time::Duration};

use sqlx::{
    ConnectOptions, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::sync::Mutex;

use super::fault::{CallError, is_rejection};
use crate::{
    key::Timestamp,
    store::{Clock, StoreError},
};

/// How many pages the WAL may hold before a commit moves them into the file: 16 MiB.
///
/// The writer does it itself. Nothing is written meanwhile and a reader's snapshot is one statement
/// old, so the whole WAL is moved and starts again from its beginning: that caps it, where a
/// checkpoint beside a busy writer never sees its end. Larger makes it rarer, and each longer.
const CHECKPOINT_PAGES: &str = "4000";

/// What the WAL's file is cut back to after it has grown beyond, in bytes.
const WAL_KEEP_BYTES: &str = "67108864";

/// Something that is written: one commit.
pub(super) trait Write: Sync {
    /// What it answers.
    type Answer: Send;

    /// Whether it is a single statement, which is a transaction by itself.
    fn is_one_statement(&self) -> bool;

    /// Runs it at `now`, the time since which the write lock is held.
    fn run(
        &self,
        connection: &mut SqliteConnection,
        now: Timestamp,
    ) -> impl Future<Output = Result<Self::Answer, CallError>> + Send;
}

/// Something that is read.
pub(super) trait Read: Sync {
    /// What it answers.
    type Answer: Send;

    /// Runs it.
    fn run(
        &self,
        connection: &mut SqliteConnection,
    ) -> impl Future<Output = Result<Self::Answer, CallError>> + Send;
}

/// A place for one connection, which is opened again after it failed.
#[derive(Debug)]
pub(super) struct Slot {
    options: SqliteConnectOptions,
    place: Mutex<Place>,
}

#[derive(Debug)]
enum Place {
    Open(SqliteConnection),
    /// Failed, or in use by a call that was dropped.
    Lost,
    Closed,
}

#[derive(Debug, thiserror::Error)]
#[error("the store is closed")]
struct Closed;

/// Options of the connection that writes.
pub(super) fn writer(database: PathBuf) -> SqliteConnectOptions {
    common(database)
        .create_if_missing(true)
        // As the file systems' blocks. Larger ones would make each row that lands in the middle of
        // an index write more to the WAL.
        .page_size(4096)
        .journal_mode(SqliteJournalMode::Wal)
        // NORMAL would not sync the WAL at each commit, and could lose what was acknowledged.
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("journal_size_limit", WAL_KEEP_BYTES)
}

/// Options of the connection that reads, so that duplicates do not wait for a writer's sync. A
/// read that starts after a commit was acknowledged sees it.
pub(super) fn reader(database: PathBuf) -> SqliteConnectOptions {
    common(database).read_only(true)
}

fn common(database: PathBuf) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(database)
        // Nobody else writes, but for a backup by hand.
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(false)
        .pragma("temp_store", "MEMORY")
        // An index of all records, made for one statement, is never what we want.
        .pragma("automatic_index", "OFF")
        // 16 MiB. The system caches the file anyway.
        .pragma("cache_size", "-16384")
        // A whole chunk's answer, so that the worker thread does not wait for us between rows.
        .row_buffer_size(64)
        .disable_statement_logging()
}

impl Slot {
    pub(super) fn new(options: SqliteConnectOptions) -> Self {
        Self {
            options,
            place: Mutex::new(Place::Lost),
        }
    }

    /// Puts a connection in that was opened elsewhere.
    pub(super) fn with(options: SqliteConnectOptions, connection: SqliteConnection) -> Self {
        Self {
            options,
            place: Mutex::new(Place::Open(connection)),
        }
    }

    pub(super) async fn read<R: Read>(&self, read: &R) -> Result<R::Answer, StoreError> {
        let mut place = self.place.lock().await;
        let mut connection = self.take(&mut place).await?;
        let outcome = read.run(&mut connection).await;
        settle(&mut place, connection, outcome).await
    }

    /// Writes, or leaves everything as it was.
    pub(super) async fn write<W: Write>(
        &self,
        clock: &Clock,
        write: &W,
    ) -> Result<W::Answer, StoreError> {
        // This process is the only writer and this the only connection that it writes with, so
        // whoever has the place has SQLite's write lock for the asking.
        let mut place = self.place.lock().await;
        let mut connection = self.take(&mut place).await?;
        let outcome = if write.is_one_statement() {
            write.run(&mut connection, clock.now_here()).await
        } else {
            transact(&mut connection, clock, write).await
        };
        settle(&mut place, connection, outcome).await
    }

    /// Takes the connection out while it is in use: if the call is dropped after all, so is the
    /// connection, and what it had begun is rolled back.
    async fn take(&self, place: &mut Place) -> Result<SqliteConnection, StoreError> {
        match std::mem::replace(place, Place::Lost) {
            Place::Open(connection) => Ok(connection),
            Place::Lost => self
                .options
                .connect()
                .await
                .map_err(StoreError::unavailable),
            Place::Closed => {
                *place = Place::Closed;
                Err(StoreError::unavailable(Closed))
            }
        }
    }

    /// Closes the connection after the call under way, for good.
    pub(super) async fn close(&self) {
        let place = std::mem::replace(&mut *self.place.lock().await, Place::Closed);
        if let Place::Open(connection) = place
            && let Err(error) = connection.close().await
        {
            // Every commit was synced; the WAL is taken up at the next start.
            tracing::warn!(%error, "the database could not be closed tidily");
        }
    }
}

async fn transact<W: Write>(
    connection: &mut SqliteConnection,
    clock: &Clock,
    write: &W,
) -> Result<W::Answer, CallError> {
    statement(connection, "BEGIN IMMEDIATE").await?;
    let answer = match write.run(connection, clock.now_here()).await {
        Ok(answer) => answer,
        Err(error) => {
            // If this fails too, the first error was no rejection, or this one is not.
            return match statement(connection, "ROLLBACK").await {
                Ok(()) => Err(error),
                Err(rollback) => Err(StoreError::unavailable(rollback).into()),
            };
        }
    };
    match statement(connection, "COMMIT").await {
        Ok(()) => Ok(answer),
        // Never a rejection: what it left in the WAL is unknown.
        Err(error) => Err(StoreError::unavailable(error).into()),
    }
}

async fn statement(
    connection: &mut SqliteConnection,
    sql: &'static str,
) -> Result<(), sqlx::Error> {
    sqlx::query(sql).execute(connection).await.map(drop)
}

/// Puts a connection back, or replaces it when it may be in the middle of something.
async fn settle<T>(
    place: &mut Place,
    connection: SqliteConnection,
    outcome: Result<T, CallError>,
) -> Result<T, StoreError> {
    let error = match outcome {
        Ok(answer) => {
            *place = Place::Open(connection);
            return Ok(answer);
        }
        Err(CallError::Sql(error)) if is_rejection(&error) => StoreError::rejected(error),
        Err(CallError::Sql(error)) => StoreError::unavailable(error),
        Err(CallError::Store(error)) => error,
    };
    match &error {
        StoreError::Rejected(_) => *place = Place::Open(connection),
        // Closing rolls back whatever is open. The next call opens another.
        StoreError::Unavailable(_) => drop(connection.close().await),
    }
    Err(error)
}
