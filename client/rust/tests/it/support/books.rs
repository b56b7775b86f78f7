//! What the fake Semel knows about keys: a small reading of the contract, not the real rules.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use semel_proto::v1::{self as wire, claim_response, fail_response, lookup_response};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

const DEFAULT_LEASE: Duration = Duration::from_secs(5);

#[derive(Default)]
pub struct Books {
    keys: HashMap<(String, String), Entry>,
    ended_attempts: HashSet<Bytes>,
    last_fence: i64,
}

#[derive(Clone)]
struct Entry {
    attempt_id: Bytes,
    token: Bytes,
    fence: i64,
    attempt: u32,
    fingerprint: Bytes,
    owner: String,
    traceparent: String,
    lease_end: Instant,
    checkpoint: Option<Bytes>,
    state: State,
}

#[derive(Clone, PartialEq)]
enum State {
    Held,
    Retryable(Instant, String),
    Completed(Bytes),
    Failed(Bytes, String),
    Uncertain(String),
}

pub fn reason(code: Code, reason: &str, metadata: &[(&str, String)]) -> Status {
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    let details = ErrorDetails::with_error_info(reason, semel_proto::ERROR_DOMAIN, metadata);
    Status::with_error_details(code, reason.to_lowercase(), details)
}

fn wire_duration(duration: Duration) -> Option<prost_types::Duration> {
    Some(duration.try_into().unwrap())
}

fn lease_of(asked: Option<prost_types::Duration>) -> Duration {
    asked.map_or(DEFAULT_LEASE, |lease| lease.try_into().unwrap())
}

impl Books {
    pub fn claim(
        &mut self,
        ask: &wire::ClaimRequest,
        traceparent: &str,
    ) -> Result<claim_response::Outcome, Status> {
        use claim_response::Outcome;
        let name = (ask.namespace.clone(), ask.key.clone());
        let now = Instant::now();
        let lease = lease_of(ask.lease);
        let mut attempt = 1;
        let mut checkpoint = None;
        let mut last_error = String::new();
        if let Some(entry) = self.keys.get(&name) {
            if entry.fingerprint != ask.fingerprint {
                return Err(reason(
                    Code::FailedPrecondition,
                    "FINGERPRINT_MISMATCH",
                    &[],
                ));
            }
            if self.ended_attempts.contains(&ask.attempt_id) {
                return Err(reason(Code::Aborted, "SUPERSEDED", &[]));
            }
            match &entry.state {
                State::Held if entry.attempt_id == ask.attempt_id => {
                    return Ok(Outcome::Claimed(entry.claimed(String::new())));
                }
                State::Held if entry.lease_end > now => {
                    return Ok(Outcome::InProgress(entry.in_progress()));
                }
                State::Held => {}
                State::Retryable(not_before, error) if *not_before > now => {
                    return Ok(Outcome::BackingOff(wire::BackingOff {
                        retry_after: wire_duration(*not_before - now),
                        attempts: entry.attempt,
                        last_error: error.clone(),
                    }));
                }
                State::Retryable(_, error) => last_error.clone_from(error),
                State::Completed(result) => {
                    return Ok(Outcome::Completed(entry.completed(result)));
                }
                State::Failed(result, error) => {
                    return Ok(Outcome::Failed(entry.failed(result, error)));
                }
                State::Uncertain(error) => {
                    return Ok(Outcome::Uncertain(entry.uncertain(error)));
                }
            }
            attempt = entry.attempt + 1;
            checkpoint = entry.checkpoint.clone();
        }
        self.last_fence += 1;
        let entry = Entry {
            attempt_id: ask.attempt_id.clone(),
            token: Bytes::from(format!("secret-{}", self.last_fence)),
            fence: self.last_fence,
            attempt,
            fingerprint: ask.fingerprint.clone(),
            owner: ask.owner.clone(),
            traceparent: traceparent.to_owned(),
            lease_end: now + lease,
            checkpoint,
            state: State::Held,
        };
        let claimed = entry.claimed(last_error);
        self.keys.insert(name, entry);
        Ok(Outcome::Claimed(claimed))
    }

    fn holder(&mut self, namespace: &str, key: &str, token: &Bytes) -> Result<&mut Entry, Status> {
        let entry = self
            .keys
            .get_mut(&(namespace.to_owned(), key.to_owned()))
            .ok_or_else(|| reason(Code::NotFound, "KEY_NOT_FOUND", &[]))?;
        if entry.token != *token {
            let fence = ("current_fence", entry.fence.to_string());
            return Err(reason(Code::Aborted, "LEASE_LOST", &[fence]));
        }
        Ok(entry)
    }

    pub fn complete(&mut self, ask: &wire::CompleteRequest) -> Result<bool, Status> {
        let entry = self.holder(&ask.namespace, &ask.key, &ask.token)?;
        let stored = State::Completed(ask.result.clone());
        match &entry.state {
            State::Held | State::Uncertain(_) => {
                entry.state = stored;
                Ok(false)
            }
            state if *state == stored => Ok(true),
            State::Completed(_) => Err(reason(Code::AlreadyExists, "RESULT_CONFLICT", &[])),
            _ => Err(reason(Code::AlreadyExists, "ALREADY_SETTLED", &[])),
        }
    }

