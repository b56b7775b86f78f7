//! A collector of OTLP in this process: what a server told, and what is in it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::Link},
};
use prost::Message as _;
use tokio::{net::TcpListener, process::Command, sync::Notify, task::AbortHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

use super::until;

/// See the module. It ends with the test.
pub struct Collector {
    address: SocketAddr,
    received: Arc<Received>,
    serving: AbortHandle,
}

#[derive(Default)]
struct Received {
    traces: Mutex<Vec<ExportTraceServiceRequest>>,
    metrics: Mutex<Vec<ExportMetricsServiceRequest>>,
    /// Whether it takes what comes and never answers.
    hangs: AtomicBool,
    never: Notify,
}

/// A span with its attributes as texts.
#[derive(Debug, Clone)]
pub struct Traced(pub Span);

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has an address");
        let received = Arc::<Received>::default();
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::from_arc(received.clone()))
            .add_service(MetricsServiceServer::from_arc(received.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let serving = tokio::spawn(server).abort_handle();
        Self {
            address,
            received,
            serving,
        }
    }

    /// One that takes what comes and never answers.
    pub async fn hanging() -> Self {
        let collector = Self::start().await;
        collector.received.hangs.store(true, Ordering::SeqCst);
        collector
    }

    /// Has a server send its spans here, soon after they have ended.
    pub fn collects_from(&self, command: &mut Command) {
        command
            .env(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                format!("http://{}", self.address),
            )
            .env("OTEL_BSP_SCHEDULE_DELAY", "20");
    }

    /// Everything that came, as it was sent.
    pub fn bytes(&self) -> Vec<u8> {
        let traces = self.received.traces.lock().unwrap();
        let metrics = self.received.metrics.lock().unwrap();
        let traces = traces.iter().flat_map(|it| it.encode_to_vec());
        traces
            .chain(metrics.iter().flat_map(|it| it.encode_to_vec()))
            .collect()
    }

    /// Every span that came.
    pub fn spans(&self) -> Vec<Traced> {
        let traces = self.received.traces.lock().unwrap();
        let resources = traces.iter().flat_map(|it| &it.resource_spans);
        let scopes = resources.flat_map(|it| &it.scope_spans);
        let spans = scopes.flat_map(|it| &it.spans);
        spans.cloned().map(Traced).collect()
    }

    /// The names of the metrics that came.
    pub fn metrics(&self) -> Vec<String> {
        let metrics = self.received.metrics.lock().unwrap();
        let resources = metrics.iter().flat_map(|it| &it.resource_metrics);
        let scopes = resources.flat_map(|it| &it.scope_metrics);
        let metrics = scopes.flat_map(|it| &it.metrics);
        metrics.map(|metric| metric.name.clone()).collect()
    }

    /// What every sender said of itself under this name.
    pub fn resource(&self, name: &str) -> Vec<String> {
        let traces = self.received.traces.lock().unwrap();
        let resources = traces.iter().flat_map(|it| &it.resource_spans);
        resources
            .filter_map(|it| text(&it.resource.as_ref()?.attributes, name))
            .collect()
    }

    /// Waits for a span.
    pub async fn span(&self, what: &str, is_it: impl Fn(&Traced) -> bool) -> Traced {
        until(what, || async { self.spans().into_iter().find(&is_it) }).await
    }

    /// Waits for the server's span of the call that was made with this context.
    pub async fn server_span(&self, traceparent: &str) -> Traced {
        let parent = traceparent.split('-').nth(2).expect("a span").to_owned();
        let is_it = |span: &Traced| span.parent() == parent && span.is_of_server();
        self.span("the server's span", is_it).await
    }

    /// Waits for a span below another one.
    pub async fn child(&self, of: &Traced, name: &str) -> Traced {
        let is_it = |span: &Traced| span.parent() == of.id() && span.0.name == name;
        self.span(name, is_it).await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.received.never.notify_waiters();
        self.serving.abort();
    }
}

impl Received {
    async fn answers(&self) {
        while self.hangs.load(Ordering::SeqCst) {
            self.never.notified().await;
        }
    }
}

#[tonic::async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces.lock().unwrap().push(request.into_inner());
        self.answers().await;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Received {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics.lock().unwrap().push(request.into_inner());
        self.answers().await;
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Traced {
    pub fn trace(&self) -> String {
        hex::encode(&self.0.trace_id)
    }

    pub fn id(&self) -> String {
        hex::encode(&self.0.span_id)
    }

    /// The span above; empty at the root.
    pub fn parent(&self) -> String {
        hex::encode(&self.0.parent_span_id)
    }

    pub fn is_of_server(&self) -> bool {
        self.0.kind == 2
    }

    /// An attribute, as text.
    pub fn get(&self, name: &str) -> Option<String> {
        text(&self.0.attributes, name)
    }

    /// An attribute that has to be there.
    #[track_caller]
    pub fn must(&self, name: &str) -> String {
        self.get(name)
            .unwrap_or_else(|| panic!("no {name} in {self:#?}"))
    }

    /// Its traceparent.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace(), self.id())
    }

    /// The links of a kind.
    pub fn links(&self, kind: &str) -> Vec<&Link> {
        let of_kind = |link: &&Link| text(&link.attributes, "semel.link").as_deref() == Some(kind);
        self.0.links.iter().filter(of_kind).collect()
    }

    /// Checks that it has one link of this kind, and that it leads to that span.
    #[track_caller]
    pub fn expect_link(&self, kind: &str, to: &Self) {
        let links = self.links(kind);
        assert_eq!(links.len(), 1, "links of {kind} in {self:#?}");
        assert_eq!(hex::encode(&links[0].trace_id), to.trace());
        assert_eq!(hex::encode(&links[0].span_id), to.id());
    }

    /// Checks that it took place while the other did.
    #[track_caller]
    pub fn expect_within(&self, other: &Self) {
        let is_within = other.0.start_time_unix_nano <= self.0.start_time_unix_nano
            && self.0.start_time_unix_nano <= self.0.end_time_unix_nano
            && self.0.end_time_unix_nano <= other.0.end_time_unix_nano;
        assert!(is_within, "{self:#?} is not within {other:#?}");
    }
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|it| it.key == name)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(boolean) => boolean.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}
