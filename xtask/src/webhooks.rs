//! Real webhook payloads, which the tests of the webhook receiver feed on.

use std::env;
use std::path::PathBuf;

use semel_test_postgres::tools;

use crate::failure::Failure;

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
    match tools::node_package(PACKAGE, VERSION) {
        Ok(dir) => Ok(Payloads::At(dir)),
        Err(error) if env::var_os("CI").is_some() => Err(error.into()),
        Err(error) => Ok(Payloads::Missing(error.to_string())),
    }
}
