//! Builders for the tests of the decision tables: one key, carried through a story.
//!
//! [`OneKey`] does what a store would do with each decision, and checks with each what every
//! decision must keep: fences grow, revisions count, an insert meets nothing.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Claim, ClaimReply, Command, Complete, Decision, Extend, Fail, Failure, Outcome, Refusal, Reply,
    Standing, decide,
};
use crate::key::{
    AttemptId, Fence, Fingerprint, Jitter, KeyId, Memory, OnLapse, Policy, PolicySettings, Record,
    Span, Timestamp, Token,
};

/// `secs` after the moment when every story begins, or before it.
pub fn at(secs: i64) -> Timestamp {
    Timestamp::from_micros((1_800_000_000 + secs) * 1_000_000)
}

/// The smallest step of time.
pub const TICK: Span = Span::from_micros(1);

pub fn secs(secs: i64) -> Span {
    Span::from_secs(secs)
}

/// Leases of 10 s, held for 60 s at most; kept for 1000 s; three attempts, 20 s apart, doubling.
pub fn settings() -> PolicySettings {
    PolicySettings {
        default_lease_ms: 10_000,
        longest_lease_ms: 30_000,
        longest_hold_ms: 60_000,
        retention_ms: 1_000_000,
        attempts: 3,
        backoff_initial_ms: 20_000,
        backoff_cap_ms: 100_000,
        backoff_factor_milli: 2_000,
        backoff_jitter_milli: 0,
        largest_result_bytes: 8,
        ..PolicySettings::default()
    }
}

/// The same, for money: a lapsed claim is uncertain.
pub fn hold() -> PolicySettings {
    PolicySettings {
        on_lapse: OnLapse::Hold,
        ..settings()
    }
}

/// The same, and every claim has to carry a fingerprint.
pub fn required() -> PolicySettings {
    PolicySettings {
        fingerprint_required: true,
        ..settings()
    }
}

pub fn policy(settings: PolicySettings) -> Arc<Policy> {
    Arc::new(Policy::new(settings).expect("the tests' policies are valid"))
}

pub fn id() -> KeyId {
    KeyId::parse("orders", "order-1").expect("a valid key")
}

pub fn attempt(n: u8) -> AttemptId {
    AttemptId::from_stored([n; 16])
}

pub fn print(text: &'static str) -> Fingerprint {
    Fingerprint::new(bytes(text)).expect("a short fingerprint")
}

pub fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

pub fn complete(token: Token, result: &'static str) -> Command {
    Command::Complete(Complete {
        token,
        result: bytes(result),
    })
}

/// A retryable Fail that says "boom" and leaves the rest to the policy.
pub fn retryable(token: Token) -> Command {
    fail(
        token,
        Failure::Retryable {
            retry_after: None,
            jitter: Jitter::new(0.5),
        },
    )
}

/// A retryable Fail whose next attempt may start after `rest`.
pub fn retry_after(token: Token, rest: Span) -> Command {
    fail(
        token,
        Failure::Retryable {
            retry_after: Some(rest),
            jitter: Jitter::new(0.5),
        },
    )
}

pub fn terminal(token: Token, result: &'static str) -> Command {
    fail(
        token,
        Failure::Terminal {
            result: bytes(result),
        },
    )
}

pub fn unknown(token: Token) -> Command {
    fail(token, Failure::Unknown)
}

pub fn fail(token: Token, failure: Failure) -> Command {
    Command::Fail(Fail {
        token,
        error: "boom".into(),
        failure,
    })
}

pub fn extend(token: Token, lease: Option<Span>) -> Command {
    Command::Extend(Extend { token, lease })
}

pub fn checkpoint(token: Token, checkpoint: &'static str) -> Command {
    Command::Checkpoint {
        token,
        checkpoint: bytes(checkpoint),
    }
}

impl From<Claim> for Command {
    fn from(claim: Claim) -> Self {
        Self::Claim(claim)
    }
}

/// One key, its namespace's policy now, and the store's clock.
#[derive(Debug, Clone)]
pub struct OneKey {
    pub now: Timestamp,
    pub policy: Arc<Policy>,
    pub standing: Option<Standing>,
}

impl OneKey {
    /// A key that nobody has claimed yet.
    pub fn new(settings: PolicySettings) -> Self {
        Self {
            now: at(0),
            policy: policy(settings),
            standing: None,
        }
    }

    /// A key whose attempt 1 was just claimed.
    pub fn claimed(settings: PolicySettings) -> (Self, Token) {
        let mut key = Self::new(settings);
        let token = key.claims(1);
        (key, token)
    }

    /// Attempt `n`'s Claim as the namespace stands now: no fingerprint, default lease.
    pub fn claim(&self, n: u8) -> Claim {
        Claim {
            attempt_id: attempt(n),
            fingerprint: Fingerprint::default(),
            owner: format!("worker-{n}"),
            traceparent: format!("trace-{n}"),
            lease: self.policy.lease(None).expect("a default lease"),
            event_time: None,
            delivery: None,
            policy: self.policy.clone(),
            memory: Memory::FULL,
        }
    }

