//! The script that minds the server, seen from our side.
//!
//! The script alone starts and removes things, because it outlives us when we are killed.
//! We tell it what to do through a pipe, and learn what came of it from the files that it
//! leaves in the cluster's directory.

use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::account::run_as;
use crate::scratch::Scratch;
use crate::tools::{run, tail};
use crate::wire::Connection;
use crate::{Binaries, Error, Settings};

const SCRIPT: &str = include_str!("../supervise.sh");

const INIT_LIMIT: Duration = Duration::from_secs(120);
/// Crash recovery on a slow disk counts, too.
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// The script gives the server 10 seconds for a fast stop and 10 for an immediate one.
const FINISH_LIMIT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
const LOG_LINES: usize = 25;

/// Why a server did not start.
pub(super) enum StartError {
    /// Somebody else listens on the port.
    PortTaken(Error),
    /// Processes of a killed predecessor still hold its shared memory.
    PredecessorEnding(Error),
    /// Nothing that trying again would help.
    Other(Error),
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        match error {
            StartError::PortTaken(error)
            | StartError::PredecessorEnding(error)
            | StartError::Other(error) => error,
        }
    }
}

/// The running script, and the pipe that keeps it running.
pub(super) struct Supervisor {
    script: Child,
    /// `None` once it is to end.
    commands: Option<ChildStdin>,
    binaries: Binaries,
    // The script removes the directory; this removes it where the script could not.
    scratch: Scratch,
}

impl Supervisor {
    pub(super) fn launch(binaries: Binaries, settings: &Settings) -> Result<Self, Error> {
        let scratch = Scratch::create()?;
        let dir = scratch.path();
        // The script must not hold on to our output: whoever waits for its end would
        // wait for the script.
        let log = dir.join("supervisor.log");
        let output = File::create(&log).map_err(Error::at("create", &log))?;
        let errors = output.try_clone().map_err(Error::at("open", &log))?;

        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "semel-postgres"])
            .arg(dir)
            .args(["-c", "listen_addresses=127.0.0.1"])
            .arg("-c")
            .arg(format!("unix_socket_directories={}", dir.display()))
            .args(settings.arguments())
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            // Ctrl-C is for us. The script and the server learn of it when we end.
            .process_group(0);
        prepare(&mut command, &scratch);
        let mut script = command.spawn().map_err(Error::io("cannot run sh"))?;
        let commands = script.stdin.take();
        let mut supervisor = Self {
            script,
            commands,
            binaries,
            scratch,
        };
        supervisor.choose_binaries()?;
        Ok(supervisor)
    }

    /// Tells the script where the programs are. That is not known earlier: they may have
    /// to be copied into the directory, and a directory with things in it must be minded.
    fn choose_binaries(&mut self) -> Result<(), Error> {
        self.binaries = self.scratch.reachable(self.binaries.clone())?;
        let command = format!("use {}", self.binaries.dir().display());
        self.tell(&command)
    }

    pub(super) fn dir(&self) -> &Path {
        self.scratch.path()
    }

    pub(super) fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Makes the data directory.
    pub(super) fn init(&mut self) -> Result<(), Error> {
        self.tell("init")?;
        let done = wait_for(INIT_LIMIT, || self.status("init"));
        let log = || self.log("init.log", 0);
        match done.as_deref() {
            Some("0") => Ok(()),
            Some(status) => Err(Error::Failed {
                what: "initdb".to_owned(),
                status: format!("exit status: {status}"),
                output: log(),
            }),
            None => Err(Error::TooSlow {
                what: "finish initdb",
                limit: INIT_LIMIT,
                log: log(),
            }),
        }
    }

    /// Starts the server and waits until it takes connections.
    pub(super) fn start(&mut self, port: u16) -> Result<(), StartError> {
        let log_start = fs::metadata(self.file("server.log")).map_or(0, |log| log.len());
        // The script removes it as well, but later than we would look for it.
        let _ = fs::remove_file(self.file("server.status"));
        self.tell(&format!("start {port}"))
            .map_err(StartError::Other)?;

        let socket = socket(self.dir(), port);
        let ended = wait_for(START_LIMIT, || match self.status("server") {
            Some(status) => Some(Some(status)),
            // Over the socket in our own directory: on the port somebody else might answer.
            None => Connection::open(&socket, "postgres", START_LIMIT)
                .is_ok()
                .then_some(None),
        });
        let log = || self.log("server.log", log_start);
        match ended {
            Some(None) => Ok(()),
            Some(Some(status)) => Err(start_error(&status, log())),
            None => Err(StartError::Other(Error::TooSlow {
                what: "get ready",
                limit: START_LIMIT,
                log: log(),
            })),
        }
    }

    /// Starts the server on data that it has run on before.
    pub(super) fn start_again(&mut self, port: u16) -> Result<(), Error> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            match self.start(port) {
                Err(StartError::PredecessorEnding(_)) if Instant::now() < deadline => {
                    sleep(Duration::from_millis(100));
                }
                other => return other.map_err(Error::from),
            }
        }
    }

    /// The process id of the running postmaster.
    pub(super) fn pid(&self) -> Result<u32, Error> {
        // A killed server leaves its file behind.
        if self.status("server").is_some() {
            return Err(Error::NotRunning);
        }
        fs::read_to_string(self.file("data/postmaster.pid"))
            .ok()
            .and_then(|file| file.lines().next()?.trim().parse().ok())
            .ok_or(Error::NotRunning)
    }

    pub(super) fn kill(&mut self) -> Result<(), Error> {
        let pid = self.pid()?;
        // Without unsafe code, only another program can send a signal.
        let mut command = Command::new("sh");
        command.args(["-c", "kill -KILL \"$1\"", "sh", &pid.to_string()]);
        prepare(&mut command, &self.scratch);
        run(&mut command, "killing PostgreSQL")?;
        self.wait_for_end("die of SIGKILL")
    }

    pub(super) fn stop_fast(&mut self) -> Result<(), Error> {
        if self.pid().is_err() {
            return Ok(());
        }
        let mut command = Command::new(self.binaries.dir().join("pg_ctl"));
        command
            .args(["stop", "--mode=fast", "--silent", "--no-wait", "-D"])
            .arg(self.file("data"));
        prepare(&mut command, &self.scratch);
        run(&mut command, "stopping PostgreSQL")?;
        self.wait_for_end("stop")
    }

    fn wait_for_end(&self, what: &'static str) -> Result<(), Error> {
        wait_for(STOP_LIMIT, || self.status("server"))
            .map(drop)
            .ok_or_else(|| Error::TooSlow {
                what,
                limit: STOP_LIMIT,
                log: self.log("server.log", 0),
            })
    }

    fn tell(&mut self, command: &str) -> Result<(), Error> {
        let commands = self.commands.as_mut().ok_or(Error::NotRunning)?;
        writeln!(commands, "{command}").map_err(Error::io(
            "cannot tell the script that minds PostgreSQL what to do",
        ))
    }

    /// The exit status of `what`, once it has ended.
    fn status(&self, what: &str) -> Option<String> {
        let status = fs::read_to_string(self.file(&format!("{what}.status"))).ok()?;
        Some(status.trim().to_owned())
    }

    /// The end of a log from the byte `from`, and what the script itself had to say.
    fn log(&self, name: &str, from: u64) -> String {
        let text = |name: &str, from: u64| {
            let bytes = fs::read(self.file(name)).unwrap_or_default();
            let from = usize::try_from(from).map_or(bytes.len(), |from| from.min(bytes.len()));
            tail(&String::from_utf8_lossy(&bytes[from..]), LOG_LINES)
        };
        [text(name, from), text("supervisor.log", 0)]
            .join("\n")
            .trim()
            .to_owned()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.commands.take());
        let ended = wait_for(FINISH_LIMIT, || match self.script.try_wait() {
            Ok(None) => None,
            _ => Some(()),
        });
        if ended.is_none() {
            // A destructor cannot return an error, and a test may be unwinding.
            eprintln!(
                "semel-test-postgres: the server in {} has not stopped within {FINISH_LIMIT:?}",
                self.dir().display()
            );
        }
    }
}

