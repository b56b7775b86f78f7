//! One step of a command: says what it does, does it, says how long it took.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::failure::Failure;

/// Does `work` under a line that names it and a line with its duration.
///
/// Everything goes to standard error, where cargo's own progress goes, so that the two
/// stay in order.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    eprintln!("==> {what}");
    let started = Instant::now();
    let done = work();
    let verdict = if done.is_ok() { "done" } else { "FAILED" };
    eprintln!(
        "<== {what}: {verdict} in {:.1} s",
        started.elapsed().as_secs_f64()
    );
    done
}

/// Runs `command` as a step of its own, with its output passed through.
pub(crate) fn run_step(what: &str, command: &mut Command) -> Result<(), Failure> {
    step(what, || {
        let program = command.get_program().to_string_lossy().into_owned();
        let status = command
            .status()
            .map_err(|error| Failure::new(format!("cannot run {program}: {error}")))?;
        if status.success() {
            Ok(())
        } else {
            Err(Failure::new(format!(
                "{what}: {program} ended with {status}"
            )))
        }
    })
}

/// The cargo that runs us, at the root of the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace_root());
    command
}

pub(crate) fn workspace_root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask lies in the workspace")
}

/// Where `program` is on `PATH`.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}
