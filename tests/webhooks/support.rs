//! A Semel, a service behind a receiver, and what is sent to it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{Router, routing::any};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use semel_client::{
    Client,
    webhook::{
        Preset, Receiver,
        signature::{Secret, sign_standard},
    },
};
use semel_server::{
    app::{self, Running},
    config::{Config, Overrides},
    telemetry::Telemetry,
};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    task::{AbortHandle, JoinHandle},
};

pub use semel_tests::within;

/// A Semel in this process, with an embedded store of its own.
pub struct Semel {
    running: Option<Running>,
    dir: TempDir,
    toml: String,
}

impl Semel {
    pub async fn start(toml: &str) -> Self {
        let mut semel = Self {
            running: None,
            dir: tempfile::tempdir().expect("a temporary directory"),
            toml: toml.to_owned(),
        };
        semel.start_at("127.0.0.1:0").await;
        semel
    }

    /// Starts it, where it does not run.
    pub async fn start_at(&mut self, listen: &str) {
        let data = self.dir.path().join("data");
        let file = self.dir.path().join("semel.toml");
        let text = format!(
            "listen = {listen:?}\nhttp_listen = \"off\"\ndata_dir = {data:?}\n{}",
            self.toml
        );
        std::fs::write(&file, text).expect("a file in a temporary directory");
        let loaded = Config::load(&Overrides {
            config: Some(file),
            ..Overrides::default()
        });
        let config = loaded.unwrap_or_else(|problems| panic!("{problems}"));
        let store = within(app::open_store(&config.store, config.migrate)).await;
        let store = store.unwrap_or_else(|error| panic!("the store does not open: {error}"));
        let telemetry = Telemetry::local(&config.telemetry);
        let running = within(app::start(config, store, telemetry)).await;
        self.running = Some(running.unwrap_or_else(|error| panic!("no start: {error}")));
    }

    pub fn address(&self) -> SocketAddr {
        self.running.as_ref().expect("it runs").address()
    }

    pub fn client(&self) -> Client {
        Client::connect(format!("http://{}", self.address())).expect("an address")
    }

    /// One that gives up soon.
    pub fn impatient_client(&self) -> Client {
        Client::builder()
            .deadline(Duration::from_millis(300))
            .connect(format!("http://{}", self.address()))
            .expect("an address")
    }

    pub async fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.stop();
            within(running.ended()).await;
        }
    }

    /// Stops it and starts it again where it was.
    pub async fn restart(&mut self) {
        let address = self.address().to_string();
        self.stop().await;
        self.start_at(&address).await;
    }
}

/// What the service's handler is to do, one after the other; the last one for ever.
pub type Handler = Arc<dyn Fn(usize, HeaderMap, Bytes) -> Told + Send + Sync>;

/// What a handler says, and how long it takes for it.
pub struct Told {
    pub status: StatusCode,
    pub headers: Vec<(&'static str, &'static str)>,
    pub body: Bytes,
    /// How long the work takes.
    pub takes: Duration,
    /// Waits until this is given.
    pub gate: Option<Arc<Semaphore>>,
}

pub fn say(status: u16, body: impl Into<Bytes>) -> Told {
    Told {
        status: StatusCode::from_u16(status).expect("a status"),
        headers: Vec::new(),
        body: body.into(),
        takes: Duration::ZERO,
        gate: None,
    }
}

/// An axum service behind a receiver.
pub struct Service {
    pub address: SocketAddr,
    /// How often its handler has begun.
    pub begun: Arc<AtomicUsize>,
    /// How often its handler has ended.
    pub ended: Arc<AtomicUsize>,
    pub receiver: Receiver,
    server: AbortHandle,
}

impl Service {
    pub async fn start(
        receiver: Receiver,
        handler: impl Fn(usize, HeaderMap, Bytes) -> Told + Send + Sync + 'static,
    ) -> Self {
        let begun = Arc::new(AtomicUsize::new(0));
        let ended = Arc::new(AtomicUsize::new(0));
        let handler: Handler = Arc::new(handler);
        let counts = (begun.clone(), ended.clone());
        let handle = move |headers: HeaderMap, body: Bytes| {
            let (begun, ended) = counts.clone();
            let handler = handler.clone();
            async move {
                let told = handler(begun.fetch_add(1, Ordering::SeqCst), headers, body);
                if let Some(gate) = &told.gate {
                    gate.acquire().await.expect("it is never closed").forget();
                }
                tokio::time::sleep(told.takes).await;
                ended.fetch_add(1, Ordering::SeqCst);
                let mut headers = HeaderMap::new();
                for (name, value) in told.headers {
                    headers.append(name, value.parse().expect("a header"));
                }
                (told.status, headers, told.body)
            }
        };
        let app = Router::new()
            .route("/", any(handle.clone()))
            .route("/other", any(handle))
            .layer(receiver.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has an address");
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("it serves");
        });
        Self {
            address,
            begun,
            ended,
            receiver,
            server: server.abort_handle(),
        }
    }

    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An answer, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn is_replayed(&self) -> bool {
        self.header("idempotent-replayed") == Some("true")
    }

    /// The last part of a problem's type. Checks that it is a whole one.
    pub fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let problem: serde_json::Value = serde_json::from_slice(&self.body).expect("JSON");
        assert_eq!(problem["status"], self.status);
        for field in ["title", "detail"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()));
        }
        let kind = problem["type"].as_str().expect("a type");
        let kind = kind.strip_prefix("https://semel.dev/problems/");
        kind.expect("one of ours").to_owned()
    }
}

/// A client over real sockets.
#[derive(Clone)]
pub struct Caller(HttpClient<HttpConnector, Full<Bytes>>);

impl Caller {
    pub fn new() -> Self {
        Self(HttpClient::builder(TokioExecutor::new()).build_http())
    }

    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        within(self.try_send(request)).await.expect("an answer")
    }

    pub async fn try_send(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let response = self.0.request(request).await.map_err(|e| e.to_string())?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    }

    /// Posts with these headers.
    pub async fn post(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.send(post(url, headers, body)).await
    }
}

pub fn post(url: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut request = Request::post(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).expect("a request")
}

/// A secret of Standard Webhooks.
pub fn secret() -> Secret {
    Secret::standard("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64")
}

/// A delivery that is signed as in Standard Webhooks, now.
pub fn signed(url: &str, id: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let body = body.into();
    let now = SystemTime::now();
    let time = now
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let headers = [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", time.to_string()),
        (
            "webhook-signature",
            sign_standard(&secret(), id, now, &body),
        ),
    ];
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    post(url, &headers, body)
}

/// A receiver of plain keys.
pub fn by_key(client: Client) -> Receiver {
    Receiver::new(client, "api", Preset::idempotency_key())
}

/// A service whose handler waits for the gate.
pub async fn gated(receiver: Receiver, gate: &Arc<Semaphore>) -> Service {
    let gate = gate.clone();
    Service::start(receiver, move |_, _, _| Told {
        gate: Some(gate.clone()),
        ..say(200, "done")
    })
    .await
}

/// Posts, and goes on when the service's first handler runs.
pub async fn begin(
    service: &Service,
    headers: &'static [(&'static str, &'static str)],
) -> JoinHandle<Answer> {
    let url = service.url();
    let posted = tokio::spawn(async move { Caller::new().post(&url, headers, "").await });
    until("the handler runs", || service.begun() == 1).await;
    posted
}

/// Looks again and again; the pause only keeps the looking from being all that the machine does.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let looking = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(20), looking)
        .await
        .is_err()
    {
        panic!("not within 20 seconds: {what}");
    }
}
