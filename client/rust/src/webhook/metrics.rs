//! What receivers and senders count, for the process's global OpenTelemetry meter provider.
//!
//! A counter is made when it first counts, so the provider has to be set by then.

use std::borrow::Cow;
#[cfg(feature = "opentelemetry")]
use std::sync::{Arc, OnceLock};

#[cfg(feature = "opentelemetry")]
use opentelemetry::{KeyValue, global, metrics};

/// The scope of all that is counted here.
#[cfg(feature = "opentelemetry")]
const SCOPE: &str = "semel-client";

/// Deliveries by how they ended.
#[cfg(feature = "receiver")]
pub(super) const DELIVERIES: Instrument = Instrument {
    name: "semel.webhook.deliveries",
    unit: "{delivery}",
    description: "Deliveries that a receiver has answered, by how they ended.",
};

/// Attempts to deliver by what came of them.
#[cfg(feature = "sender")]
pub(super) const ATTEMPTS: Instrument = Instrument {
    name: "semel.webhook.attempts",
    unit: "{attempt}",
    description: "Attempts of a sender to deliver an event, by what came of them.",
};

/// The name of what has a namespace.
#[cfg(feature = "receiver")]
pub(super) const NAMESPACE: &str = "namespace";
/// The name of how something ended.
pub(super) const RESULT: &str = "result";

/// How a counter is made.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "opentelemetry"), allow(dead_code))] // there is nobody to be told
pub(super) struct Instrument {
    name: &'static str,
    unit: &'static str,
    description: &'static str,
}

/// Counts; clones are one.
#[derive(Clone)]
pub(super) struct Counter {
    #[cfg(feature = "opentelemetry")]
    instrument: Instrument,
    #[cfg(feature = "opentelemetry")]
    made: Arc<OnceLock<metrics::Counter<u64>>>,
}

type Label = (&'static str, Cow<'static, str>);

#[cfg(feature = "opentelemetry")]
impl Counter {
    pub fn new(instrument: Instrument) -> Self {
        Self {
            instrument,
            made: Arc::default(),
        }
    }

    /// One more.
    pub fn add<const N: usize>(&self, labels: [Label; N]) {
        let labels = labels.map(|(name, value)| KeyValue::new(name, value));
        self.made().add(1, &labels);
    }

    fn made(&self) -> &metrics::Counter<u64> {
        self.made.get_or_init(|| {
            global::meter(SCOPE)
                .u64_counter(self.instrument.name)
                .with_unit(self.instrument.unit)
                .with_description(self.instrument.description)
                .build()
        })
    }
}

#[cfg(not(feature = "opentelemetry"))]
impl Counter {
    pub fn new(_: Instrument) -> Self {
        Self {}
    }

    /// Nobody is told.
    pub fn add<const N: usize>(&self, _: [Label; N]) {}
}
