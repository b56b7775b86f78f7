//! All metrics as text, as Prometheus reads it.
//!
//! Two formats: OpenMetrics 1.0, which has room for exemplars
//! (<https://prometheus.io/docs/specs/om/open_metrics_spec/>), and the older text format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>), which every scraper reads. The
//! names are made as OpenTelemetry asks for
//! (<https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/>), without
//! labels for the scope, of which there is one. The crates that do this have no exemplars.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{Arc, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry::KeyValue;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{
        InstrumentKind, ManualReader, Pipeline, Temporality,
        data::{AggregatedMetrics, Metric, MetricData, ResourceMetrics},
        reader::MetricReader,
    },
};

use super::exemplars::{Exemplar, Exemplars};

/// How the text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The text format 0.0.4.
    Text,
    /// OpenMetrics 1.0, with exemplars.
    OpenMetrics,
}

impl Format {
    /// What a scraper that sends this `Accept` is given.
    pub fn accepted(accept: Option<&str>) -> Self {
        let wants = |range: &str| {
            let (kind, parameters) = range.split_once(';').unwrap_or((range, ""));
            let refuses = |it: &str| {
                let weight = it.trim().strip_prefix("q=");
                weight.is_some_and(|weight| weight.parse() == Ok(0.0))
            };
            kind.trim() == "application/openmetrics-text" && !parameters.split(';').any(refuses)
        };
        if accept.is_some_and(|accept| accept.split(',').any(wants)) {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Reads all metrics when it is asked to.
#[derive(Debug, Clone)]
pub(super) struct Scrape {
    reader: Arc<ManualReader>,
    exemplars: Arc<Exemplars>,
}

impl MetricReader for Scrape {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.reader.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.reader.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.reader.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.reader.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.reader.temporality(kind)
    }
}

impl Scrape {
    pub fn new(exemplars: Arc<Exemplars>) -> Self {
        Self {
            reader: Arc::new(ManualReader::builder().build()),
            exemplars,
        }
    }

    pub fn text(&self, format: Format) -> String {
        let mut metrics = ResourceMetrics::default();
        if let Err(error) = self.reader.collect(&mut metrics) {
            tracing::debug!(%error, "metrics could not be read");
        }
        let mut page = Page {
            text: String::with_capacity(64 * 1024),
            format,
        };
        page.help("target", "info", "What tells this", "");
        let labels = metrics.resource().iter();
        page.sample("target_info", Labels::new(labels), 1.0, None);
        for scope in metrics.scope_metrics() {
            for metric in scope.metrics() {
                self.metric(&mut page, metric);
            }
        }
        if format == Format::OpenMetrics {
            page.text.push_str("# EOF\n");
        }
        page.text
    }

    fn metric(&self, page: &mut Page, metric: &Metric) {
        match metric.data() {
            AggregatedMetrics::F64(data) => self.data(page, metric, data, |value| value),
            AggregatedMetrics::U64(data) => self.data(page, metric, data, |value| value as f64),
            AggregatedMetrics::I64(data) => self.data(page, metric, data, |value| value as f64),
        }
    }

    fn data<T: Copy>(
        &self,
        page: &mut Page,
        metric: &Metric,
        data: &MetricData<T>,
        number: impl Fn(T) -> f64,
    ) {
        let (name, unit) = name_of(metric);
        let help = metric.description();
        match data {
            MetricData::Gauge(gauge) => {
                page.help(&name, "gauge", help, unit);
                for point in gauge.data_points() {
                    let labels = Labels::new(point.attributes().map(pair));
                    page.sample(&name, labels, number(point.value()), None);
                }
            }
            MetricData::Sum(sum) if sum.is_monotonic() => {
                page.help(&name, "counter", help, unit);
                for point in sum.data_points() {
                    let exemplars = self.exemplars.of(metric.name(), point.attributes());
                    page.sample(
                        &format!("{name}_total"),
                        Labels::new(point.attributes().map(pair)),
                        number(point.value()),
                        exemplars.first().copied().flatten(),
                    );
                }
            }
            MetricData::Sum(sum) => {
                page.help(&name, "gauge", help, unit);
                for point in sum.data_points() {
                    let labels = Labels::new(point.attributes().map(pair));
                    page.sample(&name, labels, number(point.value()), None);
                }
            }
            MetricData::Histogram(histogram) => {
                page.help(&name, "histogram", help, unit);
                let bucket_name = format!("{name}_bucket");
                for point in histogram.data_points() {
                    let exemplars = self.exemplars.of(metric.name(), point.attributes());
                    let exemplar = |bucket: usize| exemplars.get(bucket).copied().flatten();
                    let labels = || Labels::new(point.attributes().map(pair));
                    let bounds = point.bounds().map(Some).chain([None]);
                    let mut below = 0;
                    for (bucket, (bound, count)) in bounds.zip(point.bucket_counts()).enumerate() {
                        below += count;
                        let labels = labels().with_bound(bound);
                        page.sample(&bucket_name, labels, below as f64, exemplar(bucket));
                    }
                    let sum = number(point.sum());
                    page.sample(&format!("{name}_sum"), labels(), sum, None);
                    let count = point.count() as f64;
                    page.sample(&format!("{name}_count"), labels(), count, None);
                }
            }
            // None of our instruments is one.
            MetricData::ExponentialHistogram(_) => {}
        }
    }
}

/// The metric's name without what its kind adds, and its unit.
fn name_of(metric: &Metric) -> (String, &'static str) {
    let unit = match metric.unit() {
        "s" => "seconds",
        "1" => "ratio",
        // What is counted is no unit.
        _ => "",
    };
    let mut name = legal(metric.name());
    if !unit.is_empty() {
        name.push('_');
        name.push_str(unit);
    }
    (name, unit)
}

/// As a name of a metric or label may be.
fn legal(name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let begins_badly = !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let first = begins_badly.then_some('_');
    first.into_iter().chain(name.chars().map(legal)).collect()
}

fn pair(label: &KeyValue) -> (&opentelemetry::Key, &opentelemetry::Value) {
    (&label.key, &label.value)
}

/// Labels, in braces.
struct Labels(String);

impl Labels {
    fn new<'a>(
        labels: impl Iterator<Item = (&'a opentelemetry::Key, &'a opentelemetry::Value)>,
    ) -> Self {
        // Names that are one when they are legal have one label: OpenTelemetry joins their values.
        let mut by_name: BTreeMap<String, String> = BTreeMap::new();
        for (key, value) in labels {
            let values = by_name.entry(legal(key.as_str())).or_default();
            if !values.is_empty() {
                values.push(';');
            }
            values.push_str(&value.as_str());
        }
        let mut text = String::new();
        for (name, value) in by_name {
            let comma = if text.is_empty() { "" } else { "," };
            let _ = write!(text, "{comma}{name}=\"{}\"", Escaped(&value, true));
        }
        Self(text)
    }

    /// With the upper bound of a bucket; `None` is infinity.
    fn with_bound(mut self, bound: Option<f64>) -> Self {
        let comma = if self.0.is_empty() { "" } else { "," };
        let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| Number(bound).to_string());
        let _ = write!(self.0, "{comma}le=\"{bound}\"");
        self
    }
}

