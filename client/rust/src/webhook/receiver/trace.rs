//! The trace that a delivery belongs to: that of the span that is active where the receiver is called,
//! and else the one that its sender has named in the request's headers.

use http::HeaderMap;
use tracing::Instrument as _;

use crate::trace::{self, Parts};

/// What the sender says; nothing where it says it twice, or in a form that nobody knows.
fn parts(headers: &HeaderMap) -> Option<Parts<'_>> {
    let mut all = headers.get_all("traceparent").iter();
    let only = all.next().filter(|_| all.next().is_none())?;
    trace::read(only.to_str().ok()?)
}

#[cfg(feature = "opentelemetry")]
mod context {
    use opentelemetry::Context;
    use opentelemetry::context::FutureExt as _;
    use opentelemetry::trace::{
        SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    };

    use super::*;
    use crate::Claim;

    /// The context that the sender has named; `None`: there is none to be taken.
    pub struct Incoming(Option<Context>);

    impl Incoming {
        pub fn of(headers: &HeaderMap) -> Self {
            Self(Context::map_current(|current| {
                let is_active = current.span().span_context().is_valid();
                let span = (!is_active).then(|| span_context(headers))??;
                Some(current.with_remote_span_context(span))
            }))
        }

        /// The claim is made within, and so finds it by itself.
        pub fn name_in(&self, claim: Claim) -> Claim {
            claim
        }

        /// Does the work within, so that all of its spans, and all that it sends, are of the trace.
        pub async fn around<W: Future>(self, work: W) -> W::Output {
            match self.0 {
                Some(context) => work.with_context(context).await,
                None => work.await,
            }
        }
    }

    fn span_context(headers: &HeaderMap) -> Option<SpanContext> {
        let parts = parts(headers)?;
        let flags = match parts.is_sampled {
            true => TraceFlags::SAMPLED,
            false => TraceFlags::default(),
        };
        Some(SpanContext::new(
            TraceId::from_hex(parts.trace_id).ok()?,
            SpanId::from_hex(parts.span_id).ok()?,
            flags,
            true,
            trace_state(headers).unwrap_or_default(),
        ))
    }

    /// Headers that stand several times are one list.
    fn trace_state(headers: &HeaderMap) -> Option<TraceState> {
        let all = headers.get_all("tracestate").iter();
        let all: Result<Vec<_>, _> = all.map(|value| value.to_str()).collect();
        all.ok()?.join(",").parse().ok()
    }

    /// For a task of its own: in the span and the trace that are current here.
    pub fn carried<W: Future>(work: W) -> impl Future<Output = W::Output> {
        work.in_current_span().with_current_context()
    }
}

#[cfg(not(feature = "opentelemetry"))]
mod context {
    use super::*;
    use crate::Claim;

    /// What the sender says, as the claim has to say it.
    pub struct Incoming(Option<String>);

    impl Incoming {
        pub fn of(headers: &HeaderMap) -> Self {
            Self(parts(headers).map(|parts| parts.to_string()))
        }

        pub fn name_in(&self, claim: Claim) -> Claim {
            match &self.0 {
                Some(traceparent) => claim.traceparent(traceparent),
                None => claim,
            }
        }

        pub async fn around<W: Future>(self, work: W) -> W::Output {
            work.await
        }
    }

    /// For a task of its own: in the span that is current here.
    pub fn carried<W: Future>(work: W) -> impl Future<Output = W::Output> {
        work.in_current_span()
    }
}

pub(super) use context::{Incoming, carried};
