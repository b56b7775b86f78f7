//! Real webhook payloads, which the tests of the webhook receiver feed on.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use semel_test_postgres::tools;

use crate::failure::Failure;
use crate::step::on_path;

/// Tells the tests where the payloads are.
pub(crate) const VARIABLE: &str = "SEMEL_TEST_WEBHOOK_EXAMPLES";

/// GitHub's own examples of every event, as an npm package.
pub(crate) const PACKAGE: &str = "@octokit/webhooks-examples";
const VERSION: &str = "7.6.1";

/// What became of the payloads.
pub(crate) enum Payloads {
    /// The package's directory.
    At(PathBuf),
    /// The tests that need them skip themselves, for this reason.
    Missing(String),
}

/// The payloads, fetched where they are not there yet.
///
/// npm is not among what a developer must have, so its absence is no error; and neither
/// is a fetch that failed, except in CI, where skipping a test must not pass unnoticed.
pub(crate) fn find() -> Result<Payloads, Failure> {
    if let Some(given) = env::var_os(VARIABLE) {
        return Ok(Payloads::At(given.into()));
    }
    if on_path("npm").is_none() && !fetched().is_dir() {
        let missing = "there is no `npm` on PATH";
        return match env::var_os("CI") {
            Some(_) => Err(Failure::new(missing.to_owned())),
            None => Ok(Payloads::Missing(missing.to_owned())),
        };
    }
    match tools::fetch_once(&tool_name(), install) {
        Ok(dir) => Ok(Payloads::At(package_in(&dir))),
        Err(failure) if env::var_os("CI").is_some() => Err(failure),
        Err(failure) => Ok(Payloads::Missing(failure.to_string())),
    }
}

fn install(dir: &Path) -> Result<(), Failure> {
    // npm looks for a package.json upwards from its prefix unless there is one.
    fs::write(dir.join("package.json"), "{ \"private\": true }\n")
        .map_err(|error| Failure::new(format!("cannot write in {}: {error}", dir.display())))?;
    let mut npm = Command::new("npm");
    npm.args([
        "install",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--prefix",
    ])
    .arg(dir)
    .arg(format!("{PACKAGE}@{VERSION}"))
    .current_dir(dir);
    tools::run(&mut npm, &format!("installing {PACKAGE} with npm"))?;
    if package_in(dir).is_dir() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "npm installed {PACKAGE} {VERSION}, but not where it should be"
    )))
}

fn tool_name() -> String {
    format!("webhooks-examples-{VERSION}")
}

fn fetched() -> PathBuf {
    tools::target_dir().join("tools").join(tool_name())
}

fn package_in(dir: &Path) -> PathBuf {
    dir.join("node_modules").join(PACKAGE)
}
