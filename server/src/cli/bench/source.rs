//! What a worker is to do next.

use rand::RngExt as _;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

use super::mix::{Kind, Mix, Operation};
use super::recent::{Earlier, Recent, Stage};
use super::schedule::{Nanos, Share};

/// Every `step`-th number from `next` on: what one of several workers takes of all numbers.
#[derive(Debug, Clone)]
pub(super) struct Numbers {
    next: u64,
    step: u64,
    end: u64,
}

impl Numbers {
    /// The part of `range` that falls to `worker`, counted from 0, `of` so many.
    pub fn new(range: std::ops::Range<u64>, worker: u64, of: u64) -> Self {
        Self {
            next: range.start + worker,
            step: of,
            end: range.end,
        }
    }

    fn take(&mut self) -> Option<u64> {
        let number = self.next;
        (number < self.end).then(|| {
            self.next += self.step;
            number
        })
    }
}

/// A worker's operations, drawn from the mix.
#[derive(Debug)]
pub(super) struct Draw {
    mix: Mix,
    random: SmallRng,
    fresh: Numbers,
    duplicates: u64,
    recent: Recent,
}

impl Draw {
    /// Fresh keys have the numbers `fresh`, and completed ones those below `duplicates`; the last
    /// `repeats` that were claimed are claimed again.
    pub fn new(mix: Mix, seed: u64, fresh: Numbers, duplicates: u64, repeats: usize) -> Self {
        Self {
            mix,
            random: SmallRng::seed_from_u64(seed),
            fresh,
            duplicates,
            recent: Recent::new(repeats),
        }
    }

    /// The next operation; `None` once all numbers were taken.
    pub fn next(&mut self, started: Nanos) -> Option<Operation> {
        let mut kind = self.mix.draw(&mut self.random);
        let mut again = None;
        if kind == Kind::Repeat {
            again = self.recent.draw(&mut self.random, started);
            if again.is_none() {
                kind = self.mix.draw_no_repeat(&mut self.random);
            }
        }
        let number = match (kind, again) {
            (_, Some((number, _))) => number,
            (Kind::Duplicate, _) => self.random.random_range(0..self.duplicates.max(1)),
            (Kind::New | Kind::Pair | Kind::Repeat, None) => self.fresh.take()?,
        };
        Some(Operation {
            kind,
            number,
            started,
            earlier: again.map(|(_, earlier)| earlier),
        })
    }

    /// The operation's key was claimed, for so long. The place to tell of its completion by.
    pub fn claimed(&mut self, operation: &Operation, lease: Nanos) -> u64 {
        let stage = match operation.kind {
            Kind::Pair => Stage::Completing,
            _ => Stage::Claimed,
        };
        // It was sent no earlier than this, so its lease holds no shorter.
        let lease_until = operation.started.saturating_add(lease);
        let earlier = Earlier { stage, lease_until };
        self.recent.claimed(operation.number, earlier)
    }

    /// The key in this place was completed.
    pub fn completed(&mut self, place: u64) {
        self.recent.completed(place);
    }
}

/// When a worker's operations are to be sent.
#[derive(Debug)]
pub(super) enum Pace {
    /// As soon as there is room: a closed loop.
    AtOnce,
    /// At their times: an open loop.
    Scheduled(Share),
}

/// What a worker is to do next.
#[derive(Debug)]
pub(super) enum Next {
    Start(Operation),
    /// Nothing yet.
    Later,
    /// Nothing any more.
    Never,
}

/// A worker's operations and their times.
#[derive(Debug)]
pub(super) struct Source {
    pub draw: Draw,
    pub pace: Pace,
}

impl Source {
    /// What is to be sent at `now`, in a load that ends at `end`.
    pub fn next(&mut self, now: Nanos, end: Nanos) -> Next {
        let started = match &mut self.pace {
            Pace::AtOnce if now >= end => return Next::Never,
            Pace::AtOnce => now,
            Pace::Scheduled(share) => {
                let at = share.next();
                if at >= end {
                    return Next::Never;
                }
                if at > now {
                    return Next::Later;
                }
                share.take();
                at
            }
        };
        self.draw.next(started).map_or(Next::Never, Next::Start)
    }

