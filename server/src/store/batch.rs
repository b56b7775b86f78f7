//! A batch in the order of the primary key.

use super::StoreError;
use crate::key::{KeyDigest, KeyId};

/// Where each item of a batch stands once it is sorted by primary key.
///
/// Both the order and that no key stands twice are what keeps two servers' batches from waiting
/// for each other in a circle.
#[derive(Debug)]
pub(super) struct Sorted<'a> {
    /// Key and place in the caller's order, in the order of the primary key.
    items: Vec<(&'a KeyId, usize)>,
}

/// A caller's mistake: ours. Or two keys of one digest, which then come one by one.
#[derive(Debug, thiserror::Error)]
#[error("{0} stands twice in one batch")]
struct KeyTwice(String);

/// A database's mistake, or somebody's trigger.
#[derive(Debug, thiserror::Error)]
#[error("the database answered for something that the batch did not ask")]
struct Stranger;

impl<'a> Sorted<'a> {
    pub(super) fn new(ids: impl Iterator<Item = &'a KeyId>) -> Result<Self, StoreError> {
        let mut items: Vec<_> = ids.enumerate().map(|(place, id)| (id, place)).collect();
        items.sort_unstable_by_key(|(id, _)| id.order());
        let is_twice = |pair: &&[(&KeyId, usize)]| pair[0].0.order() == pair[1].0.order();
        match items.windows(2).find(is_twice) {
            Some(pair) => Err(StoreError::rejected(KeyTwice(format!("{:?}", pair[0].0)))),
            None => Ok(Self { items }),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// The keys, sorted.
    pub(super) fn keys(&self) -> impl ExactSizeIterator<Item = &'a KeyId> + Clone {
        self.items.iter().map(|(id, _)| *id)
    }

    /// Places in the caller's order, sorted by key.
    pub(super) fn places(&self) -> impl ExactSizeIterator<Item = usize> + Clone {
        self.items.iter().map(|(_, place)| *place)
    }

    /// The sorted item with number `n`, counted from 1 as SQL counts.
    pub(super) fn numbered(&self, n: i32) -> Result<(&'a KeyId, usize), StoreError> {
        usize::try_from(n)
            .ok()
            .and_then(|n| self.items.get(n.checked_sub(1)?))
            .copied()
            .ok_or_else(|| StoreError::unavailable(Stranger))
    }

    /// The places of some of the batch's keys, given back by a statement in the batch's order: each
    /// by bucket and digest, for two keys of one digest may stand in two buckets.
    pub(super) fn places_of<'d>(
        &self,
        keys: impl Iterator<Item = (i16, &'d KeyDigest)>,
    ) -> Result<Vec<usize>, StoreError> {
        let mut items = self.items.iter();
        keys.map(|key| {
            items
                .find(|(id, _)| id.order() == key)
                .map(|(_, place)| *place)
                .ok_or_else(|| StoreError::unavailable(Stranger))
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(keys: &[&str]) -> Vec<KeyId> {
        keys.iter()
            .map(|key| KeyId::parse("n", key).unwrap())
            .collect()
    }

    #[test]
    fn a_batch_is_sorted_and_finds_its_places_again() {
        let ids = ids(&["c", "a", "ü", "b", "Z"]);
        let sorted = Sorted::new(ids.iter()).unwrap();
        assert!(sorted.keys().map(KeyId::order).is_sorted());
        for (n, id) in sorted.keys().enumerate() {
            assert_eq!(sorted.numbered(n as i32 + 1).unwrap().0, id);
        }
        assert!(sorted.numbered(0).is_err());
        assert!(sorted.numbered(6).is_err());

        let some: Vec<_> = sorted.keys().map(KeyId::order).step_by(2).collect();
        let expected: Vec<_> = sorted.places().step_by(2).collect();
        assert_eq!(sorted.places_of(some.iter().copied()).unwrap(), expected);
        // Out of order, or not of the batch: nobody can say what was done.
        assert!(sorted.places_of(some.into_iter().rev()).is_err());
        assert!(sorted.places_of([(0, &[0; 16])].into_iter()).is_err());
    }

    #[test]
    fn a_key_stands_once_in_a_batch() {
        let ids = ids(&["a", "b", "a"]);
        assert!(matches!(
            Sorted::new(ids.iter()),
            Err(StoreError::Rejected(_))
        ));
    }
}
