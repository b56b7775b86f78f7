//! What was measured: figures by round, costs, and every run in full.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{meter::Cost, statistics::median};

/// What a figure is of. One value a round at most.
pub type Figure = &'static str;

/// Rates are per second.
pub mod figure {
    use super::Figure;

    pub const BY_HAND_CLAIMS: Figure = "pgbench claims, best";
    pub const BY_HAND_CLAIMS_64: Figure = "pgbench claims, 64 clients";
    pub const BY_HAND_PAIRS: Figure = "pgbench pairs, best";
    pub const BY_HAND_P50_US: Figure = "pgbench claim p50, 1 client, µs";
    pub const SESSION_CLAIMS: Figure = "session claims on Postgres, best";
    /// Callers of the run that came to that.
    pub const SESSION_CALLERS: Figure = "callers of the best session claims on Postgres";
    pub const SESSION_CLAIMS_REPEATING_1_IN_1000: Figure =
        "session claims on Postgres, 0.1 % of them repeats";
    pub const SESSION_CLAIMS_REPEATING_1_IN_100: Figure =
        "session claims on Postgres, 1 % of them repeats";
    pub const SESSION_PAIRS: Figure = "session pairs on Postgres, best";
    pub const UNARY_CLAIMS: Figure = "unary claims on Postgres, 64 callers";
    pub const UNARY_P50_US: Figure = "unary claim p50 on Postgres, 1 caller, µs";
    pub const UNARY_REPLAYS: Figure = "unary replays on Postgres, 64 callers";
    pub const EMBEDDED_UNARY: Figure = "unary claims embedded, 64 callers";
    pub const EMBEDDED_SESSION: Figure = "session claims embedded, best";
    pub const NOOP_CLAIMS: Figure = "no-op claims, 64 callers";
    pub const NOOP_REPLAYS: Figure = "no-op replays, 64 callers";
    pub const REDIS: Figure = "redis SET NX EX, 64 clients";
    pub const CLAIMS_AMONG_MANY: Figure = "session claims among many keys";
    pub const CLAIMS_AMONG_NONE: Figure = "session claims among none";
    pub const HOT_SHARE: Figure = "HOT share of completions, worst size";
    pub const PURGED: Figure = "rows purged under full load";
    pub const CLAIMED_BESIDE_PURGE: Figure = "session claims beside the purge";
    pub const FULL_P99_BESIDE_PURGE_US: Figure = "claim p99 beside the purge, full load, µs";
    pub const FULL_P99_QUIET_US: Figure = "claim p99 without the purge, full load, µs";
    pub const HALF_P99_BESIDE_PURGE_US: Figure = "claim p99 beside the purge, half load, µs";
    pub const HALF_P99_QUIET_US: Figure = "claim p99 without the purge, half load, µs";
    pub const SESSION_CLAIMS_TOLD: Figure = "session claims with metrics and traces";
    pub const SESSION_CLAIMS_QUIET: Figure = "session claims without metrics and traces";
    pub const UNARY_CLAIMS_TOLD: Figure = "unary claims with metrics and traces, 64 callers";
    pub const UNARY_CLAIMS_QUIET: Figure = "unary claims without metrics and traces, 64 callers";
    pub const IDLE_MIB: Figure = "resident memory idle, worse engine, MiB";
    pub const LOADED_MIB: Figure = "resident memory with 256 callers, worse engine, MiB";

    /// Of the latency chart: share of the peak in percent, its offered rate, median and p99.
    pub const STEPS: [(u32, Figure, Figure, Figure); 5] = [
        (10, "rate at 10 %", "p50 at 10 %, µs", "p99 at 10 %, µs"),
        (25, "rate at 25 %", "p50 at 25 %, µs", "p99 at 25 %, µs"),
        (50, HALF_RATE, HALF_P50_US, HALF_P99_US),
        (75, "rate at 75 %", "p50 at 75 %, µs", "p99 at 75 %, µs"),
        (90, "rate at 90 %", "p50 at 90 %, µs", "p99 at 90 %, µs"),
    ];
    pub const HALF_RATE: Figure = "rate at 50 %";
    pub const HALF_P50_US: Figure = "p50 at 50 %, µs";
    pub const HALF_P99_US: Figure = "p99 at 50 %, µs";
}

