//! `cargo xtask test`: the project's one test command.

use std::path::PathBuf;

use clap::Args;
use semel_test_postgres::{BIN_VARIABLE, Binaries, tools};

use crate::children::{colour, run_watched};
use crate::failure::Failure;
use crate::postgres::Choice;
use crate::report::Report;
use crate::step::{cargo, run_step, step};
use crate::webhooks::{self, Payloads};

/// Tells the tests which server program to run.
const SERVER_VARIABLE: &str = "SEMEL_TEST_SERVER_BIN";

#[derive(Args, Default)]
pub(crate) struct Options {
    /// Run only the tests whose names contain one of these.
    #[arg(long, num_args = 1.., value_name = "FILTER")]
    only: Vec<String>,
    #[command(flatten)]
    postgres: Choice,
}

/// What the tests find in their environment.
///
/// `SEMEL_TEST_DATABASE_URL` is passed on untouched where the user set it: it points the
/// tests at a server of the user's own.
struct Surroundings {
    postgres: Binaries,
    payloads: Payloads,
    server: PathBuf,
}

/// Prepares what the tests need, runs them all, and closes with their sum.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let postgres = options.postgres.find()?;
    let payloads = step("find webhook payloads", webhooks::find)?;
    warn_of_skipping(&payloads);
    let server = build()?;
    let surroundings = Surroundings {
        postgres,
        payloads,
        server,
    };
    let mut report = Report::default();
    let outcome = step("test", || run_tests(options, &surroundings, &mut report));
    close(&surroundings, &report);
    outcome?;
    match report.total() {
        // A filter that fits nothing, or a runner whose output we no longer understand.
        total if total.ran() == 0 => Err(Failure::new("no test ran")),
        total if total.failed > 0 => Err(Failure::new("the tests failed")),
        _ => Ok(()),
    }
}

/// Builds everything that the tests run, programs and examples included, in one go. Built
/// by itself, the server would be compiled with other features of its dependencies, and
/// those a second time for the tests.
fn build() -> Result<PathBuf, Failure> {
    run_step(
        "build",
        cargo().args([
            "build",
            "--workspace",
            "--lib",
            "--bins",
            "--tests",
            "--examples",
        ]),
    )?;
    let server = tools::target_dir().join("debug/semel");
    if server.is_file() {
        return Ok(server);
    }
    Err(Failure::new(format!(
        "the build left no {}; was xtask itself built with other settings?",
        server.display()
    )))
}

fn run_tests(
    options: &Options,
    surroundings: &Surroundings,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut command = cargo();
    command
        // One target's failure must not hide that of the next.
        .args(["test", "--workspace", "--no-fail-fast", "--color", colour()])
        .env(BIN_VARIABLE, surroundings.postgres.dir())
        .env(SERVER_VARIABLE, &surroundings.server)
        .arg("--")
        .args(["--color", colour()])
        .args(&options.only);
    if let Payloads::At(dir) = &surroundings.payloads {
        command.env(webhooks::VARIABLE, dir);
    }
    let status = run_watched(&mut command, |line| report.see(line))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("cargo test ended with {status}")))
}

/// Repeats the closing lines, since they are thousands of lines apart by now.
fn close(surroundings: &Surroundings, report: &Report) {
    println!();
    for (target, counts) in report.targets() {
        println!("  {target}: {counts}");
    }
    warn_of_skipping(&surroundings.payloads);
    println!("{}", report.total());
}

fn warn_of_skipping(payloads: &Payloads) {
    if let Payloads::Missing(reason) = payloads {
        println!(
            "SKIPPED: the tests that feed real GitHub webhooks to the receiver, because their \
             payloads are missing: {reason}. Install npm, or point {} at a copy of the npm \
             package {}.",
            webhooks::VARIABLE,
            webhooks::PACKAGE,
        );
    }
}
