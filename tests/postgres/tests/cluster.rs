//! A private server does what a real one does, and is gone when its owner is.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use semel_test_postgres::{Cluster, Error, Settings};

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 30 seconds: {what}");
        sleep(Duration::from_millis(20));
    }
}

/// Signal 0 reaches whatever process there is, a zombie included.
fn is_process(pid: u32) -> bool {
    Command::new("sh")
        .args(["-c", "kill -0 \"$1\" 2>&1", "sh", &pid.to_string()])
        .output()
        .expect("sh runs")
        .status
        .success()
}

fn one(cluster: &Cluster, sql: &str) -> String {
    let rows = cluster
        .query("postgres", sql)
        .expect("the statement is fine");
    rows[0][0].clone().expect("the value is not null")
}

#[test]
fn it_takes_connections_and_is_as_durable_as_in_production() {
    let cluster = Cluster::shared().expect("the server starts");
    TcpStream::connect(("127.0.0.1", cluster.port())).expect("TCP is open");
    assert_eq!(one(cluster, "SHOW fsync"), "on");
    assert_eq!(one(cluster, "SHOW synchronous_commit"), "on");
    assert_eq!(one(cluster, "SHOW server_encoding"), "UTF8");
    assert_eq!(one(cluster, "SELECT 'a' > 'B'"), "t", "text sorts by bytes");
    assert!(
        cluster
            .url("x")
            .ends_with(&format!(":{}/x", cluster.port()))
    );
    assert!(cluster.bin_dir().join("postgres").is_file());
}

#[test]
fn both_urls_lead_to_the_database_that_was_made() {
    let cluster = Cluster::shared().expect("the server starts");
    cluster.create_database("Odd \"name\"").expect("it is made");
    let psql = cluster.bin_dir().join("psql");
    if !psql.is_file() {
        println!("SKIPPED: this PostgreSQL has no psql");
        return;
    }
    for url in [
        cluster.url("Odd \"name\""),
        cluster.socket_url("Odd \"name\""),
    ] {
        let output = Command::new(&psql)
            .args(["-X", "-A", "-t", "-c", "SELECT current_database()", &url])
            .output()
            .expect("psql runs");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            "Odd \"name\"",
            "{output:?}"
        );
    }
}

#[test]
fn a_refused_statement_says_why() {
    let cluster = Cluster::shared().expect("the server starts");
    let refused = cluster.create_database("postgres");
    assert!(
        matches!(&refused, Err(Error::Statement { code, .. }) if code == "42P04"),
        "{refused:?}"
    );
}

#[test]
fn dropping_it_stops_the_server_and_removes_the_data() {
    let cluster = Cluster::start().expect("the server starts");
    let (pid, dir) = (cluster.pid().expect("it runs"), cluster.dir().to_owned());
    assert!(is_process(pid));
    drop(cluster);
    assert!(!is_process(pid));
    assert!(!dir.exists());
}

#[test]
fn a_restart_keeps_data_and_port() {
    let cluster = Cluster::start_with(Settings::new().set("max_connections", "20"))
        .expect("the server starts");
    let (pid, port) = (cluster.pid().expect("it runs"), cluster.port());
    cluster
        .query("postgres", "CREATE TABLE kept AS SELECT 42 AS value")
        .expect("the table is made");

    cluster.stop_fast().expect("it stops");
    assert!(matches!(cluster.pid(), Err(Error::NotRunning)));
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(!is_process(pid));

    cluster.restart().expect("it starts again");
    assert_eq!(one(&cluster, "SELECT value FROM kept"), "42");
    assert_eq!(one(&cluster, "SHOW max_connections"), "20");
    TcpStream::connect(("127.0.0.1", port)).expect("the port is the same");
}

#[test]
fn a_killed_server_recovers_what_it_had_committed() {
    let cluster = Cluster::start().expect("the server starts");
    cluster
        .query("postgres", "CREATE TABLE kept AS SELECT 42 AS value")
        .expect("the table is made");
    for _ in 0..3 {
        let pid = cluster.pid().expect("it runs");
        cluster.kill().expect("it dies");
        assert!(!is_process(pid));
        assert!(matches!(cluster.kill(), Err(Error::NotRunning)));
        cluster.restart().expect("it recovers");
        assert_eq!(one(&cluster, "SELECT value FROM kept"), "42");
    }
    let dir = cluster.dir().to_owned();
    cluster.kill().expect("it dies");
    drop(cluster);
    assert!(!dir.exists(), "a dead server's data goes, too");
}

#[test]
fn a_server_that_cannot_start_shows_its_log_and_leaves_nothing() {
    let error = Cluster::start_with(Settings::new().set("shared_buffers", "plenty"))
        .expect_err("that is no amount");
    assert!(
        error.to_string().contains("invalid value for parameter"),
        "{error}"
    );
}

/// A process of its own that holds a cluster, in a temporary directory of its own.
struct Holder {
    process: Child,
    temp: tempfile::TempDir,
}

impl Holder {
    fn start() -> Self {
        let temp = tempfile::tempdir_in("/tmp").expect("a directory is made");
        // Like /tmp: where we are root, the server's user must be able to remove its own.
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o1777)).expect("it is ours");
        let process = Command::new(env!("CARGO_BIN_EXE_semel-test-postgres"))
            .env("TMPDIR", temp.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the holder runs");
        Self { process, temp }
    }

    fn said(&mut self) -> Vec<String> {
        let output = self.process.stdout.take().expect("it is piped");
        BufReader::new(output)
            .lines()
            .take(3)
            .map(|line| {
                line.expect("it is text")
                    .split_once('=')
                    .expect("name=value")
                    .1
                    .to_owned()
            })
            .collect()
    }

    fn kill(&mut self) {
        self.process.kill().expect("it is ours");
        self.process.wait().expect("it is ours");
    }

    fn left_nothing(&self) -> bool {
        fs::read_dir(self.temp.path())
            .expect("it is ours")
            .next()
            .is_none()
    }
}

#[test]
fn it_is_gone_soon_after_its_owner_is_killed() {
    let mut holder = Holder::start();
    let [url, pid, dir] = &holder.said()[..] else {
        panic!("the holder did not start a server")
    };
    let pid: u32 = pid.parse().expect("a number");
    assert!(url.starts_with("postgres://postgres@127.0.0.1:"));
    assert!(is_process(pid) && Path::new(dir).exists());

    holder.kill();
    eventually("the postmaster is gone", || !is_process(pid));
    eventually("the directory is gone", || holder.left_nothing());
}

#[test]
fn it_is_gone_even_if_its_owner_is_killed_while_it_starts() {
    // At any of these moments something else is under way: the script, initdb, the start.
    for after_ms in [20, 120, 400, 900, 1_300] {
        let mut holder = Holder::start();
        sleep(Duration::from_millis(after_ms));
        holder.kill();
        eventually("the directory is gone", || holder.left_nothing());
    }
}
