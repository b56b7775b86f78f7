//! A server in a process of its own.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use semel_client::{Builder, Client};
use tempfile::TempDir;
use tokio::{sync::watch, time::Instant};

use super::{PATIENCE, Place, program::semel, within};

/// How often another port is tried when somebody took the one we chose.
const PORT_TRIES: u32 = 10;
/// Below the range of outgoing connections, and below that of the Postgres clusters: while the
/// server is down, nobody is given its port.
const PORTS: std::ops::Range<u16> = 12_000..20_000;

/// A server that is running, or was killed and waits to be restarted.
pub struct Server {
    place: Place,
    _config_dir: TempDir,
    config: PathBuf,
    port: u16,
    log: Log,
    process: Option<Process>,
}

struct Process {
    child: Child,
    watchdog: Watchdog,
    heard: watch::Receiver<Heard>,
}

impl Server {
    /// Starts a server on `place` with the settings of `config` (TOML), and waits until it serves.
    pub async fn start(place: &Place, config: &str) -> Self {
        let config_dir = tempfile::tempdir().expect("a directory can be made");
        let file = config_dir.path().join("semel.toml");
        fs::write(&file, config).expect("a file can be written");
        let mut server = Self {
            place: place.clone(),
            _config_dir: config_dir,
            config: file,
            port: 0,
            log: Log::default(),
            process: None,
        };
        for _ in 0..PORT_TRIES {
            server.port = free_port();
            if server.launch().await.is_ok() || !server.log.has("cannot listen on") {
                break;
            }
        }
        assert!(server.process.is_some(), "no server: {}", server.log.tail());
        server
    }

    /// Where it is to be reached.
    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        self.client_with(|builder| builder)
    }

    /// A client of it with settings of its own.
    pub fn client_with(&self, set: impl FnOnce(Builder) -> Builder) -> Client {
        set(Client::builder())
            .connect(self.address())
            .expect("the address is one")
    }

    /// Whether the log holds `text`.
    pub fn logged(&self, text: &str) -> bool {
        self.log.has(text)
    }

    /// Kills it with SIGKILL, and returns when it is gone.
    pub async fn kill(&mut self) {
        let mut process = self.process.take().expect("the server runs");
        process.child.kill().expect("our own process can be killed");
        process.ended(&self.log, PATIENCE).await;
    }

    /// Starts it again, on the same port and store.
    pub async fn restart(&mut self) {
        assert!(self.process.is_none(), "the server runs");
        if self.launch().await.is_err() {
            panic!("the server does not start again: {}", self.log.tail());
        }
    }

    /// Asks it to stop with SIGTERM.
    pub fn terminate(&self) {
        let process = self.process.as_ref().expect("the server runs");
        // Without unsafe code, only another program can send this signal.
        let pid = process.child.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -TERM \"$1\"", "sh", &pid])
            .status();
        assert!(sent.expect("sh runs").success(), "no signal was sent");
    }

    /// Waits for the end that it was asked for.
    pub async fn ended(&mut self, bound: Duration) -> ExitStatus {
        let mut process = self.process.take().expect("the server runs");
        process.ended(&self.log, bound).await
    }

    async fn launch(&mut self) -> Result<(), ()> {
        let mut command = Command::new(semel());
        for (name, _) in std::env::vars_os() {
            // What a developer has set for a server of their own is not meant for ours.
            let ours = name.to_string_lossy().starts_with("SEMEL_");
            if ours || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        let mut child = command
            .arg("serve")
            .arg("--config")
            .arg(&self.config)
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .args(["--http-listen", "off"])
            .args(self.place.arguments())
            .env("NO_COLOR", "1")
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C is for us.
            .process_group(0)
            .spawn()
            .expect("the server's program runs");
        let watchdog = Watchdog::of(child.id());
        let heard = self.log.follow(child.stderr.take().expect("piped"));
        let mut process = Process {
            child,
            watchdog,
            heard,
        };
        let said = process.heard.wait_for(|heard| *heard != Heard::Nothing);
        let said = within(PATIENCE, "the server's start", said).await;
        if *said.expect("the log is followed to its end") == Heard::Serving {
            self.process = Some(process);
            return Ok(());
        }
        process.ended(&self.log, PATIENCE).await;
        Err(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.child.kill();
            process.watchdog.dismiss();
            let _ = process.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("server on port {}: {}", self.port, self.log.tail());
        }
    }
}

impl Process {
    async fn ended(&mut self, log: &Log, bound: Duration) -> ExitStatus {
        let deadline = Instant::now() + bound;
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                // At once: the process's id may now become another's.
                self.watchdog.dismiss();
                // Its last lines may still be on their way.
                let end = self.heard.wait_for(|heard| *heard == Heard::End);
                let _ = within(PATIENCE, "the end of the log", end).await;
                return status;
            }
            if Instant::now() >= deadline {
                let _ = self.child.kill();
                self.watchdog.dismiss();
                let _ = self.child.wait();
                panic!("the server has not ended within {bound:?}: {}", log.tail());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Kills a server whose tests were killed themselves, which no destructor survives: a shell that
/// waits on a pipe that we hold.
struct Watchdog(Child, Option<ChildStdin>);

impl Watchdog {
    fn of(pid: u32) -> Self {
        let mut shell = Command::new("sh")
            .args(["-c", "read -r line || kill -KILL \"$1\"", "sh"])
            .arg(pid.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh runs");
        let pipe = shell.stdin.take();
        Self(shell, pipe)
    }

    fn dismiss(&mut self) {
        if let Some(mut pipe) = self.1.take() {
            let _ = pipe.write_all(b"done\n");
            let _ = self.0.wait();
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.dismiss();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Nothing,
    Serving,
    End,
}

/// What a server wrote, over all its lives.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn follow(&self, from: impl std::io::Read + Send + 'static) -> watch::Receiver<Heard> {
        let (say, heard) = watch::channel(Heard::Nothing);
        let log = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                let serving = line.contains("serving address=");
                log.push(line);
                if serving {
                    say.send_replace(Heard::Serving);
                }
            }
            say.send_replace(Heard::End);
        });
        heard
    }

    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line);
    }

    fn has(&self, text: &str) -> bool {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().any(|line| line.contains(text))
    }

    fn tail(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from = lines.len().saturating_sub(60);
        lines[from..].join("\n  ")
    }
}

fn free_port() -> u16 {
    for _ in 0..100 {
        let port = rand::random_range(PORTS);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port on the loopback interface")
}