struct Page {
    text: String,
    format: Format,
}

impl Page {
    /// What a metric is. In the older format a counter is called by its samples' name.
    fn help(&mut self, name: &str, kind: &str, help: &str, unit: &str) {
        let (name, kind) = match (self.format, kind) {
            (Format::Text, "counter") => (format!("{name}_total"), kind),
            (Format::Text, "info") => (format!("{name}_info"), "gauge"),
            _ => (name.to_owned(), kind),
        };
        let help = Escaped(help, self.format == Format::OpenMetrics);
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        if self.format == Format::OpenMetrics && !unit.is_empty() {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
    }

    fn sample(&mut self, name: &str, labels: Labels, value: f64, exemplar: Option<Exemplar>) {
        self.text.push_str(name);
        if !labels.0.is_empty() {
            let _ = write!(self.text, "{{{}}}", labels.0);
        }
        let _ = write!(self.text, " {}", Number(value));
        if let Some(Exemplar { value, trace, at }) =
            exemplar.filter(|_| self.format == Format::OpenMetrics)
        {
            let at = seconds(at);
            let _ = write!(
                self.text,
                " # {{trace_id=\"{trace}\"}} {} {at:.3}",
                Number(value)
            );
        }
        self.text.push('\n');
    }
}

fn seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

struct Number(f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            value if value.is_nan() => f.write_str("NaN"),
            value if value.is_infinite() => f.write_str(if value > 0.0 { "+Inf" } else { "-Inf" }),
            value => write!(f, "{value}"),
        }
    }
}

/// A text with what would end it escaped: line ends and backslashes, and quotes where that is asked.
struct Escaped<'a>(&'a str, bool);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '"' if self.1 => f.write_str("\\\"")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&'static str, &'static str)]) -> String {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(name, value)| KeyValue::new(*name, *value))
            .collect();
        Labels::new(pairs.iter().map(pair)).0
    }

    #[test]
    fn whatever_an_attribute_is_called_its_label_is_legal_and_there_once() {
        assert_eq!(
            labels(&[
                ("b", "2"),
                ("a.b", "x"),
                ("a_b", "y"),
                ("1st", "z"),
                ("", "e")
            ]),
            r#"_="e",_1st="z",a_b="x;y",b="2""#
        );
    }

    #[test]
    fn a_value_cannot_end_its_label_or_its_line() {
        assert_eq!(labels(&[("a", "say \"no\"\n\\")]), r#"a="say \"no\"\n\\""#);
    }

    #[test]
    fn numbers_are_written_as_scrapers_read_them() {
        for (number, text) in [
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
            (0.25, "0.25"),
            (3.0, "3"),
        ] {
            assert_eq!(Number(number).to_string(), text);
        }
    }

    #[test]
    fn a_counter_is_called_by_its_samples_in_the_older_format_alone() {
        let page = |format| {
            let mut page = Page {
                text: String::new(),
                format,
            };
            page.help("a", "counter", "H", "");
            let exemplar = Exemplar {
                value: 2.0,
                trace: opentelemetry::trace::TraceId::from(1),
                at: UNIX_EPOCH + Duration::from_millis(1_500),
            };
            page.sample("a_total", Labels(String::new()), 7.0, Some(exemplar));
            page.text
        };
        assert_eq!(
            page(Format::Text),
            "# HELP a_total H\n# TYPE a_total counter\na_total 7\n"
        );
        assert_eq!(
            page(Format::OpenMetrics),
            "# HELP a H\n# TYPE a counter\n\
             a_total 7 # {trace_id=\"00000000000000000000000000000001\"} 2 1.500\n"
        );
    }
}