/// Everything that was measured so far.
#[derive(Debug, Default)]
pub struct Book {
    rounds: Vec<BTreeMap<Figure, f64>>,
    costs: Vec<(&'static str, Vec<Cost>)>,
    runs: Vec<Value>,
    notes: Vec<String>,
}

impl Book {
    /// From now on figures are of the next round.
    pub fn next_round(&mut self) {
        self.rounds.push(BTreeMap::new());
    }

    /// A figure of this round.
    pub fn put(&mut self, figure: Figure, value: f64) {
        if self.rounds.is_empty() {
            self.next_round();
        }
        if let Some(round) = self.rounds.last_mut() {
            round.insert(figure, value);
        }
    }

    /// A figure of this round of which the greatest is wanted.
    pub fn put_greatest(&mut self, figure: Figure, value: f64) {
        let so_far = self.this_round(figure);
        self.put(figure, so_far.map_or(value, |so_far| so_far.max(value)));
    }

    /// A figure of this round of which the least is wanted.
    pub fn put_least(&mut self, figure: Figure, value: f64) {
        let so_far = self.this_round(figure);
        self.put(figure, so_far.map_or(value, |so_far| so_far.min(value)));
    }

    /// The figure of this round, if it has been measured.
    pub fn this_round(&self, figure: Figure) -> Option<f64> {
        self.rounds.last()?.get(figure).copied()
    }

    /// How many rounds there were.
    pub fn rounds(&self) -> usize {
        self.rounds.len()
    }

    /// The figure in each round that has it.
    pub fn values(&self, figure: Figure) -> Vec<f64> {
        let values = self.rounds.iter().filter_map(|round| round.get(figure));
        values.copied().collect()
    }

    pub fn median(&self, figure: Figure) -> Option<f64> {
        median(&self.values(figure))
    }

    /// One figure by another, round by round: what both shared of a good or a bad minute drops out.
    pub fn ratios(&self, ours: Figure, theirs: Figure) -> Vec<f64> {
        let ratios = self.rounds.iter().filter_map(|round| {
            let (ours, theirs) = (round.get(ours)?, round.get(theirs)?);
            (*theirs > 0.0).then_some(ours / theirs)
        });
        ratios.collect()
    }

    /// What one operation of this kind cost in one run.
    pub fn put_cost(&mut self, of: &'static str, cost: Cost) {
        match self.costs.iter_mut().find(|(known, _)| *known == of) {
            Some((_, costs)) => costs.push(cost),
            None => self.costs.push((of, vec![cost])),
        }
    }

    /// Each kind of operation with the median of its costs.
    pub fn costs(&self) -> impl Iterator<Item = (&'static str, Cost)> + '_ {
        self.costs
            .iter()
            .map(|(of, costs)| (*of, Cost::median(costs)))
    }

    /// One run, in full.
    pub fn put_run(&mut self, what: &str, details: impl Serialize) {
        let round = self.rounds.len();
        self.runs
            .push(json!({"round": round, "what": what, "details": details}));
    }

    /// Something that a reader of the figures has to know.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// All of it.
    pub fn to_json(&self) -> Value {
        let costs: BTreeMap<_, _> = self.costs.iter().map(|(of, costs)| (of, costs)).collect();
        json!({
            "rounds": self.rounds,
            "costs": costs,
            "notes": self.notes,
            "runs": self.runs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_a_round_and_only_where_both_were_measured() {
        let mut book = Book::default();
        for (ours, theirs) in [
            (Some(8.0), Some(2.0)),
            (None, Some(2.0)),
            (Some(9.0), Some(3.0)),
        ] {
            book.next_round();
            for (figure, value) in [("ours", ours), ("theirs", theirs)] {
                if let Some(value) = value {
                    book.put(figure, value);
                }
            }
        }
        assert_eq!(book.ratios("ours", "theirs"), [4.0, 3.0]);
        assert_eq!(book.median("theirs"), Some(2.0));
        assert_eq!(book.median("nobody's"), None);
    }

    #[test]
    fn the_best_and_the_worst_of_a_round_can_be_kept() {
        let mut book = Book::default();
        book.next_round();
        for value in [2.0, 3.0, 1.0] {
            book.put_greatest("best", value);
            book.put_least("worst", value);
        }
        assert_eq!(book.this_round("best"), Some(3.0));
        assert_eq!(book.this_round("worst"), Some(1.0));
    }
}
