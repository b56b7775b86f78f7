//! Whether the next batch of claims is likely to be all new.
//!
//! There are two statements for first claims. One inserts what it can and looks for each key
//! beforehand; the other does not look, is a sixth cheaper, and inserts nothing when it meets a key
//! that stands, so that the first has to follow. The second pays where duplicates are rare, and
//! each of its failures costs a batch; so it is tried only after a run of batches without any.

use std::sync::atomic::{AtomicU32, Ordering};

/// Batches without a duplicate before the next is taken for all new. A batch tried in vain costs
/// about as much as seven are spared.
const ENOUGH: u32 = 16;

/// Smaller batches gain less than the call of a function costs them.
const WORTH_IT: usize = 16;

/// What a lane has seen of its last batches. Used by that lane alone.
#[derive(Debug, Default)]
pub(super) struct Novelty(AtomicU32);

impl Novelty {
    /// Whether the next batch, of so many claims, is worth taking for all new.
    pub(super) fn is_likely(&self, claims: usize) -> bool {
        claims >= WORTH_IT && self.0.load(Ordering::Relaxed) >= ENOUGH
    }

    /// What a batch turned out to be.
    pub(super) fn was(&self, all_new: bool) {
        let seen = self.0.load(Ordering::Relaxed);
        let seen = if all_new { (seen + 1).min(ENOUGH) } else { 0 };
        self.0.store(seen, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_duplicate_asks_for_a_new_run_of_batches_without_any() {
        let novelty = Novelty::default();
        for _ in 0..2 {
            for _ in 0..ENOUGH {
                assert!(!novelty.is_likely(512));
                novelty.was(true);
            }
            assert!(novelty.is_likely(512));
            assert!(!novelty.is_likely(1), "too small");
            novelty.was(true);
            assert!(novelty.is_likely(512));
            novelty.was(false);
        }
        assert!(!novelty.is_likely(512));
    }
}
