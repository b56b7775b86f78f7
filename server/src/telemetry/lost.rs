//! An exporter that tells once when a collector goes away, and once when it is back.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry::metrics::Counter;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};

/// Exports by another, and counts what that does not get rid of.
#[derive(Debug)]
pub(super) struct Watched<E> {
    exporter: E,
    lost: Option<Counter<u64>>,
    is_away: AtomicBool,
}

impl<E> Watched<E> {
    pub fn new(exporter: E, lost: Option<Counter<u64>>) -> Self {
        Self {
            exporter,
            lost,
            is_away: AtomicBool::new(false),
        }
    }
}

impl<E: SpanExporter> SpanExporter for Watched<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let exported = self.exporter.export(batch).await;
        match &exported {
            Ok(()) => {
                if self.is_away.swap(false, Ordering::Relaxed) {
                    tracing::info!("the trace collector is back");
                }
            }
            Err(error) => {
                if let Some(lost) = &self.lost {
                    lost.add(spans, &[]);
                }
                if !self.is_away.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, spans, "the trace collector takes no spans; they are thrown away");
                }
            }
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
