//! What the demo starts: a Semel server, and a shop that asks it.

use std::fs::DirBuilder;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use semel_client::Client;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::plan::Plan;
use super::receiver::{self, Receiver, Stock};
use crate::app::{self, Ended, Running, StartError};
use crate::cli::{Exit, serve};
use crate::config::{Config, Overrides};
use crate::telemetry::Telemetry;

/// The namespace of the demo's keys.
pub(super) const NAMESPACE: &str = "demo";
/// How long after a crash another delivery may take over. Long enough for a busy machine to extend
/// it in time, short enough to be waited for.
const LEASE: Duration = Duration::from_secs(2);
/// How long a duplicate waits for the one that is at work before it is told to come back.
const WAIT: Duration = Duration::from_millis(250);

/// Where the demo's server keeps its keys.
pub(super) enum Place {
    /// Removed at the end.
    Temporary(PathBuf),
    /// The caller's own.
    Kept(PathBuf),
}

impl Place {
    pub fn new(data_dir: Option<PathBuf>) -> io::Result<Self> {
        if let Some(path) = data_dir {
            return Ok(Self::Kept(path));
        }
        let name = format!("semel-demo-{:016x}", rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        // For this user only, and an error where somebody was faster.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self::Temporary(path))
    }

    pub fn path(&self) -> &Path {
        match self {
            Self::Temporary(path) | Self::Kept(path) => path,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Self::Temporary(path) = self {
            // What cannot be removed is in the directory for such things.
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

/// A Semel server in this process.
pub(super) struct Semel {
    config: Config,
    running: Running,
}

impl Semel {
    /// Starts it on a free port, with its keys in `place`.
    pub async fn start(place: &Place) -> Result<Self, Exit> {
        let overrides = Overrides {
            listen: Some("127.0.0.1:0".into()),
            http_listen: Some("off".into()),
            data_dir: Some(place.path().to_owned()),
            ..Overrides::default()
        };
        let config = Config::load(&overrides).map_err(|problems| {
            eprintln!("semel: {problems}");
            Exit::Config
        })?;
        let running = run(&config).await?;
        // The port that it was given, also for the next start.
        let config = Config {
            listen: running.address(),
            ..config
        };
        Ok(Self { config, running })
    }

    /// Stops it as a deployment would, and starts it again on the same port and the same keys.
    pub async fn restart(&mut self) -> Result<(), Exit> {
        self.stop().await?;
        self.running = run(&self.config).await?;
        Ok(())
    }

    pub async fn stop(&mut self) -> Result<(), Exit> {
        self.running.stop();
        match self.running.ended().await {
            Ended::Drained | Ended::Cut => Ok(()),
            Ended::Broken => {
                eprintln!("semel: the server stopped by a bug");
                Err(Exit::Failure)
            }
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.config.listen)
    }
}

async fn run(config: &Config) -> Result<Running, Exit> {
    let store = app::open_store(&config.store, config.migrate)
        .await
        .map_err(|error| serve::open_failed(&error))?;
    let telemetry = Telemetry::local(&config.telemetry);
    let started = app::start(config.clone(), store, telemetry).await;
    started.map_err(|error| {
        eprintln!("semel: {error}");
        match error {
            StartError::Listen { .. } => Exit::Listen,
            _ => Exit::Failure,
        }
    })
}

/// The shop: the example receiver, over HTTP.
pub(super) struct Shop {
    pub address: SocketAddr,
    pub receiver: Receiver,
    stop: CancellationToken,
    serving: JoinHandle<io::Result<()>>,
}

impl Shop {
    pub async fn open(client: Client, plan: &Plan) -> io::Result<Self> {
        let stock = Stock::new(plan.items.iter().map(|item| (item.sku, item.at_start)));
        let receiver = Receiver::new(client, stock)
            .namespace(NAMESPACE)
            .lease(LEASE)
            .wait(WAIT);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let serve = axum::serve(listener, receiver::router(receiver.clone()))
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        let serving = tokio::spawn(async move { serve.await });
        Ok(Self {
            address,
            receiver,
            stop,
            serving,
        })
    }

    /// Closes when the requests under way are answered.
    pub async fn close(self) {
        self.stop.cancel();
        let _ = self.serving.await;
    }
}
