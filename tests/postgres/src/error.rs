//! What can go wrong, said so that the reader knows what to do next.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::BIN_VARIABLE;

/// Why a PostgreSQL could not be found, fetched, run or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The environment names a directory that does not hold a PostgreSQL server.
    #[error("{BIN_VARIABLE} is {}, but there is no executable `{missing}` in it", dir.display())]
    BadBinDir {
        /// The directory named.
        dir: PathBuf,
        /// The first program that was looked for in vain.
        missing: &'static str,
    },

    /// A program that fetching needs is not installed.
    #[error("cannot fetch {package}: {reason}")]
    MissingProgram {
        /// What was to be fetched.
        package: String,
        /// Which program is missing, and what to do about it.
        reason: String,
    },

    /// A program that we ran said no.
    #[error("{what} failed ({status}):\n{output}")]
    Failed {
        /// What was being done.
        what: String,
        /// The program's exit status.
        status: String,
        /// The end of what it printed.
        output: String,
    },

    /// A fetched package does not hold what it used to.
    #[error("{package} was fetched, but holds no {}", missing.display())]
    UnexpectedLayout {
        /// The package and its version.
        package: String,
        /// The file that was looked for.
        missing: PathBuf,
    },

    /// We are root, PostgreSQL refuses to run as root, and there is nobody else.
    #[error(
        "PostgreSQL refuses to run as root, and this machine has none of the users {tried}; \
         run the tests as an ordinary user, or add one of those"
    )]
    NoUnprivilegedUser {
        /// The names that were looked for.
        tried: String,
    },

    /// The unprivileged user may not execute the server.
    #[error("user `{user}` (root may not run PostgreSQL) cannot execute {}: {source}", program.display())]
    Unreachable {
        /// The user that the server would run as.
        user: String,
        /// The program it cannot execute.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The server ended instead of getting ready.
    #[error("PostgreSQL did not start: {why}. The end of its log:\n{log}")]
    NotStarted {
        /// What was observed.
        why: String,
        /// The end of the server's log.
        log: String,
    },

    /// The server did not do in time what it was told to.
    #[error("PostgreSQL did not {what} within {limit:?}. The end of its log:\n{log}")]
    TooSlow {
        /// What it was told to do.
        what: &'static str,
        /// How long it was given.
        limit: Duration,
        /// The end of the server's log.
        log: String,
    },

    /// The server is not running: it was stopped or killed.
    #[error("PostgreSQL is not running")]
    NotRunning,

    /// The server answered a statement with an error.
    #[error("PostgreSQL answered {code}: {message}")]
    Statement {
        /// The SQLSTATE.
        code: String,
        /// The primary message.
        message: String,
    },

    /// The operating system said no.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Names what was being done when the system said no.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Like [`Error::io`], for an operation on one path.
    pub(crate) fn at(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::io(format!("cannot {verb} {}", path.display()))
    }
}
