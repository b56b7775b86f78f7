//! What an error of SQLite says about the statement and about the connection.

use rusqlite::Error;

use crate::store::StoreError;

/// Why a call ended without an answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// Driver or engine.
    Sql(Error),
    /// The answer makes no sense, or the call did not.
    Store(StoreError),
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for CallError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl CallError {
    /// What it means for the caller.
    pub(super) fn judge(self) -> StoreError {
        match self {
            Self::Sql(error) if is_rejection(&error) => StoreError::rejected(error),
            Self::Sql(error) => StoreError::unavailable(error),
            Self::Store(error) => error,
        }
    }
}

/// Whether what was sent is to blame, and the engine is fine.
///
/// Everything else is disk, memory or the file: nobody can say what a COMMIT that failed on the
/// disk has left in the WAL, and the connection is replaced.
fn is_rejection(error: &Error) -> bool {
    const ERROR: i32 = 1;
    const TOO_BIG: i32 = 18;
    const CONSTRAINT: i32 = 19;
    const MISMATCH: i32 = 20;
    const RANGE: i32 = 25;
    match error {
        Error::ToSqlConversionFailure(_) => true,
        Error::SqliteFailure(failure, _) => {
            // The low byte of an extended code is the code.
            let code = failure.extended_code & 0xff;
            matches!(code, ERROR | TOO_BIG | CONSTRAINT | MISMATCH | RANGE)
        }
        _ => false,
    }
}
