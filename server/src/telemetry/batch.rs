//! A call of the store for many commands, in the traces of those that are sampled.

use std::{collections::HashMap, sync::Arc, time::Instant};

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, Span as _, SpanKind, Status, Tracer as _},
};

use super::{call::CallSpan, spans::by_the_wall};

/// A call of the store that has ended, for many commands.
#[derive(Debug)]
pub struct StoreBatch<'a> {
    /// What was called.
    pub operation: &'static str,
    /// The store's engine.
    pub engine: &'static str,
    /// The lane that called.
    pub lane: usize,
    /// How many keys it was for.
    pub items: usize,
    /// When it began.
    pub from: Instant,
    /// When it ended.
    pub until: Instant,
    /// Why it failed, if it did.
    pub error: Option<&'static str>,
    /// The sampled calls among those that it was for.
    pub calls: &'a [Arc<CallSpan>],
}

impl StoreBatch<'_> {
    /// Shows it: as a trace of its own with a link to each sampled call, since it is no more one call's
    /// than another's; and in each of these calls' traces for as long as it took, with a link back.
    pub fn show(&self) {
        // A call may wait for several of the batch's keys, though nearly always it is for one.
        let calls: HashMap<_, _> = self
            .calls
            .iter()
            .filter(|call| call.has_room())
            .map(|call| (call.own.span_id(), call))
            .collect();
        let Some(first) = calls.values().next() else {
            return;
        };
        let tracer = &first.tracer;
        let name = format!("store {}", self.operation);
        let (from, until) = by_the_wall(self.from, self.until);
        let status = self.error.map_or(Status::Unset, Status::error);
        let attributes = || {
            [
                KeyValue::new("db.system.name", db_system(self.engine)),
                KeyValue::new("db.operation.name", self.operation),
                KeyValue::new("semel.batch.size", self.items as i64),
                KeyValue::new("semel.lane", self.lane as i64),
            ]
        };
        let links = calls
            .values()
            .map(|call| Link::with_context(call.own.clone()));
        let batch = tracer
            .span_builder(name.clone())
            .with_kind(SpanKind::Client)
            .with_start_time(from)
            .with_attributes(attributes())
            .with_links(links.collect());
        let mut batch = tracer.build_with_context(batch, &Context::new());
        batch.set_status(status.clone());
        let end = batch.span_context().clone();
        batch.end_with_timestamp(until);
        for call in calls.values() {
            let named = vec![KeyValue::new("semel.link", "batch")];
            let part = tracer
                .span_builder(name.clone())
                .with_start_time(from)
                .with_attributes(attributes())
                .with_links(vec![Link::new(end.clone(), named, 0)]);
            let mut part = tracer.build_with_context(part, &call.context);
            part.set_status(status.clone());
            part.end_with_timestamp(until);
        }
    }
}

fn db_system(engine: &'static str) -> &'static str {
    match engine {
        "postgres" => "postgresql",
        other => other,
    }
}
