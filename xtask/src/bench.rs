//! `cargo xtask bench`: builds what is measured and what measures, and runs it.

use std::ffi::OsString;
use std::process::Command;

use clap::Args;
use semel_test_postgres::{BIN_VARIABLE, tools};

use crate::failure::Failure;
use crate::postgres::Choice;
use crate::step::{cargo, run_step, step};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    postgres: Choice,
    /// What `semel-bench` is to be told; `-- --help` shows it.
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "FLAGS"
    )]
    flags: Vec<OsString>,
}

/// Both programs are built in one go, so that they share one set of dependencies, and with the
/// release profile: what is measured is what is shipped.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let postgres = options.postgres.find()?;
    run_step(
        "build",
        cargo().args([
            "build",
            "--release",
            "-p",
            "semel-server",
            "-p",
            "semel-bench",
        ]),
    )?;
    let program = tools::target_dir().join("release/semel-bench");
    step("bench", || {
        let status = Command::new(&program)
            .args(&options.flags)
            .env(BIN_VARIABLE, postgres.dir())
            .status()
            .map_err(|error| Failure::new(format!("cannot run {}: {error}", program.display())))?;
        match status.success() {
            true => Ok(()),
            false => Err(Failure::new("a goal was missed, or could not be measured")),
        }
    })
}
