//! What a namespace asks of its keys.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Invalid, Span, limits};

/// What becomes of a claim whose lease lapsed without a word from its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLapse {
    /// The next caller may claim: for work that is safe to do again.
    Reclaim,
    /// The key is uncertain until somebody resolves it: for money.
    Hold,
}

/// How long a key rests after a retryable failure: `initial × factor^(attempt − 1)`, at most
/// `cap`, moved by up to `jitter` of itself either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    initial: Span,
    cap: Span,
    factor_milli: u32,
    jitter_milli: u32,
}

/// A random number in `[0, 1)`, drawn outside and handed in, so that the rules stay pure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter(f64);

impl Jitter {
    /// Takes a number in `[0, 1)`; what is outside is moved to its edge.
    pub fn new(unit: f64) -> Self {
        Self(if unit.is_nan() {
            0.5
        } else {
            unit.clamp(0.0, 1.0 - f64::EPSILON)
        })
    }
}

impl Backoff {
    /// The rest after the `attempt`th attempt failed.
    pub fn after(&self, attempt: u32, jitter: Jitter) -> Span {
        let cap = self.cap.as_micros() as f64;
        let exponent = f64::from(attempt.saturating_sub(1));
        let growth = (f64::from(self.factor_milli) / 1_000.0).powf(exponent);
        let base = (self.initial.as_micros() as f64 * growth).min(cap);
        let spread = base * f64::from(self.jitter_milli) / 1_000.0;
        // `as` saturates, and the cap keeps it far from i64's end anyway.
        Span::from_micros((base - spread + 2.0 * spread * jitter.0).min(cap) as i64)
    }
}

/// Names one policy for ever: the first 64 bits of the SHA-256 of its canonical text.
///
/// A record keeps the id of the policy it was claimed under, and policies are never changed or
/// deleted, so a changed namespace touches new claims only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId(i64);

impl PolicyId {
    /// From a stored or sent number.
    pub const fn from_i64(id: i64) -> Self {
        Self(id)
    }

    /// The number.
    pub const fn as_i64(self) -> i64 {
        self.0
    }
}

/// A checked policy and its id. Made from [`PolicySettings`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    id: PolicyId,
    settings: PolicySettings,
    backoff: Backoff,
}

/// A policy's settings, as people write and the store keeps them.
///
/// Lengths of time are in milliseconds; the configuration file writes them as `30s` and the like
/// and is translated before it comes here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicySettings {
    /// Lease of a Claim that names none. Default 30 s.
    pub default_lease_ms: u64,
    /// Longest lease that a Claim or Extend may ask for. Default 15 min.
    pub longest_lease_ms: u64,
    /// Longest time that one claim can be held by extending it. Default 24 h.
    pub longest_hold_ms: u64,
    /// How long an outcome is kept after it was settled. Default 7 days.
    pub retention_ms: u64,
    /// What becomes of a lapsed claim. Default: reclaim.
    pub on_lapse: OnLapse,
    /// Attempts before a key is a dead letter. Default 10.
    pub attempts: u32,
    /// Rest after the first retryable failure. Default 1 s.
    pub backoff_initial_ms: u64,
    /// Longest rest. Default 5 min.
    pub backoff_cap_ms: u64,
    /// Growth of the rest from one attempt to the next, in thousandths. Default 2000.
    pub backoff_factor_milli: u32,
    /// How far chance moves the rest either way, in thousandths of it. Default 200.
    pub backoff_jitter_milli: u32,
    /// Whether every Claim has to carry a fingerprint. Default: no.
    pub fingerprint_required: bool,
    /// Largest result of a Complete or a Fail, in bytes. Default 256 KiB.
    pub largest_result_bytes: u64,
    /// Whether raw deliveries are kept for dead letters. Default: no.
    pub keep_deliveries: bool,
}

impl Default for PolicySettings {
    fn default() -> Self {
        Self {
            default_lease_ms: 30_000,
            longest_lease_ms: 15 * 60_000,
            longest_hold_ms: 24 * 60 * 60_000,
            retention_ms: 7 * 24 * 60 * 60_000,
            on_lapse: OnLapse::Reclaim,
            attempts: 10,
            backoff_initial_ms: 1_000,
            backoff_cap_ms: 5 * 60_000,
            backoff_factor_milli: 2_000,
            backoff_jitter_milli: 200,
            fingerprint_required: false,
            largest_result_bytes: 256 * 1024,
            keep_deliveries: false,
        }
    }
}

