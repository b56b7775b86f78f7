//! The connection: how it is opened, and one transaction on it.

use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use super::{
    directory::Directory,
    fault::CallError,
    key_index::{KeyIndex, Keys},
};
use crate::store::StoreError;

/// What the connection is set to.
///
/// - `synchronous`: NORMAL would not sync the WAL at each commit, and could lose what was
///   acknowledged.
/// - `fullfsync`: on macOS a sync leaves what it wrote in the drive's cache, unless told so.
/// - `wal_autocheckpoint`: how many pages the WAL may hold before a commit moves them into the file:
///   32 MiB. Nothing is written meanwhile and nobody reads an old state, so the whole WAL is moved and
///   starts again from its beginning: that caps it, where a checkpoint beside a busy writer never sees
///   its end. Larger makes it rarer, and each longer.
/// - `journal_size_limit`: what the WAL's file is cut back to after it has grown beyond: 64 MiB.
/// - `cache_size`: 16 MiB of pages. The system caches the file anyway.
/// - `foreign_keys`: there are none, and SQLite is built to look for them.
const SETTINGS: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA checkpoint_fullfsync = ON;
    PRAGMA wal_autocheckpoint = 8000;
    PRAGMA journal_size_limit = 67108864;
    PRAGMA cache_size = -16384;
    PRAGMA temp_store = MEMORY;
    PRAGMA foreign_keys = OFF;
";

/// Nobody else writes, but for a backup by hand.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// All statements there are, so that each is prepared once.
const STATEMENTS: usize = 32;

/// A connection, and what it knows by heart.
pub(super) struct Opened {
    sql: Connection,
    index: KeyIndex,
}

impl Opened {
    /// `kept`: how many digests the index keeps in memory.
    pub(super) fn open(directory: &Directory, kept: usize) -> Result<Self, CallError> {
        // One thread has it.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let sql = Connection::open_with_flags(directory.database(), flags)?;
        sql.busy_timeout(BUSY_TIMEOUT)?;
        sql.execute_batch(SETTINGS)?;
        sql.set_prepared_statement_cache_capacity(STATEMENTS);
        let index = KeyIndex::read(&sql, kept)?;
        Ok(Self { sql, index })
    }

    /// Runs `work` in one transaction: all of it is durable, or none of it was done.
    pub(super) fn transact<T>(
        &mut self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>, &mut Keys<'_>) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let transaction = self.sql.transaction_with_behavior(behavior)?;
        let done = Keys::new(&transaction, &self.index)
            .map_err(CallError::from)
            .and_then(|mut keys| {
                let answer = work(&transaction, &mut keys)?;
                Ok((answer, keys.finish()?))
            });
        match done {
            Ok((answer, changes)) => match transaction.commit() {
                Ok(()) => {
                    self.index.apply(changes);
                    Ok(answer)
                }
                // Never a rejection: what it left in the WAL is unknown.
                Err(error) => Err(StoreError::unavailable(error).into()),
            },
            Err(error) => match transaction.rollback() {
                Ok(()) => Err(error),
                // Then the first error was no rejection, or this one is not.
                Err(rollback) => Err(StoreError::unavailable(rollback).into()),
            },
        }
    }

    pub(super) fn close(self) -> rusqlite::Result<()> {
        self.sql.close().map_err(|(_, error)| error)
    }
}

/// Makes the file, if it is missing, and brings it up to date; by the driver that has migrations.
pub(super) fn migrating(directory: &Directory) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(directory.database())
        .create_if_missing(true)
        .busy_timeout(BUSY_TIMEOUT)
        // As the file systems' blocks. Larger ones would make each row that lands in the middle of
        // an index write more to the WAL; smaller ones are no cheaper.
        .page_size(4096)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
}
