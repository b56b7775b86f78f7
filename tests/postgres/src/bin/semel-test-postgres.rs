//! Starts a private PostgreSQL, says where, and keeps it until it is itself ended: for
//! test runners of other languages, and for this crate's own test of being killed.
//!
//! Prints `url=`, `pid=` and `dir=`, one a line.

use std::io::Write;
use std::process::ExitCode;

use semel_test_postgres::{Cluster, Error};

fn main() -> ExitCode {
    match hold() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("semel-test-postgres: {error}");
            ExitCode::FAILURE
        }
    }
}

fn hold() -> Result<(), Error> {
    let cluster = Cluster::start()?;
    let (url, pid, dir) = (
        cluster.url("postgres"),
        cluster.pid()?,
        cluster.dir().display(),
    );
    let told = writeln!(std::io::stdout(), "url={url}\npid={pid}\ndir={dir}");
    // Whoever started us has gone already if it does not hear us.
    while told.is_ok() {
        std::thread::park();
    }
    Ok(())
}
