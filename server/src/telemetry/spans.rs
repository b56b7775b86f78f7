//! Whether a call is traced, and where it comes from. One that is has a span (`call.rs`), and below it
//! the wait in the lane and each call of the store (`batch.rs`). Of one that is not there is nothing but
//! its trace's id, for the log.
//!
//! Names are those of OpenTelemetry's conventions for RPC
//! (<https://opentelemetry.io/docs/specs/semconv/rpc/rpc-spans/>) and our own under `semel`.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use opentelemetry::{
    Context,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{SpanContext, TraceContextExt as _, TraceId},
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider},
};

use super::{call::CallSpan, kind::Kind, sampling::Sampling};
use crate::key::KeyId;

/// Where spans come from and go to.
#[derive(Debug)]
pub(super) struct Spans {
    pub tracer: SdkTracer,
    pub provider: SdkTracerProvider,
    pub sampling: Sampling,
    pub propagator: TraceContextPropagator,
}

/// The context that a call brought.
struct Brought<'a> {
    traceparent: Option<&'a str>,
    tracestate: Option<&'a str>,
}

impl Extractor for Brought<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => self.traceparent,
            "tracestate" => self.tracestate,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

/// Where a call comes from. An extension of its request.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    trace_id: Option<TraceId>,
    /// Whether its caller has decided that it is not traced.
    is_declined: bool,
    /// Its span; `None` if it is not sampled.
    pub span: Option<Arc<CallSpan>>,
}

impl Origin {
    pub(super) fn of(
        spans: Option<&Spans>,
        kind: Kind,
        traceparent: Option<&str>,
        tracestate: Option<&str>,
    ) -> Self {
        let Some(spans) = spans.filter(|_| kind != Kind::Other) else {
            return Self {
                trace_id: traceparent.and_then(trace_id),
                ..Self::default()
            };
        };
        let context = match traceparent {
            Some(_) => spans.propagator.extract_with_context(
                &Context::new(),
                &Brought {
                    traceparent,
                    tracestate,
                },
            ),
            None => Context::new(),
        };
        let caller = context.span().span_context().clone();
        let caller = caller.is_valid().then_some(caller);
        if !spans.sampling.samples(caller.as_ref()) {
            return Self {
                is_declined: caller.is_some(),
                trace_id: caller.map(|caller| caller.trace_id()),
                span: None,
            };
        }
        let span = CallSpan::start(spans.tracer.clone(), kind, context);
        Self {
            trace_id: Some(span.trace_id()),
            is_declined: false,
            span: Some(Arc::new(span)),
        }
    }

    /// Of a command without a context, on a stream that has this one: what its caller declined holds
    /// for all that comes on it.
    pub fn declines(&self) -> Option<Self> {
        self.is_declined.then(|| self.clone())
    }

    /// The key that it is about, as spans may show it.
    pub fn is_about(&self, id: &KeyId, shown_key: impl FnOnce() -> String) {
        if let Some(span) = &self.span {
            span.is_about(id, shown_key());
        }
    }

    /// The trace it belongs to, if it brought one or has got one.
    pub fn trace_id(&self) -> Option<TraceId> {
        self.trace_id
    }

    /// What is kept with a claim, for its duplicates: the server's own span of it, or else what the
    /// caller `sent`.
    pub fn traceparent<'a>(&'a self, sent: Option<&'a str>) -> Option<&'a str> {
        match &self.span {
            Some(span) => Some(span.traceparent()),
            None => sent,
        }
    }

    /// The trace to show for a value: of those that nobody has collected there is none.
    pub fn exemplar(&self) -> Option<TraceId> {
        self.span.as_ref().map(|span| span.trace_id())
    }
}

/// The trace's id in a traceparent, if it is one.
pub fn trace_id(traceparent: &str) -> Option<TraceId> {
    let id = traceparent.split('-').nth(1).filter(|id| id.len() == 32)?;
    let id = TraceId::from_hex(id).ok()?;
    (id != TraceId::INVALID).then_some(id)
}

/// A link's end, as it was kept.
pub(super) fn kept(traceparent: &str) -> Option<SpanContext> {
    let brought = Brought {
        traceparent: Some(traceparent),
        tracestate: None,
    };
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &brought);
    let span = context.span().span_context().clone();
    span.is_valid().then_some(span)
}

/// The key that a command is about, and the span of whoever asks.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The key.
    pub id: KeyId,
    /// The span, if the call is sampled.
    pub span: Option<Arc<CallSpan>>,
    /// The trace, sampled or not.
    pub trace_id: Option<TraceId>,
}

impl Asked {
    /// What comes from there about this key.
    pub fn new(id: KeyId, origin: &Origin) -> Self {
        Self {
            id,
            span: origin.span.clone(),
            trace_id: origin.trace_id,
        }
    }
}

impl From<KeyId> for Asked {
    fn from(id: KeyId) -> Self {
        Self::new(id, &Origin::default())
    }
}

/// When something began and ended, by the wall clock: by one look at both clocks, or a step between two
/// could turn them round.
pub(super) fn by_the_wall(from: Instant, until: Instant) -> (SystemTime, SystemTime) {
    let ago = until.elapsed();
    let end = SystemTime::now()
        .checked_sub(ago)
        .unwrap_or(SystemTime::UNIX_EPOCH);
    let took = until.saturating_duration_since(from);
    (end.checked_sub(took).unwrap_or(end), end)
}