    /// Sends attempt `n`'s Claim, which has to be granted.
    pub fn claims(&mut self, n: u8) -> Token {
        let answer = self.send(self.claim(n));
        granted(&answer).token
    }

    /// What [`decide`] says to a command, without doing it.
    pub fn decide(&self, command: &Command) -> Decision {
        decide(&id(), command, self.standing.as_ref(), self.now)
    }

    /// Sends a command and does what was decided, as a store would.
    pub fn send(&mut self, command: impl Into<Command>) -> Result<Reply, Refusal> {
        match self.decide(&command.into()) {
            Decision::Answer(answer) => answer,
            Decision::Insert(new) => {
                assert!(self.standing.is_none(), "an insert where something stands");
                assert!(self.now <= new.insert_until, "an insert that would miss");
                let record = new.inserted(Fence::from_i64(self.now.as_micros()), self.now);
                let grant = super::ClaimGrant::of(&record, self.now);
                self.stands(record);
                Ok(Reply::Claim(ClaimReply::Claimed(grant)))
            }
            Decision::Replace { record, reply } => {
                let old = self.record();
                assert!(record.fence >= old.fence, "a fence that decreased");
                assert!(
                    record.fence > old.fence || record.revision > old.revision,
                    "a change that a compare-and-swap would not notice"
                );
                self.stands(*record);
                Ok(reply)
            }
        }
    }

    fn stands(&mut self, record: Record) {
        // Whatever is written was claimed under the namespace's policy now, or the record's own.
        let policy = match &self.standing {
            Some(old) if old.record.policy_id == record.policy_id => old.policy.clone(),
            _ => self.policy.clone(),
        };
        assert_eq!(policy.id(), record.policy_id);
        self.standing = Some(Standing { record, policy });
    }

    /// What stands; there has to be something.
    pub fn record(&self) -> &Record {
        &self.standing.as_ref().expect("something stands").record
    }

    /// What a Lookup shows.
    pub fn outcome(&self) -> Outcome {
        match self.clone().send(Command::Lookup) {
            Ok(Reply::Lookup { outcome, .. }) => outcome,
            other => panic!("nothing to look up: {other:?}"),
        }
    }
}

/// The grant of a Claim that has to have been granted.
pub fn granted(answer: &Result<Reply, Refusal>) -> &super::ClaimGrant {
    match answer {
        Ok(Reply::Claim(ClaimReply::Claimed(grant))) => grant,
        other => panic!("not claimed: {other:?}"),
    }
}

/// What stands, as told to a Claim that was not granted.
pub fn standing(answer: Result<Reply, Refusal>) -> Outcome {
    match answer {
        Ok(Reply::Claim(ClaimReply::Standing(outcome))) => outcome,
        other => panic!("no standing outcome: {other:?}"),
    }
}

/// An answer in a word, as the contract's tables say it.
pub fn kind(answer: &Result<Reply, Refusal>) -> &'static str {
    match answer {
        Ok(Reply::Claim(ClaimReply::Claimed(_))) => "claimed",
        Ok(Reply::Claim(ClaimReply::Standing(outcome)) | Reply::Lookup { outcome, .. }) => {
            kind_of(outcome)
        }
        Ok(Reply::Complete { repeat: true, .. } | Reply::Fail { repeat: true, .. }) => "repeat",
        Ok(Reply::Complete { .. }) => "stored",
        Ok(Reply::Fail { outcome, .. }) => kind_of(outcome),
        Ok(Reply::Extend { .. }) => "extended",
        Ok(Reply::Checkpoint) => "saved",
        Err(Refusal::Invalid(_)) => "INVALID",
        Err(Refusal::FingerprintMismatch { .. }) => "FINGERPRINT_MISMATCH",
        Err(Refusal::EventTooOld) => "EVENT_TOO_OLD",
        Err(Refusal::Superseded { .. }) => "SUPERSEDED",
        Err(Refusal::LeaseLost { .. }) => "LEASE_LOST",
        Err(Refusal::ResultConflict { .. }) => "RESULT_CONFLICT",
        Err(Refusal::AlreadySettled { .. }) => "ALREADY_SETTLED",
        Err(Refusal::HoldLimitReached { .. }) => "HOLD_LIMIT_REACHED",
        Err(Refusal::KeyNotFound) => "NOT_FOUND",
    }
}

fn kind_of(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::InProgress { .. } => "in progress",
        Outcome::BackingOff { .. } => "backing off",
        Outcome::Completed { .. } => "completed",
        Outcome::Failed { .. } => "failed",
        Outcome::Dead { .. } => "dead",
        Outcome::Uncertain { .. } => "uncertain",
    }
}
