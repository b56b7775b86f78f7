//! Prometheus' own judge of rules, configurations and metrics.

use std::{
    env,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use semel_test_postgres::tools;

/// The program, from `PATH` or out of Debian's package. `None` where neither can be had, which is said, and
/// is an error in CI.
pub fn promtool() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(find).as_deref()
}

fn find() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut places = env::split_paths(&path).map(|dir| dir.join("promtool"));
    if let Some(there) = places.find(|file| file.is_file()) {
        return Some(there);
    }
    match tools::debian_package("prometheus") {
        Ok(dir) => Some(dir.join("usr/bin/promtool")),
        Err(error) if env::var_os("CI").is_none() => {
            // To the stream itself: the test runner swallows what `eprintln!` says.
            let line = format!(
                "SKIPPED: the alerts, the configuration and the metrics by Prometheus' own promtool: {error}\n"
            );
            let _ = std::io::stderr().write_all(line.as_bytes());
            None
        }
        Err(error) => panic!("promtool is needed here: {error}"),
    }
}

/// Has it judge, and panics with its words where it objects.
pub fn judge(arguments: &[&str], files: &[&Path], input: &str) {
    let Some(promtool) = promtool() else {
        return;
    };
    let mut command = Command::new(promtool);
    command.args(arguments).args(files);
    let output = run(&mut command, input);
    assert!(
        output.status.success(),
        "promtool {}: {}\n{}{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    // One that reads no input may have ended.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}
