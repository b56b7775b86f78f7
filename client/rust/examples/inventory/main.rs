//! A webhook receiver that takes stock off the shelf once per `Idempotency-Key`.
//!
//! `cargo run -p semel-client --example inventory -- --semel http://127.0.0.1:7420 --listen
//! 127.0.0.1:8080`

// With a path, as the demo and the tests include it, so that its own modules are found beside it.
#[path = "receiver.rs"]
#[allow(dead_code, unused_imports)] // They also use its faults and counters.
mod receiver;

use std::time::Duration;

use semel_client::Client;
use tokio::net::TcpListener;

use receiver::{Receiver, Stock};

const USAGE: &str = "usage: inventory [--semel http://127.0.0.1:7420] [--listen 127.0.0.1:8080] \
                     [--namespace webhooks] [--wait-ms 0]";

struct Arguments {
    semel: String,
    listen: String,
    namespace: String,
    wait: Duration,
}

fn arguments() -> Result<Arguments, String> {
    let mut parsed = Arguments {
        semel: "http://127.0.0.1:7420".to_owned(),
        listen: "127.0.0.1:8080".to_owned(),
        namespace: "webhooks".to_owned(),
        wait: Duration::ZERO,
    };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let value = given
            .next()
            .ok_or_else(|| format!("{name}: a value is missing"));
        match name.as_str() {
            "--semel" => parsed.semel = value?,
            "--listen" => parsed.listen = value?,
            "--namespace" => parsed.namespace = value?,
            "--wait-ms" => {
                let wait_ms = value?.parse().map_err(|error| format!("{name}: {error}"))?;
                parsed.wait = Duration::from_millis(wait_ms);
            }
            _ => return Err(format!("{name}: unknown")),
        }
    }
    Ok(parsed)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .init();
    let Arguments {
        semel,
        listen,
        namespace,
        wait,
    } = arguments().map_err(|error| format!("{error}\n{USAGE}"))?;

    // A webhook's sender gives up after some seconds: tell it to come back before that.
    let client = Client::builder()
        .deadline(Duration::from_secs(5))
        .connect(semel.as_str())?;
    let receiver = Receiver::new(client, Stock::new([("mug", 10), ("shirt", 3)]))
        .namespace(namespace)
        .wait(wait);

    let listener = TcpListener::bind(&listen).await?;
    print_tour(&semel, &listener.local_addr()?.to_string());
    axum::serve(listener, receiver::router(receiver.clone()))
        .with_graceful_shutdown(stop_signal())
        .await?;
    receiver.idle().await;
    Ok(())
}

/// Ends on Ctrl-C or SIGTERM.
async fn stop_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

fn print_tour(semel: &str, listen: &str) {
    let post = format!(
        "curl -i http://{listen}/webhooks -H 'Idempotency-Key: evt-1' \\\n    -d '{{\"type\":\"ORDER_PAID\",\"order_id\":\"o-1\",\"sku\":\"mug\",\"quantity\":2}}'"
    );
    println!(
        "inventory listens on http://{listen} and asks {semel}\n\n\
         take two mugs; send it twice, and the second answer is a replay:\n  {post}\n\n\
         the same key for another order is refused:\n  {}\n\n\
         look at the shelf and at what was taken:\n  curl http://{listen}/stock\n",
        post.replace("o-1", "o-2")
    );
}
