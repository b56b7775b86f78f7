//! Deletes what is past its retention, in the background.
//!
//! Nothing depends on it: a key past its retention is absent to every RPC, purged or not. Replicas
//! share the work through the database alone; each pass takes a bucket that nobody has swept for
//! a while. Small batches, and a rest of a quarter as long after each, so that claims never wait behind a
//! long delete nor behind many: a day's records that expired while no server ran are no hurry.

use std::time::{Duration, Instant};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, Meter},
};
use tokio_util::sync::CancellationToken;

use crate::store::{Purged, SharedStore};

/// How the purge works.
#[derive(Debug, Clone)]
pub struct PurgeSettings {
    /// Rest when nothing was left to do. Zero turns the purge off.
    pub interval: Duration,
    /// Most records looked at in one pass.
    pub batch: u32,
}

impl Default for PurgeSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            batch: 4_000,
        }
    }
}

/// What the purge tells about itself.
#[derive(Debug, Clone)]
pub struct PurgeMetrics {
    deleted: Counter<u64>,
    postponed: Counter<u64>,
    passes: Counter<u64>,
    duration: Histogram<f64>,
}

impl PurgeMetrics {
    /// Makes the instruments, each under its one name.
    pub fn new(meter: &Meter) -> Self {
        Self {
            deleted: meter
                .u64_counter("semel.purge.deleted")
                .with_unit("{record}")
                .with_description("Records deleted because their retention has passed")
                .build(),
            postponed: meter
                .u64_counter("semel.purge.postponed")
                .with_unit("{record}")
                .with_description("Records looked at too early and left for later")
                .build(),
            passes: meter
                .u64_counter("semel.purge.passes")
                .with_unit("{pass}")
                .with_description("Passes of the purge, by how they ended")
                .build(),
            duration: meter
                .f64_histogram("semel.purge.duration")
                .with_unit("s")
                .with_boundaries(vec![
                    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
                ])
                .with_description("Time of one pass of the purge")
                .build(),
        }
    }

    fn record(&self, purged: Option<&Purged>, took: Duration) {
        let ended = if purged.is_some() { "ok" } else { "error" };
        self.passes.add(1, &[KeyValue::new("outcome", ended)]);
        self.duration.record(took.as_secs_f64(), &[]);
        if let Some(purged) = purged {
            self.deleted.add(purged.deleted, &[]);
            self.postponed.add(purged.postponed, &[]);
        }
    }
}

/// Purges until `stop`.
pub async fn run(
    store: SharedStore,
    settings: PurgeSettings,
    metrics: Option<PurgeMetrics>,
    stop: CancellationToken,
) {
    if settings.interval.is_zero() {
        return;
    }
    let mut is_failing = false;
    while !stop.is_cancelled() {
        let started = Instant::now();
        let purged = store.purge(settings.batch).await;
        let took = started.elapsed();
        if let Some(metrics) = &metrics {
            metrics.record(purged.as_ref().ok(), took);
        }
        let rest = match &purged {
            // The next bucket soon; a longer rest when all have been swept lately.
            Ok(purged) if purged.swept => took / 4,
            Ok(_) => settings.interval,
            Err(error) => {
                // Once, however long the store is away.
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, "a pass of the purge failed; it goes on after a rest");
                }
                settings.interval.max(Duration::from_secs(1))
            }
        };
        is_failing &= purged.is_err();
        if let Ok(purged) = &purged
            && purged.deleted > 0
        {
            tracing::debug!(
                deleted = purged.deleted,
                postponed = purged.postponed,
                "purged"
            );
        }
        // Jitter keeps replicas from coming for the same bucket at the same time.
        let rest = rest.mul_f64(0.75 + 0.5 * rand::random::<f64>());
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(rest) => {}
        }
    }
}
