//! Which keys a lane has lately seen something stand under.
//!
//! A hint, and never an answer: it says which of two ways to try first. A first Claim is a blind
//! insert; of a key that stands, the insert would miss and cost a statement for nothing, so such a
//! Claim is loaded and decided at once. Where the hint is wrong, the load finds nothing and the
//! insert comes next.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::key::KeyId;

/// Pairs of places: a power of two. 1 MiB a lane.
const PAIRS: usize = 64 * 1024;

/// See the module's documentation. Forgets a key when two others have come to its pair of places.
#[derive(Debug)]
pub(super) struct Standing(Box<[[AtomicU64; 2]]>);

impl Standing {
    pub fn new() -> Self {
        Self((0..PAIRS).map(|_| Default::default()).collect())
    }

    /// Something stands under the key.
    pub fn note(&self, id: &KeyId) {
        let ([newer, older], mark) = self.places(id);
        let last = newer.load(Ordering::Relaxed);
        if last != mark {
            older.store(last, Ordering::Relaxed);
            newer.store(mark, Ordering::Relaxed);
        }
    }

    /// Nothing stands under the key.
    pub fn forget(&self, id: &KeyId) {
        let (places, mark) = self.places(id);
        for place in places {
            if place.load(Ordering::Relaxed) == mark {
                place.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Whether something stood under the key when it was last looked at.
    pub fn has(&self, id: &KeyId) -> bool {
        let (places, mark) = self.places(id);
        places.iter().any(|it| it.load(Ordering::Relaxed) == mark)
    }

    fn places(&self, id: &KeyId) -> (&[AtomicU64; 2], u64) {
        let mark = id.table_hash();
        (&self.0[mark as usize % self.0.len()], mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_pair_of_places_the_older_is_forgotten() {
        let standing = Standing(Box::new([Default::default()]));
        let [one, two, three] = ["1", "2", "3"].map(|key| KeyId::parse("n", key).unwrap());
        for key in [&one, &two, &two] {
            standing.note(key);
        }
        assert!(standing.has(&one) && standing.has(&two));
        standing.note(&three);
        assert!(!standing.has(&one) && standing.has(&two) && standing.has(&three));
        standing.forget(&two);
        assert!(!standing.has(&two) && standing.has(&three));
    }

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
