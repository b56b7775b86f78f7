//! The newest trace of each bucket and counter: from a point on a graph to a trace that made it.
//!
//! The SDK does not collect exemplars (0.33), so they are kept beside it and put into the text that is
//! scraped. Only sampled calls come here, since others have no trace to show.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use opentelemetry::{KeyValue, trace::TraceId};

/// A series: its metric and its labels, in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SeriesName {
    metric: &'static str,
    labels: Vec<KeyValue>,
}

impl SeriesName {
    pub fn new(metric: &'static str, labels: &[KeyValue]) -> Self {
        Self {
            metric,
            labels: sorted(labels.iter()),
        }
    }
}

fn sorted<'a>(labels: impl Iterator<Item = &'a KeyValue>) -> Vec<KeyValue> {
    let mut labels: Vec<_> = labels.cloned().collect();
    labels.sort_unstable_by(|a, b| a.key.as_str().cmp(b.key.as_str()));
    labels
}

/// A value that was recorded, and where.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Exemplar {
    pub value: f64,
    pub trace: TraceId,
    pub at: SystemTime,
}

/// By metric, and for each of its series by labels: one for each bucket.
type ByMetric = HashMap<&'static str, HashMap<Vec<KeyValue>, Vec<Option<Exemplar>>>>;

/// The newest exemplars. As many as there are buckets in series, and these are bounded.
#[derive(Debug, Default)]
pub(super) struct Exemplars(Mutex<ByMetric>);

impl Exemplars {
    /// Keeps it as its bucket's newest.
    pub fn note(&self, series: &SeriesName, bucket: usize, value: f64, trace: TraceId) {
        let exemplar = Exemplar {
            value,
            trace,
            at: SystemTime::now(),
        };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let metric = all.entry(series.metric).or_default();
        let buckets = match metric.get_mut(&series.labels) {
            Some(buckets) => buckets,
            None => metric.entry(series.labels.clone()).or_default(),
        };
        if buckets.len() <= bucket {
            buckets.resize(bucket + 1, None);
        }
        buckets[bucket] = Some(exemplar);
    }

    /// Those of a series, by bucket.
    pub fn of<'a>(
        &self,
        metric: &str,
        labels: impl Iterator<Item = &'a KeyValue>,
    ) -> Vec<Option<Exemplar>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let series = all.get(metric).and_then(|it| it.get(&sorted(labels)));
        series.cloned().unwrap_or_default()
    }
}
