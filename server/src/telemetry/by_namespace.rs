//! Series that each namespace has of its own, for as many namespaces as may have some.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, Meter},
    trace::TraceId,
};

use super::{
    exemplars::Exemplars,
    series::{Count, Distribution},
    words::{ClaimResult, SettlementKind, SettlementResult},
};
use crate::key::{Namespace, Span};

/// What all namespaces share that have no series of their own. No namespace can be called so:
/// names are any of "a-z 0-9 . _ -", and this one is given away first.
const OTHERS: &str = "_other";

/// From a claim to its settlement, in seconds.
const HANDLING: &[f64] = &[
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0,
];
/// From a settlement to its duplicate, in seconds: a second to a month.
const AGE: &[f64] = &[
    1.0,
    10.0,
    60.0,
    300.0,
    1_800.0,
    3_600.0,
    21_600.0,
    43_200.0,
    86_400.0,
    172_800.0,
    259_200.0,
    604_800.0,
    1_209_600.0,
    2_592_000.0,
];
/// Parts of a retention.
const PARTS: &[f64] = &[0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0];

const CLAIMS: &str = "semel.claims";
const SETTLEMENTS: &str = "semel.settlements";
const LATE: &str = "semel.settlements.late";
const TAKEOVERS: &str = "semel.takeovers";
const DEAD_LETTERS: &str = "semel.dead_letters";
const UNCERTAINTIES: &str = "semel.uncertainties";
const HANDLING_DURATION: &str = "semel.handling.duration";
const DUPLICATE_AGE: &str = "semel.duplicate.age";
const RETENTION_USED: &str = "semel.duplicate.retention_used";

/// The instruments, and the series of each namespace.
#[derive(Debug)]
pub(super) struct Namespaces {
    instruments: Arc<Instruments>,
    limit: usize,
    known: RwLock<HashMap<Namespace, Arc<ByNamespace>>>,
    others: OnceLock<Arc<ByNamespace>>,
}

struct Instruments {
    exemplars: Arc<Exemplars>,
    claims: Counter<u64>,
    settlements: Counter<u64>,
    late: Counter<u64>,
    takeovers: Counter<u64>,
    dead_letters: Counter<u64>,
    uncertainties: Counter<u64>,
    handling: Histogram<f64>,
    duplicate_age: Histogram<f64>,
    retention_used: Histogram<f64>,
}

impl fmt::Debug for Instruments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Instruments")
    }
}

impl Namespaces {
    pub fn new(meter: &Meter, exemplars: &Arc<Exemplars>, limit: usize) -> Self {
        let counter = |name, unit, description| {
            meter
                .u64_counter(name)
                .with_unit(unit)
                .with_description(description)
                .build()
        };
        let histogram = |name, unit, bounds: &[f64], description| {
            meter
                .f64_histogram(name)
                .with_unit(unit)
                .with_boundaries(bounds.to_vec())
                .with_description(description)
                .build()
        };
        let instruments = Arc::new(Instruments {
            exemplars: exemplars.clone(),
            claims: counter(CLAIMS, "{claim}", "Claims, by what they were answered with"),
            settlements: counter(
                SETTLEMENTS,
                "{settlement}",
                "Completes and Fails, by kind and by what they were answered with",
            ),
            late: counter(
                LATE,
                "{settlement}",
                "Settlements recorded although the lease had lapsed: nobody had taken over yet",
            ),
            takeovers: counter(
                TAKEOVERS,
                "{claim}",
                "Lapsed leases that the next caller took over",
            ),
            dead_letters: counter(
                DEAD_LETTERS,
                "{key}",
                "Keys that became dead: their attempts are used up",
            ),
            uncertainties: counter(
                UNCERTAINTIES,
                "{key}",
                "Keys whose holder said that nobody knows whether the work was done",
            ),
            handling: histogram(
                HANDLING_DURATION,
                "s",
                HANDLING,
                "Time from a claim to its settlement",
            ),
            duplicate_age: histogram(
                DUPLICATE_AGE,
                "s",
                AGE,
                "Time from a settlement to a duplicate that was answered with it",
            ),
            retention_used: histogram(
                RETENTION_USED,
                "1",
                PARTS,
                "The same as a part of the retention: near 1, the next may find nothing any more",
            ),
        });
        Self {
            others: OnceLock::new(),
            instruments,
            limit,
            known: RwLock::default(),
        }
    }

    /// The namespace's series, if it may have some of its own.
    pub fn of(&self, namespace: &Namespace) -> Arc<ByNamespace> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(namespace) {
            return found.clone();
        }
        let is_full = known.len() >= self.limit;
        drop(known);
        if is_full || namespace.as_str() == OTHERS {
            return self.others();
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Others may have come first meanwhile.
        if known.len() >= self.limit && !known.contains_key(namespace) {
            return self.others();
        }
        let own = known.entry(namespace.clone());
        own.or_insert_with(|| Arc::new(ByNamespace::new(&self.instruments, namespace.as_str())))
            .clone()
    }

