//! What the server tells about itself: metrics for a scraper or a collector, and a span for each call
//! where a collector is named.
//!
//! Everything here is recorded beside the answer and never before it: no call waits for telemetry, and
//! what a collector does not take in time is thrown away. Nothing that a caller sent is shown but its
//! namespace, what it calls the attempt's owner in its own lookups, and its key, which is hashed
//! unless the operator wants to read it.

mod about;
mod batch;
mod by_namespace;
mod call;
mod environment;
mod exemplars;
mod exposition;
mod kind;
mod lost;
mod meters;
mod sampling;
mod series;
mod spans;
mod words;

use std::{sync::Arc, time::Duration};

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
    propagation::TraceContextPropagator,
    trace::{BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider},
};

use crate::key::{KeyId, Namespace};

pub use about::About;
pub use batch::StoreBatch;
pub use by_namespace::ByNamespace;
pub use call::{CallSpan, Seen};
pub use environment::{Environment, EnvironmentProblem};
pub use exposition::Format;
pub use kind::Kind;
pub use meters::{Meters, StoreCall};
pub use spans::{Asked, Origin, trace_id};
pub use words::{ClaimResult, SettlementKind, SettlementResult, What};

use exemplars::Exemplars;
use exposition::Scrape;
use lost::Watched;
use spans::Spans;

/// How much is told.
#[derive(Debug, Clone)]
pub struct TelemetrySettings {
    /// Whether spans and logs show keys. If not, they show a hash of them.
    pub show_keys: bool,
    /// Whether anything is measured.
    pub metrics: bool,
    /// How many namespaces have series of their own; the others share those of `_other`.
    pub namespaces: usize,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            show_keys: false,
            metrics: true,
            namespaces: 100,
        }
    }
}

/// A batch's span leads to every sampled call that it was for; the SDK's own limit is 128.
const MOST_LINKS: u32 = 4_096;

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the export to a collector: {0}")]
pub struct TelemetryError(#[from] opentelemetry_otlp::ExporterBuildError);

/// What the server tells about itself. Shared by everything in it.
#[derive(Debug)]
pub struct Telemetry {
    meters: Option<Meters>,
    scrape: Scrape,
    spans: Option<Spans>,
    show_keys: bool,
    metrics: SdkMeterProvider,
}

impl Telemetry {
    /// Metrics for a scraper alone.
    ///
    /// # Panics
    /// Never: without a collector nothing can fail.
    pub fn local(settings: &TelemetrySettings) -> Arc<Self> {
        Self::start(settings, &Environment::default()).expect("nothing is sent anywhere")
    }

    /// Metrics for a scraper, and what the environment asks for. Must be called inside a runtime.
    ///
    /// # Errors
    /// When an exporter cannot be made of what the environment says.
    pub fn start(
        settings: &TelemetrySettings,
        environment: &Environment,
    ) -> Result<Arc<Self>, TelemetryError> {
        let resource = resource();
        let exemplars = Arc::<Exemplars>::default();
        let scrape = Scrape::new(exemplars.clone());
        let sends_metrics = settings.metrics && environment.sends_metrics;
        let mut metrics = SdkMeterProvider::builder()
            .with_resource(resource.clone())
            .with_view(series::limits(settings.namespaces))
            .with_reader(scrape.clone());
        if sends_metrics {
            let exporter = opentelemetry_otlp::MetricExporter::builder()
                .with_tonic()
                .build()?;
            metrics = metrics.with_reader(PeriodicReader::builder(exporter).build());
        }
        let metrics = metrics.build();
        let meter = metrics.meter("semel");
        let meters = settings
            .metrics
            .then(|| Meters::new(&meter, &exemplars, settings.namespaces));
        let spans = match environment.sampling {
            None => None,
            Some(sampling) => {
                let exporter = opentelemetry_otlp::SpanExporter::builder()
                    .with_tonic()
                    .build()?;
                let lost = meters.as_ref().map(|meters| meters.spans_lost.clone());
                let exporter = Watched::new(exporter, lost);
                let mut provider = SdkTracerProvider::builder();
                if !environment.limits_links {
                    provider = provider.with_max_links_per_span(MOST_LINKS);
                }
                let provider = provider
                    .with_resource(resource)
                    // Whether a call is sampled is decided before its span is made.
                    .with_sampler(Sampler::AlwaysOn)
                    .with_span_processor(BatchSpanProcessor::builder(exporter).build())
                    .build();
                Some(Spans {
                    tracer: provider.tracer("semel"),
                    provider,
                    sampling,
                    propagator: TraceContextPropagator::new(),
                })
            }
        };
        Ok(Arc::new(Self {
            meters,
            scrape,
            spans,
            show_keys: settings.show_keys,
            metrics,
        }))
    }

    /// The instruments; `None` where nothing is measured.
    pub fn meters(&self) -> Option<&Meters> {
        self.meters.as_ref()
    }

    /// A namespace's series; `None` where nothing is measured.
    pub fn series(&self, namespace: &Namespace) -> Option<Arc<ByNamespace>> {
        Some(self.meters()?.of(namespace))
    }

    /// Where spans come from, for the subscriber; `None` while nobody collects them.
    pub fn tracer(&self) -> Option<SdkTracer> {
        self.spans.as_ref().map(|spans| spans.tracer.clone())
    }

    /// Where a call comes from, by the context that it brought, and its span if it is sampled.
    pub fn origin(
        &self,
        kind: Kind,
        traceparent: Option<&str>,
        tracestate: Option<&str>,
    ) -> Origin {
        Origin::of(self.spans.as_ref(), kind, traceparent, tracestate)
    }

    /// The key, as spans and logs may show it.
    pub fn show(&self, id: &KeyId) -> String {
        if self.show_keys {
            id.key().as_str().to_owned()
        } else {
            id.shown()
        }
    }

    /// All metrics, as text.
    pub fn scrape(&self, format: Format) -> String {
        self.scrape.text(format)
    }

    /// Hands out what is still here and ends, within `limit` and whether a collector answers or not.
    pub async fn close(self: Arc<Self>, limit: Duration) {
        let closing = tokio::task::spawn_blocking(move || {
            if let Some(spans) = &self.spans
                && let Err(error) = spans.provider.shutdown_with_timeout(limit)
            {
                tracing::debug!(%error, "the last spans were not handed out");
            }
            if let Err(error) = self.metrics.shutdown_with_timeout(limit) {
                tracing::debug!(%error, "the last metrics were not handed out");
            }
        });
        let _ = tokio::time::timeout(limit, closing).await;
    }
}

/// Who tells: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` win over what is said here.
fn resource() -> Resource {
    use opentelemetry::KeyValue;
    let ours = Resource::builder_empty()
        .with_attribute(KeyValue::new("service.name", "semel"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new(
            "service.instance.id",
            uuid::Uuid::new_v4().to_string(),
        ))
        .build();
    let named = Resource::builder().build();
    let of_environment = named.iter().filter(|(key, value)| {
        // What the SDK says where nobody has said anything.
        key.as_str() != "service.name" || !value.as_str().starts_with("unknown_service")
    });
    // Which wins over the other of the two.
    let service = std::env::var("OTEL_SERVICE_NAME").ok();
    let service = service.filter(|name| !name.is_empty());
    let service = service.map(|name| KeyValue::new("service.name", name));
    let copied = |(key, value): (&opentelemetry::Key, &opentelemetry::Value)| {
        KeyValue::new(key.clone(), value.clone())
    };
    Resource::builder_empty()
        .with_attributes(ours.iter().map(copied))
        .with_attributes(of_environment.map(copied))
        .with_attributes(service)
        .build()
}