    pub fn fail(&mut self, ask: &wire::FailRequest) -> Result<wire::FailResponse, Status> {
        let entry = self.holder(&ask.namespace, &ask.key, &ask.token)?;
        if matches!(entry.state, State::Completed(_)) {
            return Err(reason(Code::AlreadyExists, "ALREADY_SETTLED", &[]));
        }
        let repeat = entry.state != State::Held;
        let backoff = ask
            .retry_after
            .map_or(Duration::ZERO, |wait| wait.try_into().unwrap());
        let (state, outcome) = match ask.kind() {
            wire::FailureKind::Retryable => (
                State::Retryable(Instant::now() + backoff, ask.error.clone()),
                fail_response::Outcome::BackingOff(wire::BackingOff {
                    retry_after: wire_duration(backoff),
                    attempts: entry.attempt,
                    last_error: ask.error.clone(),
                }),
            ),
            wire::FailureKind::Terminal => (
                State::Failed(ask.result.clone(), ask.error.clone()),
                fail_response::Outcome::Failed(entry.failed(&ask.result, &ask.error)),
            ),
            wire::FailureKind::Unknown => (
                State::Uncertain(ask.error.clone()),
                fail_response::Outcome::Uncertain(entry.uncertain(&ask.error)),
            ),
            wire::FailureKind::Unspecified => {
                return Err(Status::invalid_argument("kind is required"));
            }
        };
        entry.state = state;
        let ended = entry.attempt_id.clone();
        self.ended_attempts.insert(ended);
        Ok(wire::FailResponse {
            repeat,
            outcome: Some(outcome),
        })
    }

    pub fn extend(&mut self, ask: &wire::ExtendRequest) -> Result<wire::ExtendResponse, Status> {
        let entry = self.holder(&ask.namespace, &ask.key, &ask.token)?;
        if entry.state != State::Held {
            return Err(reason(Code::AlreadyExists, "ALREADY_SETTLED", &[]));
        }
        let lease = lease_of(ask.lease);
        entry.lease_end = Instant::now() + lease;
        Ok(wire::ExtendResponse {
            lease: wire_duration(lease),
            hold: wire_duration(Duration::from_secs(3600)),
        })
    }

    pub fn checkpoint(&mut self, ask: &wire::CheckpointRequest) -> Result<(), Status> {
        let entry = self.holder(&ask.namespace, &ask.key, &ask.token)?;
        entry.checkpoint = Some(ask.checkpoint.clone());
        Ok(())
    }

    pub fn lookup(&self, ask: &wire::LookupRequest) -> Result<wire::LookupResponse, Status> {
        use lookup_response::Outcome;
        let entry = self
            .keys
            .get(&(ask.namespace.clone(), ask.key.clone()))
            .ok_or_else(|| reason(Code::NotFound, "KEY_NOT_FOUND", &[]))?;
        let outcome = match &entry.state {
            State::Held => Outcome::InProgress(entry.in_progress()),
            State::Retryable(_, error) => Outcome::BackingOff(wire::BackingOff {
                retry_after: None,
                attempts: entry.attempt,
                last_error: error.clone(),
            }),
            State::Completed(result) => Outcome::Completed(entry.completed(result)),
            State::Failed(result, error) => Outcome::Failed(entry.failed(result, error)),
            State::Uncertain(error) => Outcome::Uncertain(entry.uncertain(error)),
        };
        Ok(wire::LookupResponse {
            outcome: Some(outcome),
            owner: entry.owner.clone(),
            checkpoint: entry.checkpoint.clone(),
            fingerprint: entry.fingerprint.clone(),
            traceparent: entry.traceparent.clone(),
            claim_id: format!("{:032x}", entry.fence),
            ..wire::LookupResponse::default()
        })
    }
}

impl Entry {
    fn left(&self) -> Duration {
        self.lease_end.saturating_duration_since(Instant::now())
    }

    fn claimed(&self, last_error: String) -> wire::Claimed {
        wire::Claimed {
            token: self.token.clone(),
            fence: self.fence,
            attempt: self.attempt,
            lease: wire_duration(self.left()),
            checkpoint: self.checkpoint.clone(),
            last_error,
        }
    }

    fn in_progress(&self) -> wire::InProgress {
        wire::InProgress {
            owner: self.owner.clone(),
            lease: wire_duration(self.left()),
            retry_after: wire_duration(Duration::from_millis(10)),
            fence: self.fence,
            attempt: self.attempt,
            traceparent: self.traceparent.clone(),
        }
    }

    fn completed(&self, result: &Bytes) -> wire::Completed {
        wire::Completed {
            result: result.clone(),
            completed_at: Some(SystemTime::now().into()),
            fence: self.fence,
            attempt: self.attempt,
            traceparent: self.traceparent.clone(),
        }
    }

    fn failed(&self, result: &Bytes, error: &str) -> wire::Failed {
        wire::Failed {
            result: result.clone(),
            failed_at: Some(SystemTime::now().into()),
            fence: self.fence,
            attempt: self.attempt,
            error: error.to_owned(),
            traceparent: self.traceparent.clone(),
        }
    }

    fn uncertain(&self, error: &str) -> wire::Uncertain {
        wire::Uncertain {
            owner: self.owner.clone(),
            fence: self.fence,
            attempts: self.attempt,
            uncertain_since: Some(SystemTime::now().into()),
            last_error: error.to_owned(),
            traceparent: self.traceparent.clone(),
        }
    }
}
