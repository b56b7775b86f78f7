//! The operator's port: health, readiness and metrics over plain HTTP. Nothing here can change or read
//! a key.

mod pages;

use std::{collections::VecDeque, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use pages::Pages;

/// Most connections at once. Scrapers and probes are few; whoever comes when there are more takes the
/// place of who has been there longest, so nobody can keep a probe out.
const CONNECTIONS: usize = 64;
/// How long a connection may last, with one request and its answer. A scrape takes milliseconds.
const LIFE: Duration = Duration::from_secs(10);
/// Largest head of a request, in bytes. Hyper takes no less.
const HEAD_BYTES: usize = 8 * 1024;

/// A bound listener.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
}

impl HttpServer {
    /// Binds the address.
    ///
    /// # Errors
    /// The operating system's, such as an address in use.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
        })
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// The operating system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`, and then cuts off what is under way: nothing here is worth waiting for.
    pub async fn serve(self, pages: Arc<Pages>, stop: CancellationToken) {
        let connections = TaskTracker::new();
        let mut places: VecDeque<CancellationToken> = VecDeque::with_capacity(CONNECTIONS);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    if places.len() >= CONNECTIONS
                        && let Some(oldest) = places.pop_front()
                    {
                        oldest.cancel();
                    }
                    let place = stop.child_token();
                    places.push_back(place.clone());
                    let served = timeout(LIFE, connection(stream, pages.clone()));
                    connections.spawn(async move { place.run_until_cancelled(served).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "an HTTP connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        connections.close();
        connections.wait().await;
    }
}

async fn connection(stream: TcpStream, pages: Arc<Pages>) {
    let service = TowerToHyperService::new(pages.router());
    let served = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP connection ended with an error");
    }
}
