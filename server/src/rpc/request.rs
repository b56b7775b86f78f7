//! Requests from the wire, checked field by field before anything is asked of the store.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use semel_proto::v1;

use crate::{
    key::{
        AttemptId, Fingerprint, Invalid, Jitter, KeyId, Span, Timestamp, Token, limits,
        transition::{Claim, Command, Complete, Extend, Fail, Failure},
    },
    policies::Policies,
    telemetry::SettlementKind,
};

/// A Claim and how long it may wait.
#[derive(Debug)]
pub(super) struct ClaimCall {
    pub claim: Claim,
    pub wait: Option<Duration>,
}

pub(super) fn claim(
    id: &KeyId,
    request: v1::ClaimRequest,
    traceparent: Option<&str>,
    policies: &Policies,
) -> Result<ClaimCall, Invalid> {
    let in_force = policies.of(id.namespace());
    let attempt_id = AttemptId::new(&request.attempt_id)?;
    let fingerprint = Fingerprint::new(request.fingerprint)?;
    let owner = owner(request.owner)?;
    let lease = in_force.policy.lease(span("lease", request.lease)?)?;
    let wait = span("wait", request.wait)?.unwrap_or_default();
    if wait > limits::WAIT_MAX {
        let problem = format!("must be at most {}, is {wait}", limits::WAIT_MAX);
        return Err(Invalid::new("wait", problem));
    }
    let event_time = request.event_time.map(timestamp).transpose()?;
    // Checked also where it is not kept, so that a namespace's policy does not decide whether a
    // request is well formed.
    let delivery = request.delivery.map(delivery).transpose()?;
    Ok(ClaimCall {
        wait: (!wait.is_zero()).then(|| wait.into()),
        claim: Claim {
            attempt_id,
            fingerprint,
            owner,
            traceparent: traceparent.map(checked_traceparent).unwrap_or_default(),
            lease,
            event_time,
            delivery: delivery.filter(|_| in_force.policy.keeps_deliveries()),
            policy: Arc::clone(&in_force.policy),
            memory: in_force.memory,
        },
    })
}

pub(super) fn complete(request: v1::CompleteRequest) -> Result<Command, Invalid> {
    let token = Token::decode(&request.token)?;
    let result = at_most("result", limits::RESULT_BYTES, request.result)?;
    Ok(Command::Complete(Complete { token, result }))
}

/// What a Fail says, before it is checked: one without a kind is counted among the usual ones.
pub(super) fn failure_kind(request: &v1::FailRequest) -> SettlementKind {
    match request.kind() {
        v1::FailureKind::Terminal => SettlementKind::FailTerminal,
        v1::FailureKind::Unknown => SettlementKind::FailUnknown,
        v1::FailureKind::Retryable | v1::FailureKind::Unspecified => SettlementKind::FailRetryable,
    }
}

pub(super) fn fail(request: v1::FailRequest, jitter: Jitter) -> Result<Command, Invalid> {
    let token = Token::decode(&request.token)?;
    let kind = request.kind();
    let result = at_most("result", limits::RESULT_BYTES, request.result)?;
    let retry_after = span("retry_after", request.retry_after)?;
    if !result.is_empty() && kind != v1::FailureKind::Terminal {
        return Err(Invalid::new("result", "may be set only with kind TERMINAL"));
    }
    if retry_after.is_some() && kind != v1::FailureKind::Retryable {
        return Err(Invalid::new(
            "retry_after",
            "may be set only with kind RETRYABLE",
        ));
    }
    if retry_after.is_some_and(|rest| rest > limits::BACKOFF_MAX) {
        let problem = format!("must be at most {}", limits::BACKOFF_MAX);
        return Err(Invalid::new("retry_after", problem));
    }
    if request.error.len() > limits::ERROR_BYTES {
        let problem = format!(
            "must have at most {} bytes, has {}",
            limits::ERROR_BYTES,
            request.error.len()
        );
        return Err(Invalid::new("error", problem));
    }
    if request.error.contains('\0') {
        return Err(Invalid::new("error", "must not contain NUL"));
    }
    let failure = match kind {
        v1::FailureKind::Retryable => Failure::Retryable {
            retry_after,
            jitter,
        },
        v1::FailureKind::Terminal => Failure::Terminal { result },
        v1::FailureKind::Unknown => Failure::Unknown,
        v1::FailureKind::Unspecified => {
            return Err(Invalid::new(
                "kind",
                "must be RETRYABLE, TERMINAL or UNKNOWN",
            ));
        }
    };
    Ok(Command::Fail(Fail {
        token,
        error: request.error,
        failure,
    }))
}

pub(super) fn extend(request: v1::ExtendRequest) -> Result<Command, Invalid> {
    let token = Token::decode(&request.token)?;
    let lease = span("lease", request.lease)?;
    Ok(Command::Extend(Extend { token, lease }))
}

pub(super) fn checkpoint(request: v1::CheckpointRequest) -> Result<Command, Invalid> {
    let token = Token::decode(&request.token)?;
    let checkpoint = at_most("checkpoint", limits::CHECKPOINT_BYTES, request.checkpoint)?;
    Ok(Command::Checkpoint { token, checkpoint })
}

fn at_most(field: &'static str, limit: usize, bytes: Bytes) -> Result<Bytes, Invalid> {
    if bytes.len() > limit {
        let problem = format!("must have at most {limit} bytes, has {}", bytes.len());
        return Err(Invalid::new(field, problem));
    }
    Ok(bytes)
}

fn owner(owner: String) -> Result<String, Invalid> {
    if owner.len() > limits::OWNER_BYTES {
        let problem = format!(
            "must have at most {} bytes, has {}",
            limits::OWNER_BYTES,
            owner.len()
        );
        return Err(Invalid::new("owner", problem));
    }
    if owner.chars().any(char::is_control) {
        return Err(Invalid::new("owner", "must not contain control characters"));
    }
    Ok(owner)
}

