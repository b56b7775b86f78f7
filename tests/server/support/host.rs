//! A server in this process, on a socket of its own.

use std::{net::SocketAddr, process, sync::OnceLock};

use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use semel_server::{
    app::{self, Ended, Running},
    config::{Config, Overrides},
    store::OpenError,
};

use super::{Client, Scratch, Wire, until, within};

/// A running server. Its store lives in the scratch directory, or where the configuration says.
pub struct Host {
    running: Running,
    /// Gone with the server, unless somebody else holds it.
    scratch: Option<Scratch>,
}

impl Host {
    /// A server with an embedded store of its own, configured by `toml`.
    pub async fn start(toml: &str) -> Self {
        let scratch = Scratch::new();
        let mut host = Self::on(&scratch, toml).await;
        host.scratch = Some(scratch);
        host
    }

    /// A server with the embedded store in `scratch`.
    pub async fn on(scratch: &Scratch, toml: &str) -> Self {
        Self::serve(scratch.config(toml)).await
    }

    /// A server on the Postgres that `url` names.
    pub async fn on_url(url: &str, toml: &str) -> Self {
        let scratch = Scratch::new();
        let text = format!("listen = \"127.0.0.1:0\"\ndatabase_url = \"{url}\"\n{toml}");
        let mut host = Self::serve(load(&scratch, &text)).await;
        host.scratch = Some(scratch);
        host
    }

    /// A server with exactly this configuration.
    pub async fn serve(config: Config) -> Self {
        metrics();
        // A process that another test starts has all our files open for a moment, until it is
        // another program: also the lock of a directory that was given back.
        let opened = until("the data directory is free", || async {
            match app::open_store(&config.store, config.migrate).await {
                Err(OpenError::Locked { pid, .. }) if pid == Some(process::id()) => None,
                opened => Some(opened),
            }
        })
        .await;
        let store = opened.unwrap_or_else(|error| panic!("the store does not open: {error}"));
        let started = within(app::start(config, store)).await;
        let running = started.unwrap_or_else(|error| panic!("the server does not start: {error}"));
        Self {
            running,
            scratch: None,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// A client with a connection of its own, which is never made again by itself.
    pub async fn client(&self) -> Client {
        self.wire().await.client()
    }

    /// A connection of its own.
    pub async fn wire(&self) -> Wire {
        Wire::connect(self.address()).await
    }

    /// Asks it to stop and goes on.
    pub fn ask_to_stop(&self) {
        self.running.stop();
    }

    /// Stops it, and says how it ended. Clients have to be gone, or it waits for them.
    pub async fn stop(mut self) -> Ended {
        self.running.stop();
        within(self.running.ended()).await
    }
}

impl Scratch {
    /// A configuration whose embedded store is in here.
    pub fn config(&self, toml: &str) -> Config {
        let data = self.path("data");
        let text = format!("listen = \"127.0.0.1:0\"\ndata_dir = {data:?}\n{toml}");
        load(self, &text)
    }
}

fn load(scratch: &Scratch, text: &str) -> Config {
    let config = Some(scratch.file("semel.toml", text));
    let loaded = Config::load(&Overrides {
        config,
        ..Overrides::default()
    });
    loaded.unwrap_or_else(|problems| panic!("{problems}"))
}

/// What all servers of this process tell about themselves: the provider to flush, and what came
/// out of it. Set before the first of them starts, because they ask for it then.
pub fn metrics() -> &'static (SdkMeterProvider, InMemoryMetricExporter) {
    static METRICS: OnceLock<(SdkMeterProvider, InMemoryMetricExporter)> = OnceLock::new();
    METRICS.get_or_init(|| {
        let exporter = InMemoryMetricExporter::default();
        let provider = SdkMeterProvider::builder()
            .with_reader(PeriodicReader::builder(exporter.clone()).build())
            .build();
        opentelemetry::global::set_meter_provider(provider.clone());
        (provider, exporter)
    })
}
