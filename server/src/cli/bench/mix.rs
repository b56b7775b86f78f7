//! What operations do.

use rand::RngExt as _;
use rand::rngs::SmallRng;

use super::percent::Percent;
use super::recent::Earlier;
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
    /// Claims, as another attempt, a key that this run has claimed lately.
    Repeat,
}

impl Kind {
    /// Repeats come last: without them the others have the numbers from 0 on.
    pub const ALL: [Self; 4] = [Self::New, Self::Duplicate, Self::Pair, Self::Repeat];

    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Duplicate => "duplicate",
            Self::Pair => "pair",
            Self::Repeat => "repeat",
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
    /// What is known of the key, where this run has claimed it before: of a repeat.
    pub earlier: Option<Earlier>,
}

/// How many of a hundred operations are of each kind, in the order of [`Kind::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mix([Percent; Kind::ALL.len()]);

impl Mix {
    /// Checks that they are a hundred together. Said of none, all are new.
    pub fn new(said: [Option<Percent>; Kind::ALL.len()]) -> Result<Self, String> {
        if said.iter().all(Option::is_none) {
            return Ok(Self::only(Kind::New));
        }
        let mix = Self(said.map(Option::unwrap_or_default));
        let flags: Vec<_> = Kind::ALL
            .iter()
            .map(|kind| format!("--{} {}", kind.name(), mix.percent(*kind)))
            .collect();
        let flags = flags.join(" ");
        let sum: Percent = mix.0.into_iter().sum();
        if sum != Percent::ALL {
            return Err(format!(
                "{flags} make {sum} percent together and must make 100"
            ));
        }
        if mix.has(Kind::Repeat) && !mix.has(Kind::New) && !mix.has(Kind::Pair) {
            return Err(format!(
                "{flags} claim no key that --repeat could claim again; add --new or --pair"
            ));
        }
        Ok(mix)
    }

    /// All operations of one kind.
    pub fn only(kind: Kind) -> Self {
        Self(Kind::ALL.map(|of| {
            if of == kind {
                Percent::ALL
            } else {
                Percent::default()
            }
        }))
    }

    pub fn percent(self, kind: Kind) -> Percent {
        self.0[kind as usize]
    }

    pub fn has(self, kind: Kind) -> bool {
        self.percent(kind) > Percent::default()
    }

    /// The kinds that occur.
    pub fn kinds(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }

    pub fn draw(self, random: &mut SmallRng) -> Kind {
        if self.percent(Kind::New) == Percent::ALL {
            return Kind::New;
        }
        self.draw_of(Percent::ALL, random)
    }

    /// A kind other than a repeat, in the proportions of those.
    pub fn draw_no_repeat(self, random: &mut SmallRng) -> Kind {
        let repeats = self.percent(Kind::Repeat).thousandths();
        self.draw_of(
            Percent::of_thousandths(Percent::ALL.thousandths() - repeats),
            random,
        )
    }

    fn draw_of(self, whole: Percent, random: &mut SmallRng) -> Kind {
        let mut drawn = random.random_range(0..whole.thousandths().max(1));
        for kind in Kind::ALL {
            let share = self.percent(kind).thousandths();
            if drawn < share {
                return kind;
            }
            drawn -= share;
        }
        unreachable!("the kinds are a hundred percent together")
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn mix(said: [&str; 4]) -> Result<Mix, String> {
        Mix::new(said.map(|text| (!text.is_empty()).then(|| text.parse().unwrap())))
    }

    fn drawn(mix: Mix, seed: u64, count: usize) -> Vec<Kind> {
        let mut random = SmallRng::seed_from_u64(seed);
        (0..count).map(|_| mix.draw(&mut random)).collect()
    }

    #[test]
    fn a_mix_is_a_hundred_percent() {
        assert_eq!(mix(["", "", "", ""]), Ok(Mix::only(Kind::New)));
        assert_eq!(
            mix(["", "", "100", ""]),
            Ok(Mix::only(Kind::Pair)),
            "what is not said is none"
        );
        let refused = mix(["50", "20", "", ""]).unwrap_err();
        assert!(refused.contains("--duplicate 20") && refused.contains("70 percent"));
        assert!(mix(["100", "100", "0", ""]).is_err());
        assert!(mix(["99.9", "", "", "0.1"]).is_ok());
        let refused = mix(["99.9", "", "", "0.05"]).unwrap_err();
        assert!(refused.contains("--repeat 0.05 make 99.95 percent"));
    }

    #[test]
    fn what_is_to_be_repeated_must_be_claimed() {
        for nothing_claimed in [["", "", "", "100"], ["", "50", "", "50"]] {
            let refused = mix(nothing_claimed).unwrap_err();
            assert!(refused.contains("add --new or --pair"), "{refused}");
        }
        assert!(mix(["", "49", "1", "50"]).is_ok());
    }

    #[test]
    fn kinds_come_in_their_proportions() {
        let mixed = mix(["60", "24.5", "5", "10.5"]).unwrap();
        let kinds = drawn(mixed, 1, 100_000);
        for kind in Kind::ALL {
            let count = kinds.iter().filter(|it| **it == kind).count();
            let expected = mixed.percent(kind).thousandths() as usize;
            assert!(count.abs_diff(expected) < 1_000, "{count} of {kind:?}");
        }
        let both = mix(["", "50", "50", ""]).unwrap();
        assert_eq!(
            both.kinds().collect::<Vec<_>>(),
            [Kind::Duplicate, Kind::Pair]
        );
        assert!(!drawn(both, 1, 1_000).contains(&Kind::New));
    }

    #[test]
    fn what_cannot_be_repeated_is_drawn_from_the_others_in_their_proportions() {
        let mixed = mix(["30", "10", "", "60"]).unwrap();
        let mut random = SmallRng::seed_from_u64(1);
        let kinds: Vec<_> = (0..10_000)
            .map(|_| mixed.draw_no_repeat(&mut random))
            .collect();
        assert!(!kinds.contains(&Kind::Repeat));
        let new = kinds.iter().filter(|it| **it == Kind::New).count();
        assert!(new.abs_diff(7_500) < 300, "{new}");
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let mix = mix(["50", "25", "25", ""]).unwrap();
        assert_eq!(drawn(mix, 7, 100), drawn(mix, 7, 100));
        assert_ne!(drawn(mix, 7, 100), drawn(mix, 8, 100));
    }
}