impl Policy {
    /// Checks settings.
    ///
    /// # Errors
    /// Every violation, each with the field, so that they can be mended in one go.
    pub fn new(settings: PolicySettings) -> Result<Self, Vec<Invalid>> {
        let mut problems = Vec::new();
        let mut span = |field, value_ms: u64, min: Span, max: Span| {
            let span = millis(value_ms);
            if span < min || span > max {
                problems.push(Invalid::new(
                    field,
                    format!("must be {min} to {max}, is {span}"),
                ));
            }
            span
        };
        let tiny = Span::from_millis(1);
        let default_lease = span(
            "default_lease",
            settings.default_lease_ms,
            limits::LEASE_MIN,
            limits::LEASE_MAX,
        );
        let longest_lease = span(
            "longest_lease",
            settings.longest_lease_ms,
            limits::LEASE_MIN,
            limits::LEASE_MAX,
        );
        let longest_hold = span(
            "longest_hold",
            settings.longest_hold_ms,
            limits::LEASE_MIN,
            limits::HOLD_MAX,
        );
        span(
            "retention",
            settings.retention_ms,
            limits::RETENTION_MIN,
            limits::RETENTION_MAX,
        );
        let initial = span(
            "backoff_initial",
            settings.backoff_initial_ms,
            tiny,
            limits::BACKOFF_MAX,
        );
        let cap = span(
            "backoff_cap",
            settings.backoff_cap_ms,
            tiny,
            limits::BACKOFF_MAX,
        );

        let mut check = |ok: bool, field, problem: String| {
            if !ok {
                problems.push(Invalid::new(field, problem));
            }
        };
        check(
            default_lease <= longest_lease,
            "default_lease",
            format!("must not be longer than longest_lease ({longest_lease}), is {default_lease}"),
        );
        check(
            longest_lease <= longest_hold,
            "longest_lease",
            format!("must not be longer than longest_hold ({longest_hold}), is {longest_lease}"),
        );
        check(
            initial <= cap,
            "backoff_initial",
            format!("must not be longer than backoff_cap ({cap}), is {initial}"),
        );
        check(
            (1..=limits::ATTEMPTS_MAX).contains(&settings.attempts),
            "attempts",
            format!(
                "must be 1 to {}, is {}",
                limits::ATTEMPTS_MAX,
                settings.attempts
            ),
        );
        check(
            (1_000..=100_000).contains(&settings.backoff_factor_milli),
            "backoff_factor",
            format!(
                "must be 1 to 100, is {}",
                f64::from(settings.backoff_factor_milli) / 1e3
            ),
        );
        check(
            settings.backoff_jitter_milli <= 1_000,
            "backoff_jitter",
            format!(
                "must be 0 to 1, is {}",
                f64::from(settings.backoff_jitter_milli) / 1e3
            ),
        );
        check(
            settings.largest_result_bytes <= limits::RESULT_BYTES as u64,
            "largest_result_bytes",
            format!(
                "must be at most {} bytes, is {}",
                limits::RESULT_BYTES,
                settings.largest_result_bytes
            ),
        );
        if !problems.is_empty() {
            return Err(problems);
        }

        let backoff = Backoff {
            initial,
            cap,
            factor_milli: settings.backoff_factor_milli,
            jitter_milli: settings.backoff_jitter_milli,
        };
        Ok(Self {
            id: id_of(&settings),
            settings,
            backoff,
        })
    }

    /// The policy of namespaces that nobody says anything about.
    pub fn built_in() -> Self {
        Self::new(PolicySettings::default()).expect("the defaults keep their own limits")
    }

    /// The policy's name.
    pub fn id(&self) -> PolicyId {
        self.id
    }

    /// The settings it was made from.
    pub fn settings(&self) -> &PolicySettings {
        &self.settings
    }

    /// The text that the store keeps and that the id is made from.
    pub fn canonical_text(&self) -> String {
        canonical_text(&self.settings)
    }

    /// How long to rest after a retryable failure.
    pub fn backoff(&self) -> &Backoff {
        &self.backoff
    }

    /// How long an outcome is kept after it was settled.
    pub fn retention(&self) -> Span {
        millis(self.settings.retention_ms)
    }

    /// Longest time that one claim can be held.
    pub fn longest_hold(&self) -> Span {
        millis(self.settings.longest_hold_ms)
    }

    /// What becomes of a lapsed claim.
    pub fn on_lapse(&self) -> OnLapse {
        self.settings.on_lapse
    }

    /// Attempts before a key is a dead letter.
    pub fn attempts(&self) -> NonZeroU32 {
        NonZeroU32::new(self.settings.attempts).unwrap_or(NonZeroU32::MIN)
    }

    /// Whether every Claim has to carry a fingerprint.
    pub fn fingerprint_required(&self) -> bool {
        self.settings.fingerprint_required
    }

    /// Whether raw deliveries are kept.
    pub fn keeps_deliveries(&self) -> bool {
        self.settings.keep_deliveries
    }

    /// The lease that a Claim or Extend gets.
    ///
    /// # Errors
    /// When the one asked for is shorter than 1 ms or longer than the longest lease.
    pub fn lease(&self, asked: Option<Span>) -> Result<Span, Invalid> {
        let longest = millis(self.settings.longest_lease_ms);
        match asked {
            None => Ok(millis(self.settings.default_lease_ms)),
            Some(lease) if lease < limits::LEASE_MIN || lease > longest => Err(Invalid::new(
                "lease",
                format!(
                    "must be {} to the namespace's longest lease of {longest}, is {lease}",
                    limits::LEASE_MIN
                ),
            )),
            Some(lease) => Ok(lease),
        }
    }