/// A traceparent is a courtesy of the caller's tracing library. One that is malformed is dropped
/// and never fails the call, as W3C Trace Context asks of receivers.
fn checked_traceparent(text: &str) -> String {
    let fits = text.len() <= limits::TRACEPARENT_BYTES
        && text
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if fits { text.to_owned() } else { String::new() }
}

fn span(
    field: &'static str,
    duration: Option<prost_types::Duration>,
) -> Result<Option<Span>, Invalid> {
    let Some(duration) = duration else {
        return Ok(None);
    };
    if duration.seconds < 0 || !(0..1_000_000_000).contains(&duration.nanos) {
        return Err(Invalid::new(
            field,
            "must not be negative, with nanos 0 to 999,999,999",
        ));
    }
    let nanos = duration.nanos.unsigned_abs();
    Ok(Some(
        Duration::new(duration.seconds.unsigned_abs(), nanos).into(),
    ))
}

fn timestamp(timestamp: prost_types::Timestamp) -> Result<Timestamp, Invalid> {
    let invalid = || {
        Invalid::new(
            "event_time",
            "must be from 0001-01-01T00:00:00Z to 9999-12-31T23:59:59Z, with nanos 0 to 999,999,999",
        )
    };
    // The range of google.protobuf.Timestamp.
    let in_range = (-62_135_596_800..=253_402_300_799).contains(&timestamp.seconds)
        && (0..1_000_000_000).contains(&timestamp.nanos);
    if !in_range {
        return Err(invalid());
    }
    let micros = timestamp.seconds * 1_000_000 + i64::from(timestamp.nanos) / 1_000;
    Ok(Timestamp::from_micros(micros))
}

/// Checks a delivery and encodes it as it is kept.
fn delivery(delivery: v1::Delivery) -> Result<Bytes, Invalid> {
    let too_much = |field, limit: usize, unit: &str, has: usize| {
        Err(Invalid::new(
            field,
            format!("must have at most {limit} {unit}, has {has}"),
        ))
    };
    let headers = &delivery.headers;
    if delivery.body.len() > limits::DELIVERY_BODY_BYTES {
        return too_much(
            "delivery.body",
            limits::DELIVERY_BODY_BYTES,
            "bytes",
            delivery.body.len(),
        );
    }
    if headers.len() > limits::DELIVERY_HEADERS {
        return too_much(
            "delivery.headers",
            limits::DELIVERY_HEADERS,
            "entries",
            headers.len(),
        );
    }
    let longest = limits::DELIVERY_HEADER_NAME_BYTES;
    if headers
        .iter()
        .any(|header| header.name.is_empty() || header.name.len() > longest)
    {
        let problem = format!("must have 1 to {longest} bytes");
        return Err(Invalid::new("delivery.headers.name", problem));
    }
    let total: usize = headers
        .iter()
        .map(|header| header.name.len() + header.value.len())
        .sum();
    if total > limits::DELIVERY_HEADER_BYTES {
        return too_much(
            "delivery.headers",
            limits::DELIVERY_HEADER_BYTES,
            "bytes",
            total,
        );
    }
    Ok(delivery.encode_to_vec().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_or_malformed_duration_is_refused_by_its_field() {
        for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000)] {
            let duration = prost_types::Duration { seconds, nanos };
            assert_eq!(span("wait", Some(duration)).unwrap_err().field, "wait");
        }
        let longest = prost_types::Duration {
            seconds: i64::MAX,
            nanos: 999_999_999,
        };
        assert!(span("wait", Some(longest)).unwrap().unwrap() > limits::WAIT_MAX);
    }

    #[test]
    fn an_event_time_is_read_to_the_microsecond_in_protobufs_range() {
        let at = |seconds, nanos| timestamp(prost_types::Timestamp { seconds, nanos });
        assert_eq!(at(1, 1_999), Ok(Timestamp::from_micros(1_000_001)));
        assert_eq!(at(-1, 500_000_000), Ok(Timestamp::from_micros(-500_000)));
        for (seconds, nanos) in [(i64::MIN, 0), (i64::MAX, 0), (0, -1), (0, 1_000_000_000)] {
            assert_eq!(at(seconds, nanos).unwrap_err().field, "event_time");
        }
    }

    #[test]
    fn a_malformed_traceparent_is_dropped_and_a_good_one_kept() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(checked_traceparent(good), good);
        for bad in ["'; drop table", &"0".repeat(129)] {
            assert_eq!(checked_traceparent(bad), "");
        }
    }

    #[test]
    fn a_delivery_over_a_limit_is_refused_by_its_field() {
        let header = |name: usize, value: usize| v1::Header {
            name: "n".repeat(name),
            value: vec![b'v'; value].into(),
        };
        let with = |headers, body: usize| v1::Delivery {
            headers,
            body: vec![0; body].into(),
        };
        for (bad, field) in [
            (
                with(vec![], limits::DELIVERY_BODY_BYTES + 1),
                "delivery.body",
            ),
            (with(vec![header(1, 1); 129], 0), "delivery.headers"),
            (with(vec![header(1, 32 * 1024)], 0), "delivery.headers"),
            (with(vec![header(0, 1)], 0), "delivery.headers.name"),
            (with(vec![header(256, 1)], 0), "delivery.headers.name"),
        ] {
            assert_eq!(delivery(bad).unwrap_err().field, field);
        }
        let full = with(vec![header(1, 32 * 1024 - 1)], limits::DELIVERY_BODY_BYTES);
        let kept = delivery(full.clone()).unwrap();
        assert_eq!(v1::Delivery::decode(kept), Ok(full));
    }
}
