//! The keys that a worker has claimed lately, for it to claim them again as somebody else would.
//!
//! Only what was answered is remembered, and only while its lease lasts: then it is known what a
//! second Claim of the key may be answered.

use std::collections::VecDeque;

use rand::RngExt as _;
use rand::rngs::SmallRng;

use super::schedule::Nanos;

/// How far the operation that claimed a key had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It claimed the key and leaves it so.
    Claimed,
    /// Its Complete is under way, or was lost.
    Completing,
    /// Its Complete was answered.
    Completed,
}

/// What is known of a key when it is claimed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Earlier {
    pub stage: Stage,
    /// The first claim's lease holds until then at least.
    pub lease_until: Nanos,
}

/// See the module's documentation. Remembers no more than so many.
#[derive(Debug)]
pub(super) struct Recent {
    /// In the order in which they were claimed.
    keys: VecDeque<(u64, Earlier)>,
    /// How many were forgotten: the place of the first that is remembered.
    forgotten: u64,
    most: usize,
}

impl Recent {
    pub fn new(most: usize) -> Self {
        Self {
            keys: VecDeque::new(),
            forgotten: 0,
            most,
        }
    }

    /// The key of `number` was claimed. The place it has, for as long as it is remembered.
    pub fn claimed(&mut self, number: u64, earlier: Earlier) -> u64 {
        if self.most > 0 {
            if self.keys.len() == self.most {
                self.forget_first();
            }
            self.keys.push_back((number, earlier));
        }
        (self.forgotten + self.keys.len() as u64).saturating_sub(1)
    }

    /// The key in this place was completed, and the answer has come.
    pub fn completed(&mut self, place: u64) {
        let index = place.checked_sub(self.forgotten);
        let index = index.and_then(|index| usize::try_from(index).ok());
        if let Some((_, earlier)) = index.and_then(|index| self.keys.get_mut(index)) {
            earlier.stage = Stage::Completed;
        }
    }

    /// The number of one of them, and what is known of it; `None` where there is none.
    pub fn draw(&mut self, random: &mut SmallRng, now: Nanos) -> Option<(u64, Earlier)> {
        while self.keys.front()?.1.lease_until <= now {
            self.forget_first();
        }
        let drawn = random.random_range(0..self.keys.len());
        self.keys.get(drawn).copied()
    }

    fn forget_first(&mut self) {
        if self.keys.pop_front().is_some() {
            self.forgotten += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng as _;

    use super::*;

    fn claimed(recent: &mut Recent, number: u64) -> u64 {
        let earlier = Earlier {
            stage: Stage::Completing,
            lease_until: 100 + number,
        };
        recent.claimed(number, earlier)
    }

    /// All that may be drawn.
    fn drawn(recent: &mut Recent, now: Nanos) -> HashSet<u64> {
        let mut random = SmallRng::seed_from_u64(1);
        (0..1_000)
            .filter_map(|_| recent.draw(&mut random, now))
            .map(|(number, _)| number)
            .collect()
    }

    #[test]
    fn the_last_ones_are_drawn_and_none_that_was_forgotten() {
        let mut recent = Recent::new(3);
        assert!(drawn(&mut recent, 0).is_empty());
        for number in 0..10 {
            claimed(&mut recent, number);
        }
        assert_eq!(drawn(&mut recent, 0), HashSet::from([7, 8, 9]));
    }

    #[test]
    fn no_key_is_drawn_whose_lease_is_over() {
        let mut recent = Recent::new(3);
        for number in 0..3 {
            claimed(&mut recent, number);
        }
        assert_eq!(drawn(&mut recent, 101), HashSet::from([2]));
        assert!(drawn(&mut recent, 102).is_empty());
    }

    #[test]
    fn a_completion_is_of_the_key_in_its_place_or_of_none() {
        let mut recent = Recent::new(2);
        let places = [5, 6, 7].map(|number| claimed(&mut recent, number));
        recent.completed(places[0]);
        recent.completed(places[2]);
        let stages: Vec<_> = recent
            .keys
            .iter()
            .map(|(number, earlier)| (*number, earlier.stage))
            .collect();
        assert_eq!(stages, [(6, Stage::Completing), (7, Stage::Completed)]);
    }

    #[test]
    fn who_repeats_nothing_remembers_nothing() {
        let mut recent = Recent::new(0);
        let place = claimed(&mut recent, 1);
        recent.completed(place);
        assert!(drawn(&mut recent, 0).is_empty());
    }
}
