//! A `semel serve` process of our own.

use std::{
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::Outcome;

/// Ends with this value.
pub struct Server {
    process: Child,
    address: SocketAddr,
}

/// The binary that was built beside this program.
pub fn beside_this_program() -> Outcome<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("semel");
    if path.exists() {
        return Ok(path);
    }
    Err(
        "there is no `semel` beside this program; run `cargo build --release -p semel-server`"
            .into(),
    )
}

impl Server {
    pub fn start(binary: &Path, args: &[&str]) -> Outcome<Self> {
        // Free a moment ago; a clash with another process would show as a failed start.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut process = Command::new(binary)
            .args(["serve", "--listen", &address.to_string()])
            .args(args)
            .stderr(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(process.stderr.take().ok_or("no stderr")?).lines();
        for line in lines.by_ref() {
            if line?.contains("serving") {
                // Go on reading, so that the server never waits for room in the pipe.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Self { process, address });
            }
        }
        let _ = process.wait();
        Err("the server did not start".into())
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
