//! Running a program while both reading what it prints and passing it on.

use std::io::{self, BufRead, BufReader, IsTerminal, PipeReader, Write};
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// How often we look whether the program has ended while it prints nothing.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How long we take in what is left in the pipe after the program has ended.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// Runs `command`, passes on every line that it prints and shows it to `see`.
///
/// Both of its outputs go through one pipe: only so is it known which of cargo's headings
/// a test's result belongs to.
pub(crate) fn run_watched(
    command: &mut Command,
    mut see: impl FnMut(&str),
) -> Result<ExitStatus, Failure> {
    let (reader, writer) = io::pipe().map_err(failed("cannot make a pipe"))?;
    let other = writer.try_clone().map_err(failed("cannot copy a pipe"))?;
    let mut child = command
        .stdout(writer)
        .stderr(other)
        .spawn()
        .map_err(failed("cannot run cargo"))?;
    // The command still holds our copies of the pipe's end, and would keep it open.
    command.stdout(io::stdout()).stderr(io::stderr());

    let lines = lines_of(reader);
    let mut drained_by = None;
    loop {
        match lines.recv_timeout(LOOK_INTERVAL) {
            Ok(line) => {
                pass_on(&line);
                see(&without_colours(&String::from_utf8_lossy(&line)));
            }
            Err(RecvTimeoutError::Disconnected) => break,
            // Nothing more comes, yet the pipe is open: a server that a test left running
            // holds it, and must not hold us.
            Err(RecvTimeoutError::Timeout) if drained_by.is_some() => break,
            Err(RecvTimeoutError::Timeout) => {}
        }
        match drained_by {
            // Or such a server talks on and on.
            Some(limit) if Instant::now() >= limit => break,
            Some(_) => {}
            None => {
                let ended = child.try_wait().map_err(failed("cannot wait for cargo"))?;
                drained_by = ended.map(|_| Instant::now() + DRAIN_LIMIT);
            }
        }
    }
    child.wait().map_err(failed("cannot wait for cargo"))
}

/// Whether the program should colour its output, which it cannot see for itself.
pub(crate) fn colour() -> &'static str {
    if io::stdout().is_terminal() {
        "always"
    } else {
        "never"
    }
}

/// The lines as they are, with their ends: a test may print anything.
fn lines_of(reader: PipeReader) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        loop {
            let mut line = Vec::new();
            match reader.read_until(b'\n', &mut line) {
                Ok(1..) if sender.send(line).is_ok() => {}
                _ => return,
            }
        }
    });
    receiver
}

fn pass_on(line: &[u8]) {
    let mut stdout = io::stdout().lock();
    // Nobody reads on, for example after `| head`: the tests are run all the same.
    let _ = stdout.write_all(line).and_then(|()| stdout.flush());
}

/// `line` without the sequences from ESC to a letter that colour a terminal.
fn without_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_ascii_alphabetic());
        plain.push_str(end.map_or("", |end| &part[end + 1..]));
    }
    plain
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::new(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{run_watched, without_colours};

    #[test]
    fn colours_are_taken_out() {
        assert_eq!(
            without_colours("\u{1b}[0m\u{1b}[1m\u{1b}[32m  Running\u{1b}[0m it"),
            "  Running it"
        );
    }

    #[test]
    fn both_outputs_are_seen_in_order_and_the_exit_is_told() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; echo three; exit 7"]);
        let mut seen = Vec::new();
        let status = run_watched(&mut command, |line| seen.push(line.trim_end().to_owned()));
        assert_eq!(seen, ["one", "two", "three"]);
        assert_eq!(status.unwrap().code(), Some(7));
    }

    #[test]
    fn a_grandchild_that_holds_the_output_does_not_hold_us() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & echo $!"]);
        let mut pid = String::new();
        run_watched(&mut command, |line| pid.push_str(line.trim())).unwrap();
        Command::new("kill").arg(pid).status().unwrap();
    }
}
