//! What the service knows. It is in memory and ends with the program, while Semel goes on knowing what
//! was done; the example `stock` has its books in a database.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

/// The service's books. Cheap to clone; clones are the same books.
#[derive(Clone, Default)]
pub struct Books {
    stars: Arc<Mutex<BTreeMap<String, i64>>>,
    paid: Arc<Mutex<BTreeSet<String>>>,
}

impl Books {
    /// Counts a star that was given or taken back, and says how many there are.
    pub fn count_star(&self, repository: &str, change: i64) -> i64 {
        let mut stars = self.stars.lock().unwrap_or_else(PoisonError::into_inner);
        let count = stars.entry(repository.to_owned()).or_default();
        *count += change;
        *count
    }

    /// Marks an order as paid, and says how many are.
    pub fn mark_as_paid(&self, order: &str) -> usize {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        paid.insert(order.to_owned());
        paid.len()
    }
}
