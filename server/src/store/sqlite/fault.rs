//! What an error of SQLite says about the statement and about the connection.

use crate::store::StoreError;

/// Why a call ended without an answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// Driver or engine.
    Sql(sqlx::Error),
    /// The answer makes no sense, or the call did not.
    Store(StoreError),
}

impl From<sqlx::Error> for CallError {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for CallError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Whether what was sent is to blame, and the engine is fine.
///
/// Everything else is disk, memory or the file: nobody can say what a COMMIT that failed on the
/// disk has left in the WAL, and the connection is replaced.
pub(super) fn is_rejection(error: &sqlx::Error) -> bool {
    const ERROR: i32 = 1;
    const TOO_BIG: i32 = 18;
    const CONSTRAINT: i32 = 19;
    const MISMATCH: i32 = 20;
    const RANGE: i32 = 25;
    match error {
        sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_) => true,
        sqlx::Error::Database(error) => error
            .code()
            .and_then(|code| code.parse::<i32>().ok())
            // The low byte of an extended code is the code.
            .is_some_and(|code| {
                matches!(code & 0xff, ERROR | TOO_BIG | CONSTRAINT | MISMATCH | RANGE)
            }),
        _ => false,
    }
}
