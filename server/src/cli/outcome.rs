//! What stands under a key, as an answer to print and a code to exit with.

use std::time::Duration;

use semel_client::{
    BackingOff, ClaimOutcome, Claimed, Completed, Dead, FailOutcome, Failed, InProgress, Record,
    RecordState, Uncertain,
};

use super::{Exit, parse::show_duration, report::Report};
use crate::key::KeyId;

/// The answer to a claim, with its exit code.
pub(super) fn of_claim(key: &str, outcome: &ClaimOutcome) -> (Exit, Report) {
    match outcome {
        ClaimOutcome::Claimed(it) => (Exit::Success, claimed(key, it)),
        ClaimOutcome::InProgress(it) => (Exit::InProgress, in_progress(key, it)),
        ClaimOutcome::BackingOff(it) => (Exit::BackingOff, backing_off(key, it)),
        ClaimOutcome::Completed(it) => (Exit::Completed, completed(key, it)),
        ClaimOutcome::Failed(it) => (Exit::Failed, failed(key, it)),
        ClaimOutcome::Dead(it) => (Exit::Dead, dead(key, it)),
        ClaimOutcome::Uncertain(it) => (Exit::Uncertain, uncertain(key, it)),
    }
}

/// The answer to a failure that was recorded.
pub(super) fn of_failure(key: &str, outcome: &FailOutcome) -> Report {
    match outcome {
        FailOutcome::BackingOff(it) => backing_off(key, it),
        FailOutcome::Failed(it) => failed(key, it),
        FailOutcome::Dead(it) => dead(key, it),
        FailOutcome::Uncertain(it) => uncertain(key, it),
        _ => Report::new("recorded", format!("recorded: {key}")),
    }
}

/// The answer to a lookup.
pub(super) fn of_record(namespace: &str, key: &str, record: &Record) -> Report {
    let report = match &record.state {
        RecordState::InProgress(it) => in_progress(key, it),
        RecordState::BackingOff(it) => backing_off(key, it),
        RecordState::Completed(it) => completed(key, it),
        RecordState::Failed(it) => failed(key, it),
        RecordState::Dead(it) => dead(key, it),
        RecordState::Uncertain(it) => uncertain(key, it),
    };
    // Two states name their owner themselves, and all but one their trace.
    let report = match &record.state {
        RecordState::InProgress(_) | RecordState::Uncertain(_) => report,
        _ => report.text("owner", &record.owner),
    };
    let report = match &record.state {
        RecordState::BackingOff(_) => {
            report.text("trace_id", record.trace_id().unwrap_or_default())
        }
        _ => report,
    };
    let report = report
        .text("claim_id", &record.claim_id)
        .text("key_hash", key_hash(namespace, key));
    let report = report
        .time("created_at", record.created_at)
        .time("claimed_at", record.claimed_at);
    let report = match record.retention {
        Some(left) => report.span("retention", left),
        None => report,
    };
    let report = report
        .hex("fingerprint", record.fingerprint.clone())
        .payload("checkpoint", record.checkpoint.clone());
    match &record.delivery {
        Some(delivery) => report
            .headers("delivery_headers", delivery.headers.clone())
            .payload("delivery_body", delivery.body.clone()),
        None => report,
    }
}

/// What traces and logs show instead of the key.
fn key_hash(namespace: &str, key: &str) -> String {
    KeyId::parse(namespace, key).map_or_else(|_| String::new(), |id| id.shown())
}

fn claimed(key: &str, it: &Claimed) -> Report {
    Report::new("claimed", format!("claimed: {key} is yours to carry out"))
        .hex("token", it.held.token().as_bytes().clone())
        .number("fence", it.fence.get())
        .number("attempt", it.attempt)
        .span("lease", it.lease.remaining())
        .payload("checkpoint", it.checkpoint.clone())
        .text("last_error", &it.last_error)
}

fn in_progress(key: &str, it: &InProgress) -> Report {
    Report::new(
        "in_progress",
        format!("in progress: another caller is at {key}"),
    )
    .text("owner", &it.owner)
    .number("fence", it.fence.get())
    .number("attempt", it.attempt)
    .span("lease", it.lease)
    .span("retry_after", it.retry_after)
    .text("trace_id", it.trace_id().unwrap_or_default())
}

fn backing_off(key: &str, it: &BackingOff) -> Report {
    let when = match it.retry_after {
        // Only a lookup says so.
        Duration::ZERO => "can be claimed now".to_owned(),
        wait => format!("can be claimed again in {}", show_duration(wait)),
    };
    Report::new("backing_off", format!("backing off: {key} {when}"))
        .number("attempts", it.attempts)
        .text("last_error", &it.last_error)
        .span("retry_after", it.retry_after)
}

fn completed(key: &str, it: &Completed) -> Report {
    Report::new("completed", format!("completed: {key} has been done"))
        .payload("result", it.result.clone())
        .time("completed_at", it.completed_at)
        .number("fence", it.fence.get())
        .number("attempt", it.attempt)
        .text("trace_id", it.trace_id().unwrap_or_default())
}

fn failed(key: &str, it: &Failed) -> Report {
    Report::new("failed", format!("failed: {key} failed for good"))
        .text("error", &it.error)
        .payload("result", it.result.clone())
        .time("failed_at", it.failed_at)
        .number("fence", it.fence.get())
        .number("attempt", it.attempt)
        .text("trace_id", it.trace_id().unwrap_or_default())
}

fn dead(key: &str, it: &Dead) -> Report {
    Report::new("dead", format!("dead: the attempts at {key} are used up"))
        .number("attempts", it.attempts)
        .text("last_error", &it.last_error)
        .time("dead_at", it.dead_at)
        .number("fence", it.fence.get())
        .text("trace_id", it.trace_id().unwrap_or_default())
}

fn uncertain(key: &str, it: &Uncertain) -> Report {
    let headline = format!("uncertain: nobody knows whether {key} was done; it has to be resolved");
    Report::new("uncertain", headline)
        .text("owner", &it.owner)
        .number("attempts", it.attempts)
        .text("last_error", &it.last_error)
        .time("uncertain_since", it.uncertain_since)
        .number("fence", it.fence.get())
        .text("trace_id", it.trace_id().unwrap_or_default())
}
