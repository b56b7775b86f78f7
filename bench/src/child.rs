//! Waiting for a program that we started: in bounded time, with all that it prints.

use std::{
    io::Read,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::Outcome;

/// How often we look whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// As much of what it complained of as is told.
const COMPLAINT_LINES: usize = 12;

/// What a program printed, and how it ended.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Its output, if it succeeded.
    pub fn successful(self, what: &str) -> Outcome<String> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        Err(format!("{what} ended with {}: {}", self.status, self.complaint()).into())
    }

    /// The end of what it printed to standard error.
    pub fn complaint(&self) -> String {
        let lines: Vec<_> = self.stderr.trim_end().lines().collect();
        lines[lines.len().saturating_sub(COMPLAINT_LINES)..].join("\n")
    }
}

/// Runs `command` to its end, for at most `limit`.
pub fn run(command: &mut Command, limit: Duration) -> Outcome<Ended> {
    run_watched(command, limit, || Ok(()))
}

/// As [`run`], and calls `tick` about every [`LOOK_EVERY`] meanwhile.
pub fn run_watched(
    command: &mut Command,
    limit: Duration,
    mut tick: impl FnMut() -> Outcome<()>,
) -> Outcome<Ended> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    let stdout = read_all(child.stdout.take());
    let stderr = read_all(child.stderr.take());
    let ended = wait(&mut child, limit, &mut tick);
    if ended.is_err() {
        // Nobody would wait for it any more.
        let _ = child.kill();
        let _ = child.wait();
    }
    let (stdout, stderr) = (join(stdout), join(stderr));
    Ok(Ended {
        status: ended.map_err(|error| format!("{program}: {error}"))?,
        stdout,
        stderr,
    })
}

fn wait(
    child: &mut Child,
    limit: Duration,
    tick: &mut impl FnMut() -> Outcome<()>,
) -> Outcome<ExitStatus> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if started.elapsed() > limit {
            return Err(format!("has not ended within {limit:?}").into());
        }
        tick()?;
        thread::sleep(LOOK_EVERY);
    }
}

/// In a thread of its own, so that the program never waits for room in the pipe.
fn read_all(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What could be read is kept; the exit status tells of the rest.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn join(reader: thread::JoinHandle<String>) -> String {
    reader.join().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_a_program_printed_is_kept_and_its_failure_told() {
        let limit = Duration::from_secs(60);
        let ended = run(&mut sh("echo out; echo oh >&2; exit 3"), limit).unwrap();
        assert_eq!(ended.stdout, "out\n");
        let error = ended.successful("it").unwrap_err().to_string();
        assert!(
            error.contains("exit status: 3") && error.contains("oh"),
            "{error}"
        );
    }

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let error = run(&mut sh("exec sleep 600"), Duration::ZERO)
            .err()
            .unwrap();
        assert!(error.to_string().contains("has not ended"), "{error}");
    }
}
