//! One series each: an instrument with its labels, found once and then recorded to directly.

use std::{fmt, sync::Arc};

use opentelemetry::{
    KeyValue,
    metrics::{BoundCounter, BoundHistogram, Counter, Histogram},
    trace::TraceId,
};
use opentelemetry_sdk::metrics::{Instrument, Stream};

use super::exemplars::{Exemplars, SeriesName};

/// Most series of one metric; the SDK puts the rest into one of `otel_metric_overflow`. Every
/// namespace may have all results of all kinds.
const MOST_SERIES: usize = 4_096;

/// For the provider: the limit of those metrics that need more than the SDK's 2,000.
pub(super) fn limited(instrument: &Instrument) -> Option<Stream> {
    let name = instrument.name();
    let is_many = name == "semel.claims" || name == "semel.settlements";
    is_many.then(|| {
        Stream::builder()
            .with_cardinality_limit(MOST_SERIES)
            .build()
            .ok()
    })?
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
