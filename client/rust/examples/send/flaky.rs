//! A receiver with a bad network before it.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Extension, Router,
    extract::State,
    http::{Request, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use semel_client::{Context, webhook::Receiver};
use tokio::net::TcpListener;
use tower::ServiceExt as _;

/// What goes wrong, by path. All but the last two are right in the end.
pub const PATHS: [&str; 7] = [
    "/works",
    "/is-busy",
    "/drops-the-request",
    "/drops-the-answer",
    "/fails-once",
    "/is-gone",
    "/is-down",
];

/// How often each event was done.
pub type Done = Arc<Mutex<HashMap<String, u32>>>;

/// The connection breaks here.
#[derive(Debug, thiserror::Error)]
#[error("the connection was dropped")]
struct Dropped;

/// What stands between the sender and the handler.
#[derive(Clone)]
struct Network {
    orders: Router,
    seen: Arc<Mutex<HashSet<String>>>,
}

/// Starts it, on a free port, and says where it is and what it does.
pub async fn start(receiver: Receiver) -> io::Result<(SocketAddr, Done)> {
    let done = Done::default();
    let network = Network {
        orders: Router::new()
            .fallback(handle)
            .layer(receiver)
            .with_state(done.clone()),
        seen: Arc::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    // By hand, as `axum::serve` drops no connections.
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let network = network.clone();
            let service = service_fn(move |request| network.clone().carry(request));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
        }
    });
    Ok((address, done))
}

impl Network {
    /// Hyper drops the connection on which it is given an error instead of an answer.
    async fn carry(self, request: Request<Incoming>) -> Result<Response, Dropped> {
        let path = request.uri().path().to_owned();
        match (path.as_str(), self.is_first(&request)) {
            ("/is-busy", true) => Ok(busy()),
            ("/drops-the-request", true) => Err(Dropped),
            ("/drops-the-answer", true) => {
                // The order is done, and its sender does not hear of it.
                let _lost = self.answer(request).await;
                Err(Dropped)
            }
            ("/is-gone", _) => Ok(StatusCode::GONE.into_response()),
            ("/is-down", _) => Ok(StatusCode::BAD_GATEWAY.into_response()),
            _ => Ok(self.answer(request).await),
        }
    }

    fn is_first(&self, request: &Request<Incoming>) -> bool {
        let id = request.headers().get("webhook-id");
        let id = id.and_then(|id| id.to_str().ok()).unwrap_or_default();
        self.seen
            .lock()
            .expect("nobody panics")
            .insert(id.to_owned())
    }

    async fn answer(self, request: Request<Incoming>) -> Response {
        let answered: Result<_, Infallible> = self.orders.oneshot(request).await;
        answered.unwrap_or_else(|never| match never {})
    }
}

fn busy() -> Response {
    let retry_after = [(header::RETRY_AFTER, "1")];
    (StatusCode::SERVICE_UNAVAILABLE, retry_after).into_response()
}

/// Runs once for each event, and again when it fails.
async fn handle(
    State(done): State<Done>,
    Extension(work): Extension<Context>,
    uri: Uri,
) -> Result<&'static str, StatusCode> {
    if uri.path() == "/fails-once" && work.attempt() == 1 {
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let event = work.held().key().to_owned();
    *done
        .lock()
        .expect("nobody panics")
        .entry(event)
        .or_default() += 1;
    Ok("done")
}