fn start_error(status: &str, log: String) -> StartError {
    // The server's messages are English: it runs with LC_ALL=C.
    let kind = if log.contains("could not bind") {
        StartError::PortTaken
    } else if log.contains("pre-existing shared memory block")
        || log.contains("lock file \"postmaster.pid\" already exists")
    {
        StartError::PredecessorEnding
    } else {
        StartError::Other
    };
    kind(Error::NotStarted {
        why: format!("it ended with exit status {status}"),
        log,
    })
}

/// Where the server on `port` has its Unix socket.
pub(super) fn socket(dir: &Path, port: u16) -> PathBuf {
    dir.join(format!(".s.PGSQL.{port}"))
}

/// Lets `command` run as the server's user, in its directory, without the caller's own
/// PostgreSQL settings, and speaking English.
fn prepare(command: &mut Command, scratch: &Scratch) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("PG")) {
            command.env_remove(name);
        }
    }
    command
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .current_dir(scratch.path());
    run_as(command, scratch.account());
}

/// Asks again and again until there is an answer or the time is up.
fn wait_for<T>(limit: Duration, mut answer: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let answered = answer();
        if answered.is_some() || Instant::now() >= deadline {
            return answered;
        }
        sleep(POLL_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::{StartError, Supervisor};
    use crate::{Binaries, Settings};

    #[test]
    fn a_port_that_somebody_took_is_told_apart_and_another_one_works() {
        let mut supervisor =
            Supervisor::launch(Binaries::find().unwrap(), &Settings::new()).unwrap();
        supervisor.init().unwrap();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(matches!(
            supervisor.start(port),
            Err(StartError::PortTaken(_))
        ));
        drop(taken);
        assert!(supervisor.start(port).is_ok());
    }
}