    fn others(&self) -> Arc<ByNamespace> {
        let others = self
            .others
            .get_or_init(|| Arc::new(ByNamespace::new(&self.instruments, OTHERS)));
        others.clone()
    }

    /// The label of a namespace: its name if it has series of its own by now, or that of all that share.
    pub fn label(&self, namespace: &Namespace) -> String {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let label = known.get(namespace).map(|series| series.label.clone());
        label.unwrap_or_else(|| OTHERS.to_owned())
    }
}

/// The series of one namespace. Each is there from when it is first recorded to.
#[derive(Debug)]
pub struct ByNamespace {
    instruments: Arc<Instruments>,
    label: String,
    claims: [OnceLock<Count>; ClaimResult::COUNT],
    settlements: [[OnceLock<Count>; SettlementResult::COUNT]; SettlementKind::COUNT],
    late: Count,
    takeovers: Count,
    dead_letters: Count,
    uncertainties: Count,
    handling: Distribution,
    duplicate_age: Distribution,
    retention_used: Distribution,
}

impl ByNamespace {
    fn new(instruments: &Arc<Instruments>, label: &str) -> Self {
        let labels = [KeyValue::new("namespace", label.to_owned())];
        let exemplars = &instruments.exemplars;
        let count = |counter, metric| Count::new(counter, metric, &labels, exemplars);
        let distribution = |histogram, bounds, metric| {
            Distribution::new(histogram, bounds, metric, &labels, exemplars)
        };
        Self {
            label: label.to_owned(),
            claims: Default::default(),
            settlements: Default::default(),
            late: count(&instruments.late, LATE),
            takeovers: count(&instruments.takeovers, TAKEOVERS),
            dead_letters: count(&instruments.dead_letters, DEAD_LETTERS),
            uncertainties: count(&instruments.uncertainties, UNCERTAINTIES),
            handling: distribution(&instruments.handling, HANDLING, HANDLING_DURATION),
            duplicate_age: distribution(&instruments.duplicate_age, AGE, DUPLICATE_AGE),
            retention_used: distribution(&instruments.retention_used, PARTS, RETENTION_USED),
            instruments: instruments.clone(),
        }
    }

    /// A Claim was answered.
    pub fn claimed(&self, result: ClaimResult, trace: Option<TraceId>) {
        let count = self.claims[result as usize].get_or_init(|| {
            let labels = [
                KeyValue::new("namespace", self.label.clone()),
                KeyValue::new("outcome", result.as_str()),
            ];
            let Instruments {
                claims, exemplars, ..
            } = &*self.instruments;
            Count::new(claims, CLAIMS, &labels, exemplars)
        });
        count.one(trace);
    }

    /// A Complete or Fail was answered.
    pub fn settled(&self, kind: SettlementKind, result: SettlementResult, trace: Option<TraceId>) {
        let count = self.settlements[kind as usize][result as usize].get_or_init(|| {
            let labels = [
                KeyValue::new("namespace", self.label.clone()),
                KeyValue::new("kind", kind.as_str()),
                KeyValue::new("result", result.as_str()),
            ];
            let Instruments {
                settlements,
                exemplars,
                ..
            } = &*self.instruments;
            Count::new(settlements, SETTLEMENTS, &labels, exemplars)
        });
        count.one(trace);
    }

    /// A settlement was recorded after the lease had lapsed.
    pub fn was_late(&self, trace: Option<TraceId>) {
        self.late.one(trace);
    }

    /// A lapsed lease was taken over.
    pub fn taken_over(&self, trace: Option<TraceId>) {
        self.takeovers.one(trace);
    }

    /// A key became dead.
    pub fn died(&self, trace: Option<TraceId>) {
        self.dead_letters.one(trace);
    }

    /// A key became uncertain by its holder's word.
    pub fn became_uncertain(&self, trace: Option<TraceId>) {
        self.uncertainties.one(trace);
    }

    /// A claim was settled so long after it was made.
    pub fn handled(&self, took: Span, trace: Option<TraceId>) {
        self.handling.record(seconds(took), trace);
    }

    /// A duplicate was answered with an outcome that had stood for so long and is kept for so long.
    pub fn replayed(&self, age: Span, retention: Span, trace: Option<TraceId>) {
        let (age, retention) = (seconds(age), seconds(retention));
        self.duplicate_age.record(age, trace);
        if retention > 0.0 {
            self.retention_used.record(age / retention, trace);
        }
    }
}

fn seconds(span: Span) -> f64 {
    span.as_micros() as f64 / 1e6
}
