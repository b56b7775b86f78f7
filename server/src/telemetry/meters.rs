//! The instruments, each named once: here those of the server as a whole, in `by_namespace.rs` those
//! that each namespace has. What they mean is in `docs/operations.md`.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, Meter},
    trace::TraceId,
};

use super::{
    by_namespace::{ByNamespace, Namespaces},
    exemplars::Exemplars,
    kind::{Kind, RPC_SYSTEM},
    series::Distribution,
};
use crate::key::Namespace;

/// Durations of calls and of what they are made of, in seconds: half a millisecond to ten seconds.
const DURATIONS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Items of a store call.
const SIZES: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0,
];

/// By <https://opentelemetry.io/docs/specs/semconv/rpc/rpc-metrics/>.
const CALL_DURATION: &str = "rpc.server.call.duration";
const LANE_WAIT: &str = "semel.lane.wait.duration";
const STORE_CALL: &str = "semel.store.call.duration";
const BATCH_SIZE: &str = "semel.store.batch.size";

/// How many codes gRPC has.
const CODES: usize = 17;

/// All instruments.
#[derive(Debug)]
pub struct Meters {
    meter: Meter,
    namespaces: Namespaces,
    exemplars: Arc<Exemplars>,
    call_duration: Histogram<f64>,
    calls: [[OnceLock<Distribution>; CODES]; Kind::COUNT],
    lane_wait: Distribution,
    store_call: Histogram<f64>,
    batch_size: Histogram<f64>,
    /// Spans that no collector took.
    pub(super) spans_lost: Counter<u64>,
}

impl Meters {
    pub(super) fn new(meter: &Meter, exemplars: &Arc<Exemplars>, namespaces: usize) -> Self {
        let histogram = |name, unit, bounds: &[f64], description| {
            meter
                .f64_histogram(name)
                .with_unit(unit)
                .with_boundaries(bounds.to_vec())
                .with_description(description)
                .build()
        };
        let lane_wait = histogram(
            LANE_WAIT,
            "s",
            DURATIONS,
            "Time that a command waited in its lane's queue until its batch began",
        );
        let spans_lost = meter
            .u64_counter("semel.telemetry.spans.lost")
            .with_unit("{span}")
            .with_description("Spans that the trace collector did not take")
            .build();
        // There from the first scrape on, so that an increase from none is seen as one.
        spans_lost.add(0, &[]);
        Self {
            namespaces: Namespaces::new(meter, exemplars, namespaces),
            call_duration: histogram(
                CALL_DURATION,
                "s",
                DURATIONS,
                "Time from a call's arrival to its answer; of a stream, to its end",
            ),
            calls: Default::default(),
            lane_wait: Distribution::new(&lane_wait, DURATIONS, LANE_WAIT, &[], exemplars),
            store_call: histogram(
                STORE_CALL,
                "s",
                DURATIONS,
                "Time of one call of the store, each a statement and a commit for many keys",
            ),
            batch_size: histogram(
                BATCH_SIZE,
                "{item}",
                SIZES,
                "Items of one call of the store",
            ),
            spans_lost,
            exemplars: exemplars.clone(),
            meter: meter.clone(),
        }
    }

    /// For parts that have instruments of their own.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// A number that is read when somebody asks.
    pub fn gauge(
        &self,
        name: &'static str,
        unit: &'static str,
        description: &'static str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        self.meter
            .u64_observable_gauge(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |gauge| gauge.observe(read(), &[]))
            .build();
    }

    /// Numbers with labels that are read when somebody asks.
    pub fn gauges(
        &self,
        name: &'static str,
        unit: &'static str,
        description: &'static str,
        read: impl Fn() -> Vec<(Vec<KeyValue>, f64)> + Send + Sync + 'static,
    ) {
        self.meter
            .f64_observable_gauge(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |gauge| {
                for (labels, value) in read() {
                    gauge.observe(value, &labels);
                }
            })
            .build();
    }

    /// A count that is read when somebody asks.
    pub fn counter(
        &self,
        name: &'static str,
        unit: &'static str,
        description: &'static str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        self.meter
            .u64_observable_counter(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |counter| counter.observe(read(), &[]))
            .build();
    }

    /// A namespace's series.
    pub fn of(&self, namespace: &Namespace) -> Arc<ByNamespace> {
        self.namespaces.of(namespace)
    }

    /// What a namespace is called in labels.
    pub fn label(&self, namespace: &Namespace) -> String {
        self.namespaces.label(namespace)
    }

    /// A call was answered, or given up, with this code of gRPC's.
    pub fn called(&self, kind: Kind, code: i32, took: Duration, trace: Option<TraceId>) {
        let code = usize::try_from(code).unwrap_or(CODES).min(CODES - 1);
        let call = self.calls[kind as usize][code].get_or_init(|| {
            let labels = [
                KeyValue::new("rpc.system.name", RPC_SYSTEM),
                KeyValue::new("rpc.method", kind.method()),
                KeyValue::new("rpc.response.status_code", code_name(code)),
            ];
            let (histogram, exemplars) = (&self.call_duration, &self.exemplars);
            Distribution::new(histogram, DURATIONS, CALL_DURATION, &labels, exemplars)
        });
        call.record(took.as_secs_f64(), trace);
    }

    /// A command's batch begins, so long after it was queued.
    pub fn waited_in_lane(&self, waited: Duration, trace: Option<TraceId>) {
        self.lane_wait.record(waited.as_secs_f64(), trace);
    }

    /// A call of the store has ended.
    pub fn store_called(&self, call: &StoreCall) {
        let operation = KeyValue::new("operation", call.operation);
        self.store_call.record(
            call.took.as_secs_f64(),
            &[
                KeyValue::new("engine", call.engine),
                operation.clone(),
                KeyValue::new("result", call.result),
            ],
        );
        if let Some(items) = call.items {
            self.batch_size.record(items as f64, &[operation]);
        }
    }
}

/// A call of the store that has ended.
#[derive(Debug)]
pub struct StoreCall {
    /// The store's engine.
    pub engine: &'static str,
    /// What was called.
    pub operation: &'static str,
    /// `ok`, `unavailable` or `rejected`.
    pub result: &'static str,
    /// How long it took.
    pub took: Duration,
    /// How many items it was for; `None` where it has none.
    pub items: Option<usize>,
}

/// The names of gRPC's codes, by their numbers
/// (<https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>).
pub(super) fn code_name(code: usize) -> &'static str {
    [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ]
    .get(code)
    .copied()
    .unwrap_or("UNKNOWN")
}