    /// Operations whose times have come and that were not started.
    pub fn backlog(&self, now: Nanos, end: Nanos) -> u64 {
        match &self.pace {
            Pace::AtOnce => 0,
            Pace::Scheduled(share) => share.backlog(now.min(end.saturating_sub(1))),
        }
    }

    /// Scheduled operations that were started.
    pub fn taken(&self) -> u64 {
        match &self.pace {
            Pace::AtOnce => u64::MAX,
            Pace::Scheduled(share) => share.taken(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::percent::Percent;
    use crate::cli::bench::schedule::Schedule;

    fn draw(mix: Mix) -> Draw {
        Draw::new(mix, 1, Numbers::new(100..106, 1, 3), 10, 4)
    }

    #[test]
    fn workers_share_the_numbers() {
        let mut all: Vec<_> = (0..3)
            .flat_map(|worker| {
                let mut numbers = Numbers::new(5..15, worker, 3);
                std::iter::from_fn(move || numbers.take())
            })
            .collect();
        all.sort_unstable();
        assert_eq!(all, (5..15).collect::<Vec<_>>());
    }

    #[test]
    fn fresh_keys_end_and_duplicates_do_not() {
        let mut fresh = draw(Mix::only(Kind::Pair));
        assert_eq!(fresh.next(0).unwrap().number, 101);
        assert_eq!(fresh.next(0).unwrap().number, 104);
        assert!(fresh.next(0).is_none());
        let mut duplicates = draw(Mix::only(Kind::Duplicate));
        for _ in 0..1_000 {
            assert!(duplicates.next(0).unwrap().number < 10);
        }
    }

    #[test]
    fn a_repeat_is_of_a_key_that_was_claimed_and_until_then_another_kind() {
        let half = Some(Percent::of_thousandths(50_000));
        let mut draw = draw(Mix::new([None, None, half, half]).unwrap());
        let first = draw.next(0).unwrap();
        assert_eq!((first.kind, first.earlier), (Kind::Pair, None));
        let place = draw.claimed(&first, 30);
        let next = |draw: &mut Draw, now| {
            let repeats = std::iter::repeat_with(|| draw.next(now).unwrap());
            let repeat = repeats.take(2).find(|it| it.kind == Kind::Repeat);
            repeat.expect("with this seed, one of two")
        };
        let repeat = next(&mut draw, 29);
        assert_eq!(repeat.number, first.number);
        let expected = Earlier {
            stage: Stage::Completing,
            lease_until: 30,
        };
        assert_eq!(repeat.earlier, Some(expected));
        draw.completed(place);
        let repeat = next(&mut draw, 29);
        assert_eq!(repeat.earlier.unwrap().stage, Stage::Completed);
    }

    #[test]
    fn a_closed_loop_starts_at_once_until_the_end() {
        let mut source = Source {
            draw: draw(Mix::only(Kind::New)),
            pace: Pace::AtOnce,
        };
        let Next::Start(operation) = source.next(7, 8) else {
            panic!("not at once");
        };
        assert_eq!(operation.started, 7);
        assert!(matches!(source.next(8, 8), Next::Never));
        assert_eq!(source.backlog(8, 8), 0);
    }

    #[test]
    fn an_open_loop_counts_from_the_intended_time_however_late_it_is() {
        // Ten a second; worker 1 of 3 has those at 100, 400 and 700 ms.
        let mut source = Source {
            draw: draw(Mix::only(Kind::Duplicate)),
            pace: Pace::Scheduled(Share::new(Schedule::new(10), 1, 3)),
        };
        let ms = 1_000_000;
        let end = 500 * ms;
        assert!(matches!(source.next(99 * ms, end), Next::Later));
        assert_eq!(
            source.backlog(2_000 * ms, end),
            2,
            "not those after the end"
        );
        let mut started = Vec::new();
        while let Next::Start(operation) = source.next(2_000 * ms, end) {
            started.push(operation.started / ms);
        }
        assert_eq!(started, [100, 400]);
        assert!(matches!(source.next(2_000 * ms, end), Next::Never));
        assert_eq!((source.backlog(2_000 * ms, end), source.taken()), (0, 2));
    }
}
