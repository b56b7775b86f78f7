//! Which keys a lane has lately seen something stand under.
//!
//! A hint, and never an answer: it says which of two ways to try first. A first Claim is a blind
//! insert; of a key that stands, the insert would miss and cost a statement for nothing, so such a
//! Claim is loaded and decided at once. Where the hint is wrong, the load finds nothing and the
//! insert comes next.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::key::KeyId;

/// Places: a power of two. 1 MiB a lane.
const PLACES: usize = 128 * 1024;

/// See the module's documentation. Forgets a key when another takes its place.
#[derive(Debug)]
pub(super) struct Standing(Box<[AtomicU64]>);

impl Standing {
    pub fn new() -> Self {
        Self((0..PLACES).map(|_| AtomicU64::new(0)).collect())
    }

    /// Something stands under the key.
    pub fn note(&self, id: &KeyId) {
        let (place, mark) = self.place(id);
        place.store(mark, Ordering::Relaxed);
    }

    /// Nothing stands under the key.
    pub fn forget(&self, id: &KeyId) {
        if self.has(id) {
            self.place(id).0.store(0, Ordering::Relaxed);
        }
    }

    /// Whether something stood under the key when it was last looked at.
    pub fn has(&self, id: &KeyId) -> bool {
        let (place, mark) = self.place(id);
        place.load(Ordering::Relaxed) == mark
    }

    fn place(&self, id: &KeyId) -> (&AtomicU64, u64) {
        let mark = id.table_hash();
        (&self.0[mark as usize % PLACES], mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_known_until_it_is_forgotten() {
        let standing = Standing::new();
        let [one, other] = ["1", "2"].map(|key| KeyId::parse("n", key).unwrap());
        assert!(!standing.has(&one));
        standing.note(&one);
        assert!(standing.has(&one) && !standing.has(&other));
        standing.forget(&other);
        assert!(standing.has(&one));
        standing.forget(&one);
        assert!(!standing.has(&one));
    }
}
