//! Policies, as the configuration file writes them.

use std::time::Duration;

use toml::{Table, Value};

use super::{
    Problem,
    section::{Section, boolean, duration, number, table, text, whole},
};
use crate::key::{Namespace, OnLapse, Policy, PolicySettings};

/// The policy that `table` describes, starting from `base`'s settings.
pub(super) fn policy(
    path: &str,
    table: &Table,
    base: Option<&Policy>,
    problems: &mut Vec<Problem>,
) -> Option<Policy> {
    let base = base.map_or_else(PolicySettings::default, |policy| policy.settings().clone());
    let found_before = problems.len();
    let mut section = Section::new(path, table.clone(), problems);
    let settings = PolicySettings {
        default_lease_ms: section
            .take("default_lease", millis)
            .unwrap_or(base.default_lease_ms),
        longest_lease_ms: section
            .take("longest_lease", millis)
            .unwrap_or(base.longest_lease_ms),
        longest_hold_ms: section
            .take("longest_hold", millis)
            .unwrap_or(base.longest_hold_ms),
        retention_ms: section
            .take("retention", millis)
            .unwrap_or(base.retention_ms),
        on_lapse: section.take("on_lapse", on_lapse).unwrap_or(base.on_lapse),
        attempts: section.take("attempts", attempts).unwrap_or(base.attempts),
        backoff_initial_ms: section
            .take("backoff_initial", millis)
            .unwrap_or(base.backoff_initial_ms),
        backoff_cap_ms: section
            .take("backoff_cap", millis)
            .unwrap_or(base.backoff_cap_ms),
        backoff_factor_milli: section
            .take("backoff_factor", thousandths)
            .unwrap_or(base.backoff_factor_milli),
        backoff_jitter_milli: section
            .take("backoff_jitter", thousandths)
            .unwrap_or(base.backoff_jitter_milli),
        fingerprint_required: section
            .take("fingerprint_required", boolean)
            .unwrap_or(base.fingerprint_required),
        largest_result_bytes: section
            .take("largest_result_bytes", whole)
            .unwrap_or(base.largest_result_bytes),
        keep_deliveries: section
            .take("keep_deliveries", boolean)
            .unwrap_or(base.keep_deliveries),
    };
    section.finish();
    match Policy::new(settings) {
        Ok(policy) => (problems.len() == found_before).then_some(policy),
        Err(invalid) => {
            problems.extend(invalid.into_iter().map(|invalid| Problem {
                place: format!("{path}.{}", invalid.field),
                problem: invalid.problem,
            }));
            None
        }
    }
}

/// The namespaces that have policies of their own. What one does not say, `[defaults]` says.
pub(super) fn namespaces(
    namespaces: &Table,
    default: Option<&Policy>,
    problems: &mut Vec<Problem>,
) -> Vec<(Namespace, Policy)> {
    let mut checked = Vec::new();
    for (name, value) in namespaces {
        let path = format!("namespaces.{name}");
        let namespace = Namespace::new(name).map_err(|invalid| Problem {
            place: path.clone(),
            problem: invalid.problem,
        });
        let table = table(value.clone()).map_err(|problem| Problem {
            place: path.clone(),
            problem,
        });
        match (namespace, table) {
            (Ok(namespace), Ok(table)) => {
                if let Some(policy) = policy(&path, &table, default, problems) {
                    checked.push((namespace, policy));
                }
            }
            (namespace, table) => problems.extend(namespace.err().into_iter().chain(table.err())),
        }
    }
    checked
}

fn millis(value: Value) -> Result<u64, String> {
    let duration = duration(value)?;
    let whole = Duration::from_millis(duration.as_millis().min(u128::from(u64::MAX)) as u64);
    if whole != duration {
        return Err("must be a whole number of milliseconds".into());
    }
    Ok(whole.as_millis() as u64)
}

fn thousandths(value: Value) -> Result<u32, String> {
    let number = number(value)?;
    if !(0.0..=1_000.0).contains(&number) {
        return Err(format!("must be 0 to 1000, is {number}"));
    }
    Ok((number * 1_000.0).round() as u32)
}

fn attempts(value: Value) -> Result<u32, String> {
    let number = whole(value)?;
    u32::try_from(number).map_err(|_| format!("must be 1 to 1000000, is {number}"))
}

fn on_lapse(value: Value) -> Result<OnLapse, String> {
    match text(value)?.as_str() {
        "reclaim" => Ok(OnLapse::Reclaim),
        "hold" => Ok(OnLapse::Hold),
        other => Err(format!("must be \"reclaim\" or \"hold\", is {other:?}")),
    }
}
