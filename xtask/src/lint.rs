//! `cargo xtask lint`.

use std::path::PathBuf;
use std::process::Command;

use semel_test_postgres::tools;

use crate::failure::Failure;
use crate::step::{cargo, on_path, run_step, step, workspace_root};

/// The linter of the wire contract, as a Python package that carries the program.
const BUF: (&str, &str) = ("buf-bin", "1.75.0");

/// Each has to do without the others, and all of them without OpenTelemetry, which is there by default.
const CLIENT_FEATURES: [&str; 3] = ["", "receiver", "sender"];

/// Runs the linters, cheapest first, and stops at the first that objects.
pub(crate) fn run() -> Result<(), Failure> {
    run_step("format", cargo().args(["fmt", "--all", "--check"]))?;
    let buf = step("find buf", find_buf)?;
    let proto = workspace_root().join("proto");
    run_step("buf lint", Command::new(buf).arg("lint").current_dir(proto))?;
    run_step(
        "clippy",
        cargo()
            .args(["clippy", "--workspace", "--all-targets"])
            .args(["--", "-D", "warnings"]),
    )?;
    // In the workspace it always has all of its features.
    for features in CLIENT_FEATURES {
        for (default, flags) in [("", &[][..]), ("no ", &["--no-default-features"])] {
            run_step(
                &format!("clippy of the client with {default}defaults and \"{features}\""),
                cargo()
                    .args(["clippy", "-p", "semel-client", "--features", features])
                    .args(flags)
                    .args(["--", "-D", "warnings"]),
            )?;
        }
    }
    Ok(())
}

fn find_buf() -> Result<PathBuf, Failure> {
    if let Some(buf) = on_path("buf") {
        return Ok(buf);
    }
    let (name, version) = BUF;
    let buf = tools::python_package(name, version)?.join("bin/buf");
    if buf.is_file() {
        return Ok(buf);
    }
    Err(Failure::new(format!(
        "{name} {version} was fetched, but holds no {}",
        buf.display()
    )))
}
