//! A server in this process, on a socket of its own.

use std::{net::SocketAddr, process, sync::Arc};

use semel_server::{
    app::{self, Ended, Running},
    config::{Config, Overrides},
    store::OpenError,
    telemetry::{Format, Telemetry},
};

use super::{Client, Scraped, Scratch, Wire, until, within};

/// Free ports, so that servers of several tests can run side by side.
const LISTEN: &str = "listen = \"127.0.0.1:0\"\nhttp_listen = \"127.0.0.1:0\"\n";

/// A running server. Its store lives in the scratch directory, or where the configuration says.
pub struct Host {
    running: Running,
    telemetry: Arc<Telemetry>,
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
        let text = format!("{LISTEN}database_url = \"{url}\"\n{toml}");
        let mut host = Self::serve(load(&scratch, &text)).await;
        host.scratch = Some(scratch);
        host
    }

    /// A server with exactly this configuration.
    pub async fn serve(config: Config) -> Self {
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
        let telemetry = Telemetry::local(&config.telemetry);
        let started = within(app::start(config, store, telemetry.clone())).await;
        let running = started.unwrap_or_else(|error| panic!("the server does not start: {error}"));
        Self {
            running,
            telemetry,
            scratch: None,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.running.address()
    }

    /// The address of metrics and health.
    pub fn http_address(&self) -> SocketAddr {
        self.running.http_address().expect("it serves HTTP")
    }

    /// What a scraper reads.
    pub fn scrape(&self) -> Scraped {
        Scraped::parse(&self.telemetry.scrape(Format::Text))
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
        let text = format!("{LISTEN}data_dir = {data:?}\n{toml}");
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
