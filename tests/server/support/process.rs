//! The real binary, as a process.

use std::{
    env,
    net::SocketAddr,
    path::PathBuf,
    process::{self, Stdio},
    sync::{Arc, Mutex, OnceLock},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, Command},
    task::JoinHandle,
};

use super::until;

/// How a process ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Checks the exit code.
    #[track_caller]
    pub fn expect_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Checks the exit code, and what every message of ours has to keep to.
    #[track_caller]
    pub fn expect(&self, code: i32) -> &Self {
        self.expect_code(code);
        let said = format!("{}{}", self.stdout, self.stderr);
        for dump in [
            "panicked",
            "RUST_BACKTRACE",
            "Error {",
            "Some(",
            "Err(",
            "kind:",
            " { ",
        ] {
            assert!(
                !said.contains(dump),
                "{dump:?} is not for people: {self:#?}"
            );
        }
        self
    }

    /// Checks that the errors say all of these.
    #[track_caller]
    pub fn says(&self, all: &[&str]) -> &Self {
        for text in all {
            assert!(
                self.stderr.contains(text),
                "does not say {text:?}: {self:#?}"
            );
        }
        self
    }

    /// Checks that this is nowhere in the output.
    #[track_caller]
    pub fn hides(&self, secret: &str) -> &Self {
        let said = format!("{}{}", self.stdout, self.stderr);
        assert!(!said.contains(secret), "says {secret:?}: {self:#?}");
        self
    }
}

/// The binary with these arguments and nothing of ours in its environment. It is killed with us.
pub fn semel(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    let is_ours = |name: &str| name.starts_with("SEMEL_") || name.starts_with("OTEL_");
    for (name, _) in env::vars().filter(|(name, _)| is_ours(name)) {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1")
        // A free port: servers of several tests run side by side.
        .env("SEMEL_HTTP_LISTEN", "127.0.0.1:0")
        .current_dir(env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// A process that was started, and every line that it wrote to standard error.
pub struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: JoinHandle<()>,
}

impl Process {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the binary starts");
        let stderr = child.stderr.take().expect("it is piped");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let written = lines.clone();
        let reader = tokio::spawn(async move {
            let mut stderr = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = stderr.next_line().await {
                written.lock().unwrap().push(line);
            }
        });
        Self {
            child,
            lines,
            reader,
        }
    }

    /// Runs it to its end.
    pub async fn finish(command: Command) -> Ended {
        Self::start(command).ended().await
    }

    /// Waits until it serves, as its log in JSON tells, and where.
    pub async fn serving(&self) -> SocketAddr {
        self.serving_as("address").await
    }

    /// The same, and where its metrics and health are.
    pub async fn serving_http(&self) -> SocketAddr {
        self.serving_as("http").await
    }

    async fn serving_as(&self, field: &str) -> SocketAddr {
        until("the server serves", || async {
            let lines = self.lines();
            let line = lines.iter().find(|line| line.contains("\"serving\""))?;
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            line[field].as_str()?.parse().ok()
        })
        .await
    }

    /// Its number in the system.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Sends it a signal, such as `TERM`.
    pub async fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let kill = Command::new("kill").args(["-s", name, &id]).status().await;
        assert!(kill.expect("kill runs").success());
    }

    /// Waits for its end, and kills it if that does not come.
    pub async fn ended(mut self) -> Ended {
        let ending = async {
            let status = self.child.wait().await.expect("it can be waited for");
            let mut stdout = String::new();
            let mut pipe = self.child.stdout.take().expect("it is piped");
            pipe.read_to_string(&mut stdout).await.expect("text");
            (&mut self.reader).await.expect("the reader ends with it");
            (status.code(), stdout)
        };
        match tokio::time::timeout(Duration::from_secs(25), ending).await {
            Ok((code, stdout)) => Ended {
                code,
                stdout,
                stderr: self.lines().join("\n"),
            },
            Err(_) => panic!("it has not ended within 25 seconds: {:#?}", self.lines()),
        }
    }
}

/// The binary that `SEMEL_TEST_SERVER_BIN` names, or one that is built from the checkout, once.
fn program() -> PathBuf {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| match env::var_os("SEMEL_TEST_SERVER_BIN") {
        Some(path) => Ok(path.into()),
        None => build(),
    });
    program
        .clone()
        .unwrap_or_else(|error| panic!("the binary cannot be built: {error}"))
}

/// Others may be building, too, and cargo lets one after the other.
const BUILD_LIMIT: Duration = Duration::from_secs(300);

fn build() -> Result<PathBuf, String> {
    // The same packages as this test's, so that nothing is compiled with other features.
    let mut cargo = process::Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--package",
            "semel-server",
            "--bin",
            "semel",
        ])
        .args(["--package", "semel-tests", "--test", "server"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .spawn()
        .map_err(|error| error.to_string())?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = cargo.try_wait().map_err(|error| error.to_string())? {
            break status;
        }
        if started.elapsed() > BUILD_LIMIT {
            let _ = cargo.kill();
            let _ = cargo.wait();
            return Err(format!("not within {BUILD_LIMIT:?}"));
        }
        thread::sleep(Duration::from_millis(20));
    };
    if !status.success() {
        return Err(status.to_string());
    }
    let mut place = env::current_exe().map_err(|error| error.to_string())?;
    place.pop(); // deps
    place.pop();
    Ok(place.join("semel"))
}