    /// Checks a result's size.
    ///
    /// # Errors
    /// When it is larger than the policy allows.
    pub fn check_result(&self, len: usize) -> Result<(), Invalid> {
        let largest = self.settings.largest_result_bytes;
        if len as u64 > largest {
            return Err(Invalid::new(
                "result",
                format!("must have at most {largest} bytes in this namespace, has {len}"),
            ));
        }
        Ok(())
    }
}

fn millis(ms: u64) -> Span {
    Span::from_millis(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// JSON with the fields in the order of the struct: the same settings are always the same text.
fn canonical_text(settings: &PolicySettings) -> String {
    serde_json::to_string(settings).expect("numbers, booleans and unit variants always serialise")
}

fn id_of(settings: &PolicySettings) -> PolicyId {
    let digest = Sha256::digest(canonical_text(settings));
    let first = digest.first_chunk::<8>().expect("a SHA-256 has 32 bytes");
    PolicyId(i64::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_policy_is_valid_and_has_one_id() {
        let policy = Policy::new(PolicySettings::default()).unwrap();
        let again: PolicySettings = serde_json::from_str(&policy.canonical_text()).unwrap();
        assert_eq!(Policy::new(again).unwrap().id(), policy.id());
        let other = PolicySettings {
            attempts: 11,
            ..PolicySettings::default()
        };
        assert_ne!(Policy::new(other).unwrap().id(), policy.id());
    }

    #[test]
    fn all_violations_are_told_at_once_with_their_fields() {
        let problems = Policy::new(PolicySettings {
            default_lease_ms: 0,
            retention_ms: 1,
            attempts: 0,
            backoff_factor_milli: 999,
            backoff_jitter_milli: 1_001,
            largest_result_bytes: u64::MAX,
            ..PolicySettings::default()
        })
        .unwrap_err();
        let fields: Vec<_> = problems.iter().map(|p| p.field).collect();
        assert_eq!(
            fields,
            [
                "default_lease",
                "retention",
                "attempts",
                "backoff_factor",
                "backoff_jitter",
                "largest_result_bytes"
            ]
        );
    }

    #[test]
    fn lease_and_hold_and_backoff_are_checked_against_each_other() {
        let fields = |settings| {
            Policy::new(settings)
                .unwrap_err()
                .iter()
                .map(|p| p.field)
                .collect::<Vec<_>>()
        };
        let base = PolicySettings::default;
        assert_eq!(
            fields(PolicySettings {
                default_lease_ms: 900_001,
                ..base()
            }),
            ["default_lease"]
        );
        assert_eq!(
            fields(PolicySettings {
                longest_hold_ms: 60_000,
                ..base()
            }),
            ["longest_lease"]
        );
        assert_eq!(
            fields(PolicySettings {
                backoff_cap_ms: 10,
                ..base()
            }),
            ["backoff_initial"]
        );
    }

    #[test]
    fn backoff_grows_by_its_factor_to_its_cap() {
        let policy = Policy::new(PolicySettings {
            backoff_initial_ms: 100,
            backoff_cap_ms: 1_000,
            backoff_factor_milli: 3_000,
            backoff_jitter_milli: 0,
            ..PolicySettings::default()
        })
        .unwrap();
        let rests = [1, 2, 3, 4, u32::MAX].map(|n| policy.backoff().after(n, Jitter::new(0.9)));
        assert_eq!(rests, [100, 300, 900, 1_000, 1_000].map(Span::from_millis));
    }

    #[test]
    fn jitter_moves_a_rest_either_way_and_never_past_the_cap() {
        let policy = Policy::new(PolicySettings {
            backoff_initial_ms: 1_000,
            backoff_cap_ms: 1_000,
            backoff_jitter_milli: 200,
            ..PolicySettings::default()
        })
        .unwrap();
        let rest = |unit| policy.backoff().after(1, Jitter::new(unit));
        assert_eq!(rest(0.0), Span::from_millis(800));
        assert_eq!(rest(0.25), Span::from_millis(900));
        assert_eq!(rest(f64::NAN), Span::from_millis(1_000));
        assert_eq!(rest(7.0), Span::from_millis(1_000));
    }

    #[test]
    fn a_lease_is_the_default_or_within_1_ms_and_the_longest() {
        let policy = Policy::new(PolicySettings::default()).unwrap();
        assert_eq!(policy.lease(None), Ok(Span::from_secs(30)));
        assert_eq!(
            policy.lease(Some(Span::from_secs(900))),
            Ok(Span::from_secs(900))
        );
        for bad in [
            Span::ZERO,
            Span::from_micros(999),
            Span::from_millis(900_001),
        ] {
            assert_eq!(policy.lease(Some(bad)).unwrap_err().field, "lease");
        }
    }
}
