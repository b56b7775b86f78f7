//! A server process of our own.

use std::{
    env,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::Outcome;

/// What the servers that we start say once they serve.
pub const SERVING: &str = "serving";

/// What a server is to log where its purge is watched: of each pass, how many records it deleted.
const LOG_WITH_PURGE: &str = "warn,semel=info,semel_server=info,semel_server::purge=debug";
/// How long a server may take to stop when it is asked to.
const STOP_LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Ends with this value.
pub struct Server {
    process: Child,
    address: SocketAddr,
    purged: Arc<AtomicU64>,
}

/// The binary that was built beside this program.
pub fn beside_this_program() -> Outcome<PathBuf> {
    let path = env::current_exe()?.with_file_name("semel");
    if path.exists() {
        return Ok(path);
    }
    Err(format!(
        "there is no {}; `cargo xtask bench` builds it",
        path.display()
    )
    .into())
}

/// `command` without the caller's own settings of Semel, which would measure something else.
pub fn without_settings(mut command: Command) -> Command {
    for (name, _) in env::vars_os() {
        let is_ours = |name: &str| name.starts_with("SEMEL_") || name.starts_with("OTEL_");
        if name.to_str().is_some_and(is_ours) {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG");
    command
}

/// An address that was free a moment ago. A clash would show as a server that does not start.
pub fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Server {
    /// Starts `semel serve`.
    pub fn semel(binary: &Path, args: &[&str]) -> Outcome<Self> {
        let mut command = Command::new(binary);
        command.arg("serve").args(args);
        let mut command = without_settings(command);
        command.env("SEMEL_HTTP_LISTEN", "off");
        Self::start(command)
    }

    /// Starts `semel serve` with variables.
    pub fn semel_with(binary: &Path, args: &[&str], variables: &[(&str, &str)]) -> Outcome<Self> {
        let mut command = Command::new(binary);
        command.arg("serve").args(args);
        let mut command = without_settings(command);
        command
            .env("SEMEL_HTTP_LISTEN", "off")
            .envs(variables.iter().copied());
        Self::start(command)
    }

    /// Starts this program's collector of spans.
    pub fn collector() -> Outcome<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("collector");
        Self::start(without_settings(command))
    }

    /// Starts `semel serve`, which tells what it purges.
    pub fn semel_telling_of_its_purge(binary: &Path, args: &[&str]) -> Outcome<Self> {
        let mut command = Command::new(binary);
        command.arg("serve").args(args);
        let mut command = without_settings(command);
        command
            .env("RUST_LOG", LOG_WITH_PURGE)
            .env("SEMEL_HTTP_LISTEN", "off");
        Self::start(command)
    }

    /// Starts this program's no-op server.
    pub fn noop() -> Outcome<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("noop-server");
        Self::start(without_settings(command))
    }

    fn start(mut command: Command) -> Outcome<Self> {
        let address = free_address()?;
        let mut process = command
            .args(["--listen", &address.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(process.stderr.take().ok_or("no stderr")?).lines();
        let mut said = String::new();
        for line in lines.by_ref() {
            let line = line?;
            if line.contains(SERVING) {
                // Go on reading, so that the server never waits for room in the pipe; and pass on
                // what it warns of, which may be why a figure is as it is.
                let purged = Arc::new(AtomicU64::new(0));
                let count = purged.clone();
                thread::spawn(move || {
                    for line in lines.map_while(Result::ok) {
                        if let Some(records) = purged_by(&line) {
                            count.fetch_add(records, Ordering::Relaxed);
                        } else if !line.contains(" INFO ") {
                            eprintln!("    server: {line}");
                        }
                    }
                });
                return Ok(Self {
                    process,
                    address,
                    purged,
                });
            }
            said = format!("{said}\n{line}");
        }
        let _ = process.wait();
        Err(format!("the server did not start:{said}").into())
    }

    /// Where it serves.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Records that it has purged so far, if it tells of that.
    pub fn purged(&self) -> Arc<AtomicU64> {
        self.purged.clone()
    }

    /// Asks it to stop, and waits until it has: then its files are as they stay.
    pub fn stop(mut self) -> Outcome<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.ok_or("a server without a number")?, Signal::TERM)?;
        let asked = Instant::now();
        let ended: ExitStatus = loop {
            if let Some(ended) = self.process.try_wait()? {
                break ended;
            }
            if asked.elapsed() > STOP_LIMIT {
                return Err("the server does not stop".into());
            }
            thread::sleep(LOOK_EVERY);
        };
        match ended.success() {
            true => Ok(()),
            false => Err(format!("the server ended with {ended}").into()),
        }
    }
}

/// From `… semel_server::purge: purged deleted=1000 postponed=0`.
fn purged_by(line: &str) -> Option<u64> {
    let (_, counts) = line.split_once(": purged deleted=")?;
    counts.split_whitespace().next()?.parse().ok()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_of_the_purge_is_told_from_every_other_line() {
        let line =
            "2026-11-24T20:00:00Z DEBUG semel_server::purge: purged deleted=1000 postponed=3";
        assert_eq!(purged_by(line), Some(1_000));
        let line = "2026-11-24T20:00:00Z  WARN semel_server::purge: a pass of the purge failed";
        assert_eq!(purged_by(line), None);
    }
}
