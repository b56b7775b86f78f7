//! What an error of sqlx says about the statement and about the connection.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::store::StoreError;

/// Why a call ended without an answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// Driver or server.
    Sql(sqlx::Error),
    /// The answer makes no sense, or the call did not; the connection is fine.
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

/// What follows from an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Rolled back because somebody was in the way: the same again may do.
    Again,
    /// Rolled back because of what was sent.
    Rejected,
    /// Nobody knows, or nothing can be done now; the connection is still good.
    Unavailable,
    /// Nobody knows, and the connection is of no more use.
    Disconnected,
}

pub(super) fn judge(error: &sqlx::Error) -> Verdict {
    match error {
        sqlx::Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
            Some(error) if ends_session(error.severity()) => Verdict::Disconnected,
            Some(error) => judge_code(error.code()),
            None => Verdict::Disconnected,
        },
        // Found before anything was sent.
        sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_) => Verdict::Rejected,
        // I/O and protocol, of course. But also an answer that could not be decoded: the rest of
        // it still waits on the wire, and what it answers has been committed.
        _ => Verdict::Disconnected,
    }
}

/// After such an error the server hangs up.
fn ends_session(severity: PgSeverity) -> bool {
    matches!(severity, PgSeverity::Fatal | PgSeverity::Panic)
}

/// An ErrorResponse to a statement in a transaction of its own says that it was rolled back,
/// except where the server is going down.
fn judge_code(code: &str) -> Verdict {
    match code {
        // Serialization failure, deadlock.
        "40001" | "40P01" => Verdict::Again,
        // Read-only: this is, or has become, a standby.
        "25006" => Verdict::Disconnected,
        // The server goes down, crashed, or is not up yet. Not 57014, our own statement_timeout.
        "57P01" | "57P02" | "57P03" | "57P04" | "57P05" => Verdict::Disconnected,
        // A prepared statement is gone or its plan's columns changed: a new connection heals it.
        "26000" | "0A000" => Verdict::Disconnected,
        _ => match code.get(..2) {
            Some("08") => Verdict::Disconnected,
            // Data, constraints, limits, statements that make no sense here, bugs in the server.
            Some("21" | "22" | "23" | "42" | "44" | "54" | "XX") => Verdict::Rejected,
            // Disk full, out of memory, too many connections, operator intervention, the rest.
            _ => Verdict::Unavailable,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_judged() {
        for (code, verdict) in [
            ("40001", Verdict::Again),
            ("40P01", Verdict::Again),
            ("40003", Verdict::Unavailable),
            ("25006", Verdict::Disconnected),
            ("57P01", Verdict::Disconnected),
            ("57P03", Verdict::Disconnected),
            ("57014", Verdict::Unavailable),
            ("08006", Verdict::Disconnected),
            ("53100", Verdict::Unavailable),
            ("53200", Verdict::Unavailable),
            ("55P03", Verdict::Unavailable),
            ("22021", Verdict::Rejected),
            ("23514", Verdict::Rejected),
            ("42P01", Verdict::Rejected),
            ("54000", Verdict::Rejected),
            ("XX000", Verdict::Rejected),
            ("58030", Verdict::Unavailable),
        ] {
            assert_eq!(judge_code(code), verdict, "{code}");
        }
    }

    #[test]
    fn an_answer_that_cannot_be_read_leaves_the_outcome_unknown() {
        let unreadable = sqlx::Error::Decode("odd".into());
        assert_eq!(judge(&unreadable), Verdict::Disconnected);
        let never_sent = sqlx::Error::Encode("odd".into());
        assert_eq!(judge(&never_sent), Verdict::Rejected);
    }
}
