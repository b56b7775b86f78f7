//! One HTTP/2 connection, as a client of any service on it.
//!
//! Not tonic's own channel: that one keeps deadlines itself, answers CANCELLED when they pass, and
//! makes a lost connection again in secret, so it would hide what the server does.

use std::{
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response, Uri};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use semel_proto::v1::idempotency_service_client::IdempotencyServiceClient;
use tokio::net::TcpStream;
use tonic::body::Body;

use super::within;

/// A client of the service on one connection.
pub type Client = IdempotencyServiceClient<Wire>;

/// One connection. Its clones share it; with the last of them it ends.
#[derive(Clone)]
pub struct Wire {
    requests: http2::SendRequest<Body>,
    pub origin: Uri,
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Self {
        within(Self::try_connect(address))
            .await
            .unwrap_or_else(|error| panic!("cannot connect: {error}"))
    }

    /// Connects and shakes hands, if the server does.
    pub async fn try_connect(
        address: SocketAddr,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Self::shake_hands(address, &http2::Builder::new(TokioExecutor::new())).await
    }

    /// A connection on which the server may send little ahead of what is read, so that one who
    /// does not read is soon felt.
    pub async fn narrow(address: SocketAddr) -> Self {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(4 * 1024);
        within(Self::shake_hands(address, &builder))
            .await
            .unwrap_or_else(|error| panic!("cannot connect: {error}"))
    }

    async fn shake_hands(
        address: SocketAddr,
        builder: &http2::Builder<TokioExecutor>,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (requests, connection) = builder.handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            let _ = connection.await;
        });
        let origin = format!("http://{address}").parse()?;
        Ok(Self { requests, origin })
    }

    pub fn client(&self) -> Client {
        IdempotencyServiceClient::with_origin(self.clone(), self.origin.clone())
            .max_decoding_message_size(16 * 1024 * 1024)
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }
}

impl tower::Service<Request<Body>> for Wire {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Response<Incoming>>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.requests.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.requests.send_request(request))
    }
}
