//! Short words for keys, times and commands.

use bytes::Bytes;
use semel_server::key::{
    AttemptId, Fingerprint, Jitter, KeyId, OnLapse, Policy, PolicySettings, Span, Timestamp, Token,
    transition::{Command, Complete, Extend, Fail, Failure},
};

/// The smallest step of time.
pub const TICK: Span = Span::from_micros(1);
/// How long a lease stands in the tests' namespaces.
pub const LEASE: Span = Span::from_secs(10);
/// How long an outcome is kept in the tests' namespaces.
pub const RETENTION: Span = Span::from_secs(1_000);
/// The rest after the first failure in the tests' namespaces.
pub const BACKOFF: Span = Span::from_secs(20);

/// So many seconds.
pub const fn secs(secs: i64) -> Span {
    Span::from_secs(secs)
}

/// So many seconds after the moment when every story begins, or before it.
pub const fn at(secs: i64) -> Timestamp {
    Timestamp::from_micros((1_800_000_000 + secs) * 1_000_000)
}

/// Leases of 10 s, held for 60 s at most; kept for 1000 s; three attempts, 20 s apart, doubling;
/// results of up to 1 KiB.
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
        largest_result_bytes: 1_024,
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

/// The same, with the largest results there are.
pub fn large() -> PolicySettings {
    PolicySettings {
        largest_result_bytes: 4 * 1024 * 1024,
        keep_deliveries: true,
        ..settings()
    }
}

/// A checked policy.
pub fn policy(settings: PolicySettings) -> Policy {
    Policy::new(settings).expect("the tests' policies are valid")
}

/// A key of `orders`, whose policy is [`settings`].
pub fn order(key: &str) -> KeyId {
    key_in("orders", key)
}

/// A key of `money`, whose policy is [`hold`].
pub fn money(key: &str) -> KeyId {
    key_in("money", key)
}

/// A key of `strict`, whose policy is [`required`].
pub fn strict(key: &str) -> KeyId {
    key_in("strict", key)
}

/// A key of `bulk`, whose policy is [`large`].
pub fn bulk(key: &str) -> KeyId {
    key_in("bulk", key)
}

/// A key.
pub fn key_in(namespace: &str, key: &str) -> KeyId {
    KeyId::parse(namespace, key).expect("a valid key")
}

/// Three keys of one bucket: one of `orders`, another of `orders`, and the first one's name in
/// `bulk`. A statement that forgets a part of the key takes one for another; keys of different
/// buckets would hide that.
pub fn neighbours() -> [KeyId; 3] {
    let names = || (0..).map(|n: u32| format!("k{n}"));
    let same = names().find(|name| order(name).bucket() == bulk(name).bucket());
    let same = same.expect("there is one in 64");
    let (first, third) = (order(&same), bulk(&same));
    let second = names()
        .map(|name| order(&name))
        .find(|id| id.bucket() == first.bucket() && *id != first);
    [first, second.expect("there is one in 64"), third]
}

/// Attempt number `n`'s id. There is none for 0.
pub fn attempt(n: u128) -> AttemptId {
    AttemptId::new(&n.to_be_bytes()).expect("attempts are counted from 1")
}

/// A fingerprint.
pub fn print(text: &'static str) -> Fingerprint {
    Fingerprint::new(text.into()).expect("a short fingerprint")
}

/// A Complete.
pub fn complete(token: Token, result: impl Into<Bytes>) -> Command {
    Command::Complete(Complete {
        token,
        result: result.into(),
    })
}

/// A retryable Fail that says "boom" and leaves the rest to the policy.
pub fn retryable(token: Token) -> Command {
    fail(token, retry(None))
}

/// A retryable Fail whose next attempt may start after `rest`.
pub fn retry_after(token: Token, rest: Span) -> Command {
    fail(token, retry(Some(rest)))
}

fn retry(retry_after: Option<Span>) -> Failure {
    Failure::Retryable {
        retry_after,
        jitter: Jitter::new(0.5),
    }
}

/// A Fail for good.
pub fn terminal(token: Token, result: impl Into<Bytes>) -> Command {
    let result = result.into();
    fail(token, Failure::Terminal { result })
}

/// A Fail by a holder that does not know whether the work was done.
pub fn unknown(token: Token) -> Command {
    fail(token, Failure::Unknown)
}

/// A Fail that says "boom".
pub fn fail(token: Token, failure: Failure) -> Command {
    Command::Fail(Fail {
        token,
        error: "boom".into(),
        failure,
    })
}

/// An Extend; `None` asks for the policy's default.
pub fn extend(token: Token, lease: Option<Span>) -> Command {
    Command::Extend(Extend { token, lease })
}

/// A Checkpoint.
pub fn checkpoint(token: Token, checkpoint: impl Into<Bytes>) -> Command {
    Command::Checkpoint {
        token,
        checkpoint: checkpoint.into(),
    }
}
