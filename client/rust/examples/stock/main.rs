//! Takes stock for paid orders once each, in a database that remembers why.
//!
//! Orders arrive as Standard Webhooks. The stock is in an SQLite file, or in a Postgres:
//!
//! ```sh
//! export ORDERS_WEBHOOK_SECRET=whsec_…
//! cargo run -p semel-client --example stock -- --semel http://127.0.0.1:7420 --listen 127.0.0.1:8080 \
//!     --database postgres://shop@localhost/shop
//! ```

mod orders;
mod shelf;

use std::{env, error::Error};

use axum::{
    Router,
    routing::{get, post},
};
use clap::Parser;
use semel_client::{
    Client,
    webhook::{Preset, Receiver, signature::Secret},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::filter::LevelFilter;

use shelf::Shelf;

const SECRET: &str = "ORDERS_WEBHOOK_SECRET";

/// Takes stock for paid orders. The secret that these are signed with is in ORDERS_WEBHOOK_SECRET.
#[derive(Parser)]
struct Arguments {
    /// Where Semel listens.
    #[arg(long, default_value = "http://127.0.0.1:7420")]
    semel: String,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: String,
    /// Where the stock is: SQLite or Postgres.
    #[arg(long, default_value = "sqlite:stock.db?mode=rwc")]
    database: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(LevelFilter::WARN)
        .init();
    let arguments = Arguments::parse();
    let shelf = Shelf::open(&arguments.database).await?;
    let semel = Client::connect(arguments.semel.as_str())?;

    let secret = env::var(SECRET).map_err(|error| format!("{SECRET}: {error}"))?;
    let secret = Secret::standard(secret).map_err(|error| format!("{SECRET}: {error}"))?;
    let preset = Preset::standard_webhooks(secret);
    let receiver = Receiver::new(semel, "orders", preset);
    let app = Router::new()
        .route("/orders", post(orders::handle).layer(receiver.clone()))
        .route("/stock", get(orders::stock))
        .with_state(shelf.clone());

    let listener = TcpListener::bind(&arguments.listen).await?;
    let address = listener.local_addr()?.to_string();
    println!("stock listens on http://{address}");
    println!("{}", include_str!("tour.txt").replace("ADDRESS", &address));
    axum::serve(listener, app)
        .with_graceful_shutdown(stop_signal())
        .await?;
    // Handlers whose clients have hung up still need the database.
    receiver.drain().await;
    shelf.close().await;
    Ok(())
}

/// Ends on Ctrl-C or SIGTERM.
async fn stop_signal() {
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
