//! A server that runs, in a process of its own.

use std::{io, net::SocketAddr, process::Stdio, time::Duration};

use http::{Request, header};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use semel_client::Transport;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStderr, Command},
};

use super::program::semel;

const PATIENCE: Duration = Duration::from_secs(60);

/// Killed when it is dropped.
pub struct Server {
    _child: Child,
    _config: TempDir,
    grpc: SocketAddr,
    http: SocketAddr,
}

impl Server {
    /// Starts a server on `place` (arguments of `semel serve`) with the settings of `config` (TOML), and
    /// waits until it serves. Its spans go to `collector`.
    pub async fn start(place: &[String], config: &str, collector: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let file = dir.path().join("semel.toml");
        std::fs::write(&file, config).expect("a file can be written");
        let mut command = Command::new(semel());
        for (name, _) in std::env::vars_os() {
            // What a developer has set for a server of their own is not meant for ours.
            let text = name.to_string_lossy();
            if text.starts_with("SEMEL_") || text.starts_with("OTEL_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(["serve", "--log-format", "json", "--config"])
            .arg(&file)
            .args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .args(place)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
            .env("OTEL_BSP_SCHEDULE_DELAY", "200")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the server's program runs");
        let log = BufReader::new(child.stderr.take().expect("it is piped"));
        let (grpc, http) = tokio::time::timeout(PATIENCE, serving(log))
            .await
            .expect("the server starts in time");
        Self {
            _child: child,
            _config: dir,
            grpc,
            http,
        }
    }

    /// A client of it.
    pub fn client(&self, transport: Transport) -> semel_client::Client {
        semel_client::Client::builder()
            .transport(transport)
            .connect(format!("http://{}", self.grpc))
            .expect("the address is one")
    }

    /// What it tells Prometheus, in the format that `accept` asks for.
    pub async fn metrics(&self, accept: &str) -> String {
        let request = Request::get(format!("http://{}/metrics", self.http))
            .header(header::ACCEPT, accept)
            .body(Empty::<bytes::Bytes>::new())
            .expect("a request");
        let exchange = async {
            let client = Client::builder(TokioExecutor::new()).build_http();
            let answer = client.request(request).await.expect("it answers");
            assert!(answer.status().is_success(), "{}", answer.status());
            answer
                .into_body()
                .collect()
                .await
                .expect("a body")
                .to_bytes()
        };
        let body = tokio::time::timeout(PATIENCE, exchange).await;
        String::from_utf8(body.expect("it answers in time").into()).expect("metrics are text")
    }
}

/// Where it serves, by its log; what it says later is read so that it is not held up.
async fn serving(log: BufReader<ChildStderr>) -> (SocketAddr, SocketAddr) {
    let mut said = Vec::new();
    let mut lines = log.lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        if event["message"] == "serving" {
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            let address = |name: &str| {
                let text = event[name].as_str().unwrap_or_default();
                text.parse().unwrap_or_else(|_| panic!("{name} in {line}"))
            };
            return (address("address"), address("http"));
        }
        said.push(line);
    }
    panic!("the server does not start: {}", said.join("\n"));
}

/// An address at which nobody listens.
pub fn nobody() -> io::Result<SocketAddr> {
    // The port is free again at once; that another takes it meanwhile would only save some spans.
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()
}
