//! What operations do.

use rand::RngExt as _;
use rand::rngs::SmallRng;

use super::schedule::Nanos;

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Claims a fresh key.
    New,
    /// Claims a key that was completed before the run.
    Duplicate,
    /// Claims a fresh key and completes it.
    Pair,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::New, Self::Duplicate, Self::Pair];

    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Duplicate => "duplicate",
            Self::Pair => "pair",
        }
    }
}

/// One operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation {
    pub kind: Kind,
    /// The number of its key.
    pub number: u64,
    /// From when its latency is counted.
    pub started: Nanos,
}

/// How many of a hundred operations are of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mix {
    pub new: u32,
    pub duplicate: u32,
    pub pair: u32,
}

impl Mix {
    /// Checks that they are a hundred together. Said of none, all are new.
    pub fn new(
        new: Option<u32>,
        duplicate: Option<u32>,
        pair: Option<u32>,
    ) -> Result<Self, String> {
        let mix = match (new, duplicate, pair) {
            (None, None, None) => Self::only(Kind::New),
            _ => Self {
                new: new.unwrap_or(0),
                duplicate: duplicate.unwrap_or(0),
                pair: pair.unwrap_or(0),
            },
        };
        let sum = mix.new + mix.duplicate + mix.pair;
        if sum != 100 {
            return Err(format!(
                "--new {} --duplicate {} --pair {} make {sum} percent together and must make 100",
                mix.new, mix.duplicate, mix.pair
            ));
        }
        Ok(mix)
    }

    /// All operations of one kind.
    pub fn only(kind: Kind) -> Self {
        let all = |of| if of == kind { 100 } else { 0 };
        Self {
            new: all(Kind::New),
            duplicate: all(Kind::Duplicate),
            pair: all(Kind::Pair),
        }
    }

    pub fn percent(self, kind: Kind) -> u32 {
        match kind {
            Kind::New => self.new,
            Kind::Duplicate => self.duplicate,
            Kind::Pair => self.pair,
        }
    }

    /// The kinds that occur.
    pub fn kinds(self) -> impl Iterator<Item = Kind> {
        Kind::ALL
            .into_iter()
            .filter(move |kind| self.percent(*kind) > 0)
    }

    pub fn draw(self, random: &mut SmallRng) -> Kind {
        if self.new == 100 {
            return Kind::New;
        }
        let drawn = random.random_range(0..100);
        if drawn < self.new {
            Kind::New
        } else if drawn < self.new + self.duplicate {
            Kind::Duplicate
        } else {
            Kind::Pair
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn drawn(mix: Mix, seed: u64, count: usize) -> Vec<Kind> {
        let mut random = SmallRng::seed_from_u64(seed);
        (0..count).map(|_| mix.draw(&mut random)).collect()
    }

    #[test]
    fn a_mix_is_a_hundred_percent() {
        assert_eq!(Mix::new(None, None, None), Ok(Mix::only(Kind::New)));
        assert_eq!(
            Mix::new(None, None, Some(100)),
            Ok(Mix::only(Kind::Pair)),
            "what is not said is none"
        );
        let refused = Mix::new(Some(50), Some(20), None).unwrap_err();
        assert!(refused.contains("--duplicate 20") && refused.contains("70 percent"));
        assert!(Mix::new(Some(100), Some(100), Some(0)).is_err());
    }

    #[test]
    fn kinds_come_in_their_proportions() {
        let mix = Mix::new(Some(70), Some(25), Some(5)).unwrap();
        let kinds = drawn(mix, 1, 100_000);
        for kind in Kind::ALL {
            let count = kinds.iter().filter(|it| **it == kind).count();
            let expected = mix.percent(kind) as usize * 1_000;
            assert!(count.abs_diff(expected) < 1_000, "{count} of {kind:?}");
        }
        let both = Mix::new(None, Some(50), Some(50)).unwrap();
        assert_eq!(
            both.kinds().collect::<Vec<_>>(),
            [Kind::Duplicate, Kind::Pair]
        );
        assert!(!drawn(both, 1, 1_000).contains(&Kind::New));
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let mix = Mix::new(Some(50), Some(25), Some(25)).unwrap();
        assert_eq!(drawn(mix, 7, 100), drawn(mix, 7, 100));
        assert_ne!(drawn(mix, 7, 100), drawn(mix, 8, 100));
    }
}
