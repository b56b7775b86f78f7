//! What can go wrong with a store: while it is opened, and in a call.

use std::{io, path::PathBuf};

/// An inner cause, for the log.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A failed store call.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store is away, or went away before it answered: what was written may stand or not.
    #[error("the store is unavailable, or went away before it answered: {0}")]
    Unavailable(#[source] Cause),
    /// The store refused the statement and rolled it back. One item may be to blame, so the others
    /// are worth sending again without it.
    #[error("the store refused the statement: {0}")]
    Rejected(#[source] Cause),
}

impl StoreError {
    /// The kind of failure, in a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Rejected(_) => "rejected",
        }
    }

    pub(super) fn unavailable(cause: impl Into<Cause>) -> Self {
        Self::Unavailable(cause.into())
    }

    pub(super) fn rejected(cause: impl Into<Cause>) -> Self {
        Self::Rejected(cause.into())
    }
}

/// Why a store could not be opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The database's address cannot be read.
    #[error("the database address is not one: {problem}; write postgres://user@host:5432/database")]
    BadAddress {
        /// What is wrong with it; never the address itself, which may hold a password.
        problem: String,
    },
    /// Nobody answered, or not in time.
    #[error(
        "cannot reach the database at {address}: {cause}; is it running, and is the address right?"
    )]
    Unreachable {
        /// Host, port and database.
        address: String,
        /// What happened.
        #[source]
        cause: Cause,
    },
    /// The server answered, and does not let us in.
    #[error(
        "the database at {address} refuses the connection: {cause}; check user, password, database \
         and what the server allows"
    )]
    Refused {
        /// Host, port and database.
        address: String,
        /// What the server said.
        #[source]
        cause: Cause,
    },
    /// The server is a standby or otherwise read-only.
    #[error(
        "the database at {address} is a standby in recovery and takes no writes; give the \
         address of the primary"
    )]
    Standby {
        /// Host, port and database.
        address: String,
    },
    /// The server does not promise to keep what it has acknowledged.
    #[error(
        "the database at {address} does not let synchronous_commit be `on` ({problem}); without it \
         acknowledged claims could be lost"
    )]
    NotDurable {
        /// Host, port and database.
        address: String,
        /// What it said, or what the setting is.
        problem: String,
    },
    /// There is no schema of ours.
    #[error("the database holds no Semel schema; run `semel migrate`")]
    SchemaMissing,
    /// The schema lacks migrations that this binary needs.
    #[error("the schema is at version {found} and this binary needs {known}; run `semel migrate`")]
    SchemaOlder {
        /// The database's version.
        found: i64,
        /// The binary's.
        known: i64,
    },
    /// A newer binary has migrated the schema.
    #[error(
        "the schema is at version {found} and this binary knows {known} only; run the newer \
         binary that migrated it, or restore the backup from before"
    )]
    SchemaNewer {
        /// The database's version.
        found: i64,
        /// The binary's.
        known: i64,
    },
    /// A migration was applied that is not the one in this binary.
    #[error(
        "migration {version} of the schema is not the one that this binary carries; was it built \
         from changed sources? Run the binary that made the schema"
    )]
    SchemaChanged {
        /// The migration's version.
        version: i64,
    },
    /// A migration was broken off half way.
    #[error(
        "migration {version} of the schema was broken off half way; restore the backup from before"
    )]
    SchemaDirty {
        /// The migration's version.
        version: i64,
    },
    /// A migration failed; it was rolled back.
    #[error("the schema could not be migrated, and stays as it was: {0}")]
    Migration(#[source] Cause),
    /// Another server has the data directory.
    #[error(
        "the data directory {path} is in use by another server{}; stop it, or give this one a \
         directory of its own",
        .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    Locked {
        /// The data directory.
        path: PathBuf,
        /// Who has it, if it says so.
        pid: Option<u32>,
    },
    /// The data directory cannot be made, or not be written to.
    #[error(
        "cannot use the data directory {path}: {cause}; it must be a directory that this user may write to"
    )]
    DataDirectory {
        /// The data directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The linked SQLite has a bug that corrupts files.
    #[error(
        "SQLite {found} can corrupt its file (the WAL-reset bug); build with the bundled one, or \
         with {least} or newer"
    )]
    SqliteTooOld {
        /// Its version.
        found: String,
        /// The least that will do.
        least: &'static str,
    },
    /// The file in the data directory cannot be opened as a database.
    #[error(
        "cannot open {path}: {cause}; is it a database of Semel, and is the disk sound and not full?"
    )]
    DatabaseFile {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        cause: Cause,
    },
}
