//! A repeat: prints what the command printed and exits as it did.

use std::io;

use semel_client::{Completed, Failed};

use super::stored::{Decoded, StoredRun};
use crate::cli::{Exit, parse::show_time, print_bytes};

/// The outcome of a key that is completed, as if the command had run.
pub(super) fn completed(key: &str, it: &Completed, is_quiet: bool) -> Exit {
    let when = it.completed_at.map(show_time).unwrap_or_default();
    match StoredRun::decode(&it.result) {
        Decoded::Run(run) => {
            note(
                is_quiet,
                &format!("{key} was done at {when}; this is its output, replayed"),
            );
            replay(&run)
        }
        Decoded::Foreign => {
            note(
                is_quiet,
                &format!("{key} was done at {when}, not by a command; its result:"),
            );
            let _ = print_bytes(&mut io::stdout(), &it.result);
            Exit::Success
        }
        Decoded::Newer => written_by_newer(key),
    }
}

/// The outcome of a key that failed for good, as if the command had run.
pub(super) fn failed(key: &str, it: &Failed, is_quiet: bool) -> Exit {
    let when = it.failed_at.map(show_time).unwrap_or_default();
    match StoredRun::decode(&it.result) {
        Decoded::Run(run) => {
            let what = format!("{key} failed for good at {when}; this is its output, replayed");
            note(is_quiet, &what);
            replay(&run)
        }
        Decoded::Foreign => {
            eprintln!(
                "semel: not run; {key} failed for good at {when}: {}",
                it.error
            );
            Exit::Failed
        }
        Decoded::Newer => written_by_newer(key),
    }
}

fn note(is_quiet: bool, what: &str) {
    if !is_quiet {
        eprintln!("semel: {what}");
    }
}

fn replay(run: &StoredRun) -> Exit {
    // Whoever closed the pipe has read enough; the exit code still tells how it ended.
    let _ = run.replay(&mut io::stdout(), &mut io::stderr());
    Exit::Code(run.exit_code)
}

fn written_by_newer(key: &str) -> Exit {
    eprintln!(
        "semel: {key} was done by a newer version of this program, whose output this one cannot \
         replay; `semel lookup` shows it"
    );
    Exit::Failure
}
