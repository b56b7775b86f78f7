//! A webhook sender's side of HTTP, over real sockets.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::receiver::{IDEMPOTENCY_KEY, REPLAYED};

/// A sender does not wait longer for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// An answer, as far as a sender looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub status: StatusCode,
    pub content_type: Bytes,
    pub body: Bytes,
    /// Said to be the repetition of an earlier one.
    pub is_replay: bool,
    /// When to come back; a final answer says nothing of the kind.
    pub retry_after: Option<Duration>,
}

/// A connection to the shop, kept open from one delivery to the next.
pub(super) struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    pub async fn open(shop: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(shop).await?;
        stream.set_nodelay(true)?;
        let (send, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        // Ends by itself when the sending half is dropped.
        tokio::spawn(connection);
        Ok(Self(send))
    }

    pub async fn post(&mut self, key: Option<&str>, body: Bytes) -> io::Result<Reply> {
        let exchange = async {
            let request = request(key, body).map_err(io::Error::other)?;
            self.0.ready().await.map_err(io::Error::other)?;
            let answer = self
                .0
                .send_request(request)
                .await
                .map_err(io::Error::other)?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            let seconds = head.headers.get(header::RETRY_AFTER);
            let seconds = seconds.and_then(|value| value.to_str().ok()?.parse().ok());
            Ok(Reply {
                status: head.status,
                content_type: head
                    .headers
                    .get(header::CONTENT_TYPE)
                    .map(|value| Bytes::copy_from_slice(value.as_bytes()))
                    .unwrap_or_default(),
                body,
                is_replay: head.headers.contains_key(REPLAYED),
                retry_after: seconds.map(Duration::from_secs),
            })
        };
        timeout(PATIENCE, exchange).await?
    }
}

fn request(key: Option<&str>, body: Bytes) -> http::Result<Request<Full<Bytes>>> {
    let mut request = Request::post("/webhooks")
        .header(header::HOST, "shop")
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(key) = key {
        request = request.header(IDEMPOTENCY_KEY, key);
    }
    request.body(Full::new(body))
}

/// Sends a delivery and hangs up without having read the answer: at once, or when it has arrived.
///
/// Written by hand, because an HTTP client would read the answer.
pub(super) async fn send_and_hang_up(
    shop: SocketAddr,
    key: &str,
    body: &str,
    wait_for_answer: bool,
) -> io::Result<()> {
    let mut stream = TcpStream::connect(shop).await?;
    let request = format!(
        "POST /webhooks HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n\
         {IDEMPOTENCY_KEY}: {key}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    if wait_for_answer {
        timeout(PATIENCE, stream.readable()).await??;
    }
    Ok(())
}
