//! A server process of our own.

use std::{
    env,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use crate::Outcome;

/// What the servers that we start say once they serve.
pub const SERVING: &str = "serving";

/// Ends with this value.
pub struct Server {
    process: Child,
    address: SocketAddr,
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
        if name.to_str().is_some_and(|name| name.starts_with("SEMEL_")) {
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
        Self::start(command)
    }

    /// Starts this program's no-op server.
    pub fn noop() -> Outcome<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("noop-server");
        Self::start(command)
    }

    fn start(command: Command) -> Outcome<Self> {
        let address = free_address()?;
        let mut process = without_settings(command)
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
                thread::spawn(move || {
                    for line in lines.map_while(Result::ok) {
                        eprintln!("    server: {line}");
                    }
                });
                return Ok(Self { process, address });
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
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
