//! The accept loop: connections in, requests to the service, and a drain that ends.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http::Request;
use hyper::{
    body::Incoming,
    server::conn::http2,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use super::{Cork, HttpResponse};
use crate::rpc::{Connection, SESSIONS};

/// Bounds of connections.
#[derive(Debug, Clone)]
pub struct NetSettings {
    /// Most connections at once. More wait in the kernel's queue.
    pub connections: usize,
    /// Most calls under way on one connection.
    pub streams_per_connection: u32,
    /// Largest list of headers of one call, in bytes.
    pub header_list_bytes: u32,
    /// How long a new connection may take to say that it speaks HTTP/2.
    pub greeting_timeout: Duration,
    /// A silent connection is asked for a sign of life this often.
    pub keepalive_interval: Duration,
    /// And is closed when none has come for this long.
    pub keepalive_timeout: Duration,
}

impl Default for NetSettings {
    fn default() -> Self {
        Self {
            connections: 1_024,
            streams_per_connection: 1_024,
            header_list_bytes: 16 * 1024,
            greeting_timeout: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(20),
        }
    }
}

/// HTTP/2 flow-control windows, in bytes. What is read of a call is given room for again at once, so
/// a message may be larger than either.
///
/// The first bounds what a call may have sent that is not read: it is what a call takes that stands
/// still, and the largest part of what the server holds of requests. The window of the connection
/// holds nothing by itself; it has to be so wide that calls which stand still leave the others room,
/// or one slow stream would stop a whole client. Of Sessions that is
/// - [`SESSIONS`] × [`STREAM_WINDOW`] bytes, 4 MiB;
/// - what h2 charges for small frames: for each that is shorter than 256 bytes and not read it
///   charges the difference, and at half of the connection's window it closes the connection. Of a
///   client that stays within a Session's window of 1,024 commands, [`SESSIONS`] × 256 KiB, 8 MiB.
///   One that does not has sent no more than its [`STREAM_WINDOW`]: of frames of 22 bytes 1.4 MiB.
///
/// The rest is for single calls that wait for admission.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 32 * 1024 * 1024;
const _: () = assert!(SESSIONS * (STREAM_WINDOW as usize) < CONNECTION_WINDOW as usize / 4);
const _: () = assert!(SESSIONS * 1_024 * 256 <= CONNECTION_WINDOW as usize / 4);
/// Bytes of answers that one stream may have buffered.
const SEND_BUFFER: usize = 1024 * 1024;

/// A bound listener.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    settings: NetSettings,
}

impl Server {
    /// Binds the address.
    ///
    /// # Errors
    /// The operating system's, such as an address in use.
    pub async fn bind(address: SocketAddr, settings: NetSettings) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            settings,
        })
    }

    /// The address that was bound; the port is the real one where port 0 was asked for.
    ///
    /// # Errors
    /// The operating system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`, then takes no more connections and calls and waits up to `drain` for
    /// those under way. Whether all of them ended in time.
    ///
    /// A `drain` of less than the second that [`Cork`] waits for the other end to close is over
    /// before a client is that does not close.
    pub async fn serve<S>(self, service: S, stop: CancellationToken, drain: Duration) -> bool
    where
        S: Service<Request<Incoming>, Response = HttpResponse, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send + 'static,
    {
        let connections = TaskTracker::new();
        let abandon = CancellationToken::new();
        let places = Arc::new(Semaphore::new(self.settings.connections));
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
                (Ok(place), Ok((stream, peer))) => {
                    let connection =
                        self.connection(stream, service.clone(), stop.clone(), abandon.clone());
                    connections.spawn(async move {
                        let _place = place;
                        if let Err(error) = connection.await {
                            tracing::debug!(%peer, %error, "a connection ended with an error");
                        }
                    });
                }
                (_, Err(error)) => {
                    // Out of file descriptors, say: pause instead of spinning on it.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                (Err(_), _) => break,
            }
        }
        drop(self.listener);
        connections.close();
        let drained = timeout(drain, connections.wait()).await.is_ok();
        if !drained {
            tracing::warn!(
                connections = connections.len(),
                "connections did not end within the drain time and are closed"
            );
            abandon.cancel();
            connections.wait().await;
        }
        drained
    }

    fn connection<S>(
        &self,
        stream: TcpStream,
        service: S,
        stop: CancellationToken,
        abandon: CancellationToken,
    ) -> impl Future<Output = hyper::Result<()>> + Send + 'static
    where
        S: Service<Request<Incoming>, Response = HttpResponse, Error = Infallible>
            + Clone
            + Send
            + 'static,
        S::Future: Send + 'static,
    {
        // Small answers must not wait for the peer's acknowledgement of the last ones.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let calls = Connection::new();
        let mut builder = http2::Builder::new(calls.clone());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.settings.streams_per_connection)
            .max_header_list_size(self.settings.header_list_bytes)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(self.settings.keepalive_interval)
            .keep_alive_timeout(self.settings.keepalive_timeout);
        let greeting_timeout = self.settings.greeting_timeout;
        async move {
            // Hyper waits for the greeting for ever.
            tokio::select! {
                greeted = timeout(greeting_timeout, greeting(&stream)) => {
                    if !matches!(greeted, Ok(Ok(()))) {
                        return Ok(());
                    }
                }
                () = stop.cancelled() => return Ok(()),
            }
            let service = TowerToHyperService::new(service);
            let service = service_fn(move |mut request| {
                calls.take_in(&mut request);
                service.call(request)
            });
            let connection = builder.serve_connection(TokioIo::new(Cork::new(stream)), service);
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                ended = connection.as_mut() => return ended,
                () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            tokio::select! {
                ended = connection => ended,
                () = abandon.cancelled() => Ok(()),
            }
        }
    }
}

/// What a client says first on an HTTP/2 connection (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Waits until the client has said [`PREFACE`], or something else. Takes nothing from the stream.
async fn greeting(stream: &TcpStream) -> io::Result<()> {
    let mut said = [0; PREFACE.len()];
    loop {
        let len = stream.peek(&mut said).await?;
        // Something else is hyper's to refuse.
        if len == 0 || len == said.len() || said[..len] != PREFACE[..len] {
            return Ok(());
        }
        // A part of it: what has come stays readable, so there is no event to wait for.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
