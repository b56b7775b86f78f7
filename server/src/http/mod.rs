//! The operator's port: health, readiness and metrics over plain HTTP. Nothing here can change or read
//! a key.

mod pages;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use pages::Pages;

/// Most connections at once. Scrapers and probes are few; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// How long a connection may take to send a request's head, also the first and each next one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
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
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let connections = TaskTracker::new();
        loop {
            // A place first: while none is free, nobody is accepted.
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = async {
                    let place = places.clone().acquire_owned().await;
                    (place, self.listener.accept().await)
                } => accepted,
            };
            match accepted {
                (Ok(place), Ok((stream, _))) => {
                    let (pages, stop) = (pages.clone(), stop.clone());
                    connections.spawn(async move {
                        let _place = place;
                        stop.run_until_cancelled(connection(stream, pages)).await;
                    });
                }
                (_, Err(error)) => {
                    tracing::warn!(%error, "an HTTP connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                (Err(_), _) => break,
            }
        }
        connections.close();
        connections.wait().await;
    }
}

async fn connection(stream: TcpStream, pages: Arc<Pages>) {
    let service = TowerToHyperService::new(pages.router());
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP connection ended with an error");
    }
}
