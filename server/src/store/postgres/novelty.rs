//! Whether the next batch of claims is likely to be all new.
//!
//! There are two statements for first claims. One inserts what it can and looks for each key
//! beforehand; the other does not look, is a sixth cheaper, and inserts nothing when it meets a key
//! that stands, so that the first has to follow. The second pays where few batches have a duplicate.

use std::sync::atomic::{AtomicU32, Ordering};

/// All batches, in the parts that a share of them is counted in.
const ALL: u32 = 1 << 16;

/// A batch tried in vain costs about as much as seven are spared.
const FEW: u32 = ALL / 8;

/// How many batches back the share is about.
const MEMORY: u32 = 16;

/// Smaller batches gain less than the call of a function costs them.
const WORTH_IT: usize = 16;

/// The share of a lane's last batches that had a duplicate; the older the less it counts. Used by
/// that lane alone.
#[derive(Debug)]
pub(super) struct Novelty(AtomicU32);

impl Default for Novelty {
    /// Nothing is known, so the worst is taken for likely.
    fn default() -> Self {
        Self(AtomicU32::new(ALL))
    }
}

impl Novelty {
    /// Whether the next batch, of so many claims, is worth taking for all new.
    pub(super) fn is_likely(&self, claims: usize) -> bool {
        claims >= WORTH_IT && self.0.load(Ordering::Relaxed) < FEW
    }

    /// What a batch turned out to be.
    pub(super) fn was(&self, all_new: bool) {
        let share = self.0.load(Ordering::Relaxed);
        // Rounded up, or it would stay above nothing for ever.
        let rest = share - share.div_ceil(MEMORY);
        let share = if all_new { rest } else { rest + ALL / MEMORY };
        self.0.store(share, Ordering::Relaxed);
    }

    /// To take a batch for all new was refused, for whatever reason: not again soon.
    pub(super) fn refused(&self) {
        self.0.store(ALL, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many batches it takes, all new, until the next is taken for all new.
    fn until_likely(novelty: &Novelty) -> u32 {
        (0..1_000)
            .take_while(|_| {
                let waits = !novelty.is_likely(512);
                if waits {
                    novelty.was(true);
                }
                waits
            })
            .count() as u32
    }

    #[test]
    fn it_takes_a_while_to_be_trusted_and_a_duplicate_or_two_do_not_end_it() {
        let novelty = Novelty::default();
        assert!((30..40).contains(&until_likely(&novelty)));
        assert!(!novelty.is_likely(1), "too small");
        for _ in 0..100 {
            novelty.was(true);
        }
        for _ in 0..2 {
            novelty.was(false);
            assert!(novelty.is_likely(512));
        }
        novelty.was(false);
        assert!(!novelty.is_likely(512));
        assert!((1..10).contains(&until_likely(&novelty)));
        novelty.refused();
        assert!((30..40).contains(&until_likely(&novelty)));
    }

    #[test]
    fn it_pays_where_one_batch_in_twenty_has_a_duplicate_and_not_where_one_in_five_has() {
        for (every, taken_for_new) in [(20, 900..=1_000), (5, 0..=0)] {
            let novelty = Novelty::default();
            for _ in 0..100 {
                novelty.was(true);
            }
            let mut likely = 0;
            for batch in 0..1_100 {
                // The first hundred are to settle.
                likely += i32::from(batch >= 100 && novelty.is_likely(512));
                novelty.was(batch % every != 0);
            }
            assert!(taken_for_new.contains(&likely), "1 in {every}: {likely}");
        }
    }
}
