//! Receives webhooks of GitHub's and Stripe's, and does once what each says.
//!
//! ```sh
//! export GITHUB_WEBHOOK_SECRET=… STRIPE_WEBHOOK_SECRET=whsec_…
//! cargo run -p semel-client --example webhooks -- --semel http://127.0.0.1:7420 --listen 127.0.0.1:8080
//! ```

mod books;
mod github;
mod stripe;

use std::{env, error::Error};

use axum::{Router, routing::post};
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

use books::Books;

/// Receives GitHub's and Stripe's webhooks. Their secrets are in GITHUB_WEBHOOK_SECRET and
/// STRIPE_WEBHOOK_SECRET.
#[derive(Parser)]
struct Arguments {
    /// Where Semel listens.
    #[arg(long, default_value = "http://127.0.0.1:7420")]
    semel: String,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(LevelFilter::WARN)
        .init();
    let arguments = Arguments::parse();
    let semel = Client::connect(arguments.semel.as_str())?;

    let secret = secret_in("GITHUB_WEBHOOK_SECRET")?;
    let github = Receiver::new(semel.clone(), "github", Preset::github(secret));
    let secret = secret_in("STRIPE_WEBHOOK_SECRET")?;
    let stripe = Receiver::new(semel, "stripe", Preset::stripe(secret));
    let app = Router::new()
        .route("/github", post(github::handle).route_layer(github.clone()))
        .route("/stripe", post(stripe::handle).route_layer(stripe.clone()))
        .with_state(Books::default());

    let listener = TcpListener::bind(&arguments.listen).await?;
    let address = listener.local_addr()?.to_string();
    println!("webhooks listens on http://{address}");
    println!("{}", include_str!("tour.txt").replace("ADDRESS", &address));
    axum::serve(listener, app)
        .with_graceful_shutdown(stop_signal())
        .await?;
    // What a client that hung up has left behind.
    github.drain().await;
    stripe.drain().await;
    Ok(())
}

/// From the environment, where other users of the machine do not see it.
fn secret_in(variable: &str) -> Result<Secret, Box<dyn Error>> {
    let secret = env::var(variable).map_err(|error| format!("{variable}: {error}"))?;
    Ok(Secret::text(secret).map_err(|error| format!("{variable}: {error}"))?)
}

/// Ends on Ctrl-C or SIGTERM.
async fn stop_signal() {
    let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
