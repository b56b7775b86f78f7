//! Redis as a claim store, `SET key value NX EX`, each durable before it is answered.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{Outcome, child, machine::on_path, server::free_address};

/// As many connections as the other measures have callers; one command under way on each.
const CLIENTS: &str = "64";
/// Keys are drawn from so many, redis-benchmark's most, that hardly one comes twice.
const KEYS: &str = "2147483647";
/// Requests of the run that tells how many make up the wanted length.
const TRIAL: u64 = 20_000;
const START_LIMIT: Duration = Duration::from_secs(20);
/// The rate is not known before, so neither is the length.
const RUN_LIMIT: Duration = Duration::from_secs(600);

/// The programs, where Redis is installed.
#[derive(Debug, Clone)]
pub struct Programs {
    server: PathBuf,
    benchmark: PathBuf,
}

impl Programs {
    pub fn find() -> Option<Self> {
        Some(Self {
            server: on_path("redis-server")?,
            benchmark: on_path("redis-benchmark")?,
        })
    }

    /// As the server tells it.
    pub fn version(&self) -> Option<String> {
        let mut command = Command::new(&self.server);
        let ended = child::run(command.arg("--version"), START_LIMIT).ok()?;
        let mut words = ended.stdout.split_whitespace();
        words
            .find_map(|word| word.strip_prefix("v="))
            .map(str::to_owned)
    }
}

/// A private server with an empty data directory. Ends with this value.
pub struct Redis {
    process: Child,
    address: SocketAddr,
    dir: TempDir,
}

impl Redis {
    /// Starts one whose directory is in `parent`.
    pub fn start(programs: &Programs, parent: &Path) -> Outcome<Self> {
        let dir = tempfile::Builder::new()
            .prefix("semel-bench-redis-")
            .tempdir_in(parent)?;
        let address = free_address()?;
        let log = File::create(dir.path().join("log"))?;
        let process = Command::new(&programs.server)
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
            .arg("--dir")
            .arg(dir.path())
            .args([
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
                "--save",
                "",
            ])
            // No rewrite of the log in the middle of a run.
            .args(["--auto-aof-rewrite-percentage", "0"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let redis = Self {
            process,
            address,
            dir,
        };
        let started = Instant::now();
        while redis.ping().is_err() {
            if started.elapsed() > START_LIMIT {
                let log = std::fs::read_to_string(redis.dir.path().join("log"));
                return Err(format!("redis did not start: {}", log.unwrap_or_default()).into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(redis)
    }

    fn ping(&self) -> Outcome<()> {
        let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        match &answer {
            b"+PONG" => Ok(()),
            _ => Err("redis is not ready".into()),
        }
    }

    /// Claims a second, one at a time on each connection, over about `length`; and what was printed.
    pub fn claims(&self, programs: &Programs, length: Duration) -> Outcome<(f64, String)> {
        let (trial, _) = self.requests(programs, TRIAL)?;
        self.requests(programs, ((trial * length.as_secs_f64()) as u64).max(TRIAL))
    }

    fn requests(&self, programs: &Programs, requests: u64) -> Outcome<(f64, String)> {
        let mut command = Command::new(&programs.benchmark);
        command
            .args(["-h", "127.0.0.1", "-p", &self.address.port().to_string()])
            .args([
                "-c",
                CLIENTS,
                "-n",
                &requests.to_string(),
                "-r",
                KEYS,
                "--csv",
            ])
            .args(["SET", "key:__rand_int__", "worker", "NX", "EX", "3600"]);
        let output = child::run(&mut command, RUN_LIMIT)?.successful("redis-benchmark")?;
        match rate(&output) {
            Some(rate) => Ok((rate, output)),
            None => Err(format!("redis-benchmark tells no rate:\n{output}").into()),
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// From the last line, `"SET key:__rand_int__ …","38461.54",…`.
fn rate(output: &str) -> Option<f64> {
    let last = output.lines().rev().find(|line| line.starts_with('"'))?;
    last.split("\",\"")
        .nth(1)?
        .trim_end_matches('"')
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_the_second_field_of_the_last_line() {
        let new = "\"test\",\"rps\",\"avg_latency_ms\"\n\
                   \"SET key:__rand_int__ worker NX EX 3600\",\"38461.54\",\"1.6\"\n";
        assert_eq!(rate(new), Some(38_461.54));
        let old = "\"SET key:__rand_int__ worker NX EX 3600\",\"38461.54\"\n";
        assert_eq!(rate(old), Some(38_461.54));
        assert_eq!(rate("Could not connect\n"), None);
    }
}
