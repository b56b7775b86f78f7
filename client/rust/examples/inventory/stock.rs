//! The receiver's shelf, with an audit log of every effect.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::OrderPaid;

/// One time that stock was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// The idempotency key that it was taken for.
    pub key: String,
    /// The fence of the claim that it was taken under.
    pub fence: i64,
    /// What was taken.
    pub sku: String,
    /// How many.
    pub quantity: u64,
}

/// Why stock was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// There is less than was asked for.
    Insufficient {
        /// What there is.
        available: u64,
    },
    /// A later holder of the same key was here already.
    Stale,
}

/// The shelf, with a log of every effect. It does not dedup by itself, so that its log shows what
/// really happened; but it refuses a fence that is smaller than one it has seen for the same key.
#[derive(Clone, Default)]
pub struct Stock(Arc<Mutex<Shelf>>);

#[derive(Default)]
struct Shelf {
    levels: BTreeMap<String, u64>,
    log: BTreeMap<String, Vec<Applied>>,
    fences: BTreeMap<String, i64>,
}

impl Stock {
    /// A shelf with these items on it.
    pub fn new<S: Into<String>>(levels: impl IntoIterator<Item = (S, u64)>) -> Self {
        let levels = levels.into_iter().map(|(sku, n)| (sku.into(), n)).collect();
        Self(Arc::new(Mutex::new(Shelf {
            levels,
            ..Shelf::default()
        })))
    }

    /// How many of an item are left.
    pub fn level(&self, sku: &str) -> u64 {
        lock(&self.0).levels.get(sku).copied().unwrap_or(0)
    }

    /// Every time that stock was taken for an order; more than one is one too many.
    pub fn applied(&self, order_id: &str) -> Vec<Applied> {
        lock(&self.0).log.get(order_id).cloned().unwrap_or_default()
    }

    /// The levels and the whole log.
    pub(super) fn to_json(&self) -> serde_json::Value {
        let shelf = lock(&self.0);
        serde_json::json!({ "levels": shelf.levels, "applied": shelf.log })
    }

    /// The orders that stock was taken for, and how often.
    pub fn times_applied(&self) -> BTreeMap<String, usize> {
        let shelf = lock(&self.0);
        let times = shelf
            .log
            .iter()
            .map(|(order, log)| (order.clone(), log.len()));
        times.collect()
    }

    /// Takes what the event asks for and logs it, or changes nothing.
    pub(super) fn take(&self, key: &str, fence: i64, event: &OrderPaid) -> Result<u64, NotTaken> {
        let mut shelf = lock(&self.0);
        let seen = shelf.fences.entry(key.to_owned()).or_insert(fence);
        if fence < *seen {
            return Err(NotTaken::Stale);
        }
        *seen = fence;
        let level = shelf.levels.entry(event.sku.clone()).or_insert(0);
        let Some(left) = level.checked_sub(event.quantity) else {
            return Err(NotTaken::Insufficient { available: *level });
        };
        *level = left;
        let log = shelf.log.entry(event.order_id.clone()).or_default();
        log.push(Applied {
            key: key.to_owned(),
            fence,
            sku: event.sku.clone(),
            quantity: event.quantity,
        });
        Ok(left)
    }
}

/// A handler that panicked with the lock held left nothing half done: each change is one step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
