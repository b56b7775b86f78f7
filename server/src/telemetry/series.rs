//! One series each: an instrument with its labels, found once and then recorded to directly.

use std::{fmt, sync::Arc};

use opentelemetry::{
    KeyValue,
    metrics::{BoundCounter, BoundHistogram, Counter, Histogram},
    trace::TraceId,
};
use opentelemetry_sdk::metrics::{Instrument, Stream};

use super::{
    exemplars::{Exemplars, SeriesName},
    words::{ClaimResult, SettlementKind, SettlementResult},
};

/// For the provider: how many series a metric may have with so many namespaces, where that is more than
/// the SDK's 2,000. What is over goes into one of `otel_metric_overflow`.
pub(super) fn limits(namespaces: usize) -> impl Fn(&Instrument) -> Option<Stream> {
    // And those that share.
    let namespaces = namespaces + 1;
    move |instrument| {
        let each = match instrument.name() {
            "semel.claims" => ClaimResult::COUNT,
            "semel.settlements" => SettlementKind::COUNT * SettlementResult::COUNT,
            // The states of the census.
            "semel.keys" | "semel.keys.oldest_age" => 8,
            _ => return None,
        };
        Stream::builder()
            .with_cardinality_limit(each * namespaces)
            .build()
            .ok()
    }
}

/// A counter with its labels.
pub struct Count {
    counter: BoundCounter<u64>,
    exemplars: Arc<Exemplars>,
    name: SeriesName,
}

impl Count {
    pub(super) fn new(
        counter: &Counter<u64>,
        metric: &'static str,
        labels: &[KeyValue],
        exemplars: &Arc<Exemplars>,
    ) -> Self {
        Self {
            counter: counter.bind(labels),
            exemplars: exemplars.clone(),
            name: SeriesName::new(metric, labels),
        }
    }

    /// Counts one; `trace` is the trace to show for it.
    pub fn one(&self, trace: Option<TraceId>) {
        self.counter.add(1);
        if let Some(trace) = trace {
            self.exemplars.note(&self.name, 0, 1.0, trace);
        }
    }
}

impl fmt::Debug for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// A histogram with its labels.
pub struct Distribution {
    histogram: BoundHistogram<f64>,
    bounds: &'static [f64],
    exemplars: Arc<Exemplars>,
    name: SeriesName,
}

impl Distribution {
    pub(super) fn new(
        histogram: &Histogram<f64>,
        bounds: &'static [f64],
        metric: &'static str,
        labels: &[KeyValue],
        exemplars: &Arc<Exemplars>,
    ) -> Self {
        Self {
            histogram: histogram.bind(labels),
            bounds,
            exemplars: exemplars.clone(),
            name: SeriesName::new(metric, labels),
        }
    }

    /// Records a value; `trace` is the trace to show for it.
    pub fn record(&self, value: f64, trace: Option<TraceId>) {
        self.histogram.record(value);
        if let Some(trace) = trace {
            let bucket = self.bounds.partition_point(|bound| *bound < value);
            self.exemplars.note(&self.name, bucket, value, trace);
        }
    }
}

impl fmt::Debug for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}
