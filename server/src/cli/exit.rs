//! Exit codes, the same for every command.

use std::fmt::Write as _;
use std::process::{ExitCode, Termination};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked to.
    Success,
    /// It failed in a way that has no code of its own.
    Failure,
    /// The command line, or a field that the server checks, is wrong.
    Usage,
    /// The configuration has problems; each is printed.
    Config,
    /// The address is taken or cannot be listened on.
    Listen,
    /// The database or data directory is away, or refuses us.
    Store,
    /// Another server has the data directory.
    Locked,
    /// The database's schema is newer than this binary, or older and not to be migrated.
    Schema,

    /// Another caller holds the claim.
    InProgress,
    /// The last attempt failed and the next may not start yet.
    BackingOff,
    /// It was done before.
    Completed,
    /// It failed for good before.
    Failed,
    /// Its attempts are used up.
    Dead,
    /// Nobody knows whether it was done.
    Uncertain,
    /// There is no such key.
    NotFound,

    /// The key stands for another request.
    Mismatch,
    /// The event is older than the namespace can remember.
    TooOld,
    /// The token no longer holds the claim.
    LeaseLost,
    /// The key is settled in another way.
    Settled,
    /// The credential is missing, wrong or not enough.
    NotAllowed,

    /// The server, or its store, could not be asked.
    Unavailable,
    /// The command ran, and that could not be recorded.
    NotRecorded,

    /// A code that is handed on, such as that of a command that was run.
    Code(u8),
}

impl Exit {
    /// The number that the process ends with.
    ///
    /// Below 10 it is about this process and its store, from 10 what stands under the key, from 20
    /// what the server refused, from 30 what nobody can tell.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            // What clap ends with, too.
            Self::Usage => 2,
            Self::Config => 3,
            Self::Listen => 4,
            Self::Store => 5,
            Self::Locked => 6,
            Self::Schema => 7,
            Self::InProgress => 10,
            Self::BackingOff => 11,
            Self::Completed => 12,
            Self::Failed => 13,
            Self::Dead => 14,
            Self::Uncertain => 15,
            Self::NotFound => 16,
            Self::Mismatch => 20,
            Self::TooOld => 21,
            Self::LeaseLost => 22,
            Self::Settled => 23,
            Self::NotAllowed => 24,
            Self::Unavailable => 30,
            Self::NotRecorded => 31,
            Self::Code(code) => code,
        }
    }

    /// What it says to the reader of a help text.
    fn meaning(self) -> &'static str {
        match self {
            Self::Success => "done",
            Self::Failure => "failed",
            Self::Usage => "wrong usage, or a field that the server refuses",
            Self::Config => "bad config",
            Self::Listen => "cannot listen",
            Self::Store => "store unavailable",
            Self::Locked => "data dir in use",
            Self::Schema => "schema does not fit",
            Self::InProgress => "in progress: another caller is at it",
            Self::BackingOff => "backing off: the last attempt failed, the next may not start yet",
            Self::Completed => "completed: it was done before",
            Self::Failed => "failed: it failed for good before",
            Self::Dead => "dead: its attempts are used up",
            Self::Uncertain => "uncertain: nobody knows whether it was done",
            Self::NotFound => "no such key",
            Self::Mismatch => "refused: the key stands for another request (fingerprints differ)",
            Self::TooOld => "refused: the event is older than the namespace remembers",
            Self::LeaseLost => "refused: another caller took the claim over",
            Self::Settled => "refused: the key is settled already, in another way",
            Self::NotAllowed => "refused: credentials missing, wrong or not enough",
            Self::Unavailable => "the server or its store could not be asked",
            Self::NotRecorded => "the command succeeded, and that could not be recorded",
            Self::Code(_) => "the code of the command that was run",
        }
    }
}

/// The codes, for the top `--help`.
pub const HELP: &str = "\
Exit codes:
  0  done             1  failed                  2  wrong usage
  3  bad config       4  cannot listen           5  store unavailable
  6  data dir in use  7  schema does not fit
Commands that ask a server have more, from 10; see their --help.";

/// A command's own codes, for its `--help`. `success` says what 0 means there.
pub(super) fn table(success: &str, exits: &[Exit]) -> String {
    let mut text = format!("Exit codes:\n   0  {success}");
    for exit in exits {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {:>2}  {}", exit.code(), exit.meaning());
    }
    text
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lists_code_and_meaning_in_columns() {
        let text = table("claimed", &[Exit::Failure, Exit::InProgress]);
        assert_eq!(
            text,
            "Exit codes:\n   0  claimed\n   1  failed\n  10  in progress: another caller is at it"
        );
    }
}
