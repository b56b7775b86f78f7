//! Real spans, and what they are called on the wire by the SDK's own reckoning.

use std::collections::HashMap;

use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    InMemorySpanExporter, Sampler, SdkTracer, SdkTracerProvider, SpanData,
};

/// Makes spans, and keeps those that have ended.
pub struct Spans {
    provider: SdkTracerProvider,
    exporter: InMemorySpanExporter,
}

impl Spans {
    pub fn new(sampler: Sampler) -> Self {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler)
            .with_simple_exporter(exporter.clone())
            .build();
        Self { provider, exporter }
    }

    pub fn all() -> Self {
        Self::new(Sampler::AlwaysOn)
    }

    pub fn tracer(&self) -> SdkTracer {
        self.provider.tracer("tests")
    }

    /// A context in which a new span of a trace of its own is active.
    pub fn context(&self) -> Context {
        let parent = Context::new();
        let span = self.tracer().start_with_context("caller", &parent);
        parent.with_span(span)
    }

    pub fn ended(&self) -> Vec<SpanData> {
        self.exporter.get_finished_spans().unwrap()
    }
}

/// The context that these headers name.
pub fn remote(headers: &[(&str, &str)]) -> Context {
    let headers: HashMap<String, String> = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    TraceContextPropagator::new().extract_with_context(&Context::new(), &headers)
}

/// `traceparent` of the context's span.
pub fn traceparent(context: &Context) -> String {
    let mut headers = HashMap::new();
    TraceContextPropagator::new().inject_context(context, &mut headers);
    headers.remove("traceparent").expect("a span is active")
}
