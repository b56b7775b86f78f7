//! The goals P1 to P12 of the project, and how a figure is judged by its goal.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::{
    book::{Book, Figure, figure as f},
    statistics::{median, spread},
};

/// Which side of the bound is good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(f, "≥ {bound}"),
            Self::AtMost(bound) => write!(f, "≤ {bound}"),
        }
    }
}

/// One judged figure. A measure with two bounds has two, told apart by what follows its name.
#[derive(Debug)]
pub struct Measure {
    pub id: &'static str,
    pub what: &'static str,
    pub ours: Figure,
    /// What `ours` is divided by; without it `ours` is judged itself.
    pub theirs: Option<Figure>,
    pub goal: Goal,
}

const fn ratio(
    id: &'static str,
    what: &'static str,
    ours: Figure,
    theirs: Figure,
    goal: Goal,
) -> Measure {
    Measure {
        id,
        what,
        ours,
        theirs: Some(theirs),
        goal,
    }
}

const fn figure(id: &'static str, what: &'static str, ours: Figure, goal: Goal) -> Measure {
    Measure {
        id,
        what,
        ours,
        theirs: None,
        goal,
    }
}

/// All of them, in the order of the project's list.
pub const MEASURES: [Measure; 14] = [
    ratio(
        "P1",
        "Session claims/s on Postgres ÷ best pgbench claims/s",
        f::SESSION_CLAIMS,
        f::BY_HAND_CLAIMS,
        Goal::AtLeast(6.0),
    ),
    ratio(
        "P2",
        "unary claims/s at 64 callers on Postgres ÷ pgbench at 64 clients",
        f::UNARY_CLAIMS,
        f::BY_HAND_CLAIMS_64,
        Goal::AtLeast(2.0),
    ),
    ratio(
        "P3",
        "Session claim+complete pairs/s on Postgres ÷ best pgbench pairs/s",
        f::SESSION_PAIRS,
        f::BY_HAND_PAIRS,
        Goal::AtLeast(5.0),
    ),
    ratio(
        "P4",
        "unary claims/s embedded ÷ no-op unary, 64 callers",
        f::EMBEDDED_UNARY,
        f::NOOP_CLAIMS,
        Goal::AtLeast(0.5),
    ),
    ratio(
        "P5",
        "Session claims/s embedded ÷ Redis SET NX, appendfsync always",
        f::EMBEDDED_SESSION,
        f::REDIS,
        Goal::AtLeast(1.5),
    ),
    ratio(
        "P6",
        "unary replays/s on Postgres ÷ no-op unary, 64 callers",
        f::UNARY_REPLAYS,
        f::NOOP_REPLAYS,
        Goal::AtLeast(0.6),
    ),
    ratio(
        "P7",
        "p50 of a unary claim, one caller, on Postgres ÷ pgbench one client (µs)",
        f::UNARY_P50_US,
        f::BY_HAND_P50_US,
        Goal::AtMost(2.0),
    ),
    ratio(
        "P8",
        "p99 ÷ p50 of Session claims at half of the peak, open loop (µs)",
        f::HALF_P99_US,
        f::HALF_P50_US,
        Goal::AtMost(5.0),
    ),
    ratio(
        "P9",
        "Session claims/s among many live keys ÷ among none",
        f::CLAIMS_AMONG_MANY,
        f::CLAIMS_AMONG_NONE,
        Goal::AtLeast(0.8),
    ),
    figure(
        "P10",
        "share of completions, of 256 bytes, that are HOT updates",
        f::HOT_SHARE,
        Goal::AtLeast(0.95),
    ),
    ratio(
        "P11",
        "rows purged/s ÷ claims/s, both at full load",
        f::PURGED,
        f::CLAIMED_BESIDE_PURGE,
        Goal::AtLeast(1.0),
    ),
    ratio(
        "P11-p99",
        "p99 of claims at half load beside the purge ÷ without (µs)",
        f::P99_BESIDE_PURGE_US,
        f::P99_QUIET_US,
        Goal::AtMost(2.0),
    ),
    figure(
        "P12",
        "resident memory of an idle server, MiB",
        f::IDLE_MIB,
        Goal::AtMost(30.0),
    ),
    figure(
        "P12-load",
        "peak resident memory under 256 callers, MiB",
        f::LOADED_MIB,
        Goal::AtMost(150.0),
    ),
];

impl Measure {
    /// The measure it is part of, such as P12.
    pub fn family(&self) -> &'static str {
        self.id.split('-').next().unwrap_or(self.id)
    }
}

/// P1 to P12.
pub fn measures() -> impl Iterator<Item = &'static str> {
    MEASURES
        .iter()
        .filter(|measure| measure.id == measure.family())
        .map(|measure| measure.id)
}

/// What kept a measure from being judged.
#[derive(Debug, Clone, PartialEq)]
pub enum Hindrance {
    /// What it needs is not installed. Neither met nor missed.
    Skipped(String),
    /// A run failed. That is a miss.
    Failed(String),
}

/// Hindrances by measure.
pub type Hindrances = BTreeMap<&'static str, Hindrance>;

/// How a measure came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Met,
    Missed,
    Skipped,
    Failed,
}

/// A judged measure, with what it was judged by.
#[derive(Debug)]
pub struct Judged {
    pub measure: &'static Measure,
    pub ours: Option<f64>,
    pub theirs: Option<f64>,
    pub value: Option<f64>,
    pub spread: Option<(f64, f64)>,
    pub verdict: Verdict,
    pub hindrance: Option<String>,
}

/// What `latest.json` is a list of.
#[derive(Debug, Serialize)]
pub struct Line {
    pub id: &'static str,
    pub what: &'static str,
    pub value: Option<f64>,
    pub goal: String,
    pub met: Option<bool>,
}

impl Judged {
    /// Judges the median over the rounds.
    pub fn new(measure: &'static Measure, book: &Book, hindrances: &Hindrances) -> Self {
        let values = match measure.theirs {
            Some(theirs) => book.ratios(measure.ours, theirs),
            None => book.values(measure.ours),
        };
        let value = median(&values);
        let (verdict, hindrance) = match (hindrances.get(measure.family()), value) {
            (Some(Hindrance::Skipped(why)), _) => (Verdict::Skipped, Some(why.clone())),
            // Also where other rounds have figures: a run with an error is no run.
            (Some(Hindrance::Failed(why)), _) => (Verdict::Failed, Some(why.clone())),
            (None, Some(value)) if measure.goal.is_met(value) => (Verdict::Met, None),
            (None, Some(_)) => (Verdict::Missed, None),
            (None, None) => (Verdict::Skipped, Some("this system does not tell".into())),
        };
        Self {
            measure,
            ours: book.median(measure.ours),
            theirs: measure.theirs.and_then(|theirs| book.median(theirs)),
            value,
            spread: spread(&values),
            verdict,
            hindrance,
        }
    }

    pub fn line(&self) -> Line {
        Line {
            id: self.measure.id,
            what: self.measure.what,
            value: self.value,
            goal: self.measure.goal.to_string(),
            met: match self.verdict {
                Verdict::Met => Some(true),
                Verdict::Missed | Verdict::Failed => Some(false),
                Verdict::Skipped => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(id: &str) -> &'static Measure {
        MEASURES.iter().find(|measure| measure.id == id).unwrap()
    }

    fn book(figures: &[(Figure, f64)]) -> Book {
        let mut book = Book::default();
        book.next_round();
        for (figure, value) in figures {
            book.put(figure, *value);
        }
        book
    }

    #[test]
    fn there_are_twelve_and_every_one_has_a_name_of_its_own() {
        let ids: Vec<_> = measures().map(str::to_owned).collect();
        let expected: Vec<_> = (1..=12).map(|n| format!("P{n}")).collect();
        assert_eq!(ids, expected);
        let mut all: Vec<_> = MEASURES.iter().map(|measure| measure.id).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), MEASURES.len());
    }

    #[test]
    fn a_bound_itself_is_good_on_either_side() {
        let none = Hindrances::new();
        for (id, ours, theirs, verdict) in [
            ("P1", 6.0, 1.0, Verdict::Met),
            ("P1", 5.99, 1.0, Verdict::Missed),
            ("P7", 2.0, 1.0, Verdict::Met),
            ("P7", 2.01, 1.0, Verdict::Missed),
        ] {
            let measure = measure(id);
            let book = book(&[(measure.ours, ours), (measure.theirs.unwrap(), theirs)]);
            assert_eq!(
                Judged::new(measure, &book, &none).verdict,
                verdict,
                "{id} {ours}"
            );
        }
    }

    #[test]
    fn what_is_missing_is_neither_met_nor_missed_and_what_failed_is_missed() {
        let p5 = measure("P5");
        let skipped = Hindrances::from([("P5", Hindrance::Skipped("no Redis".into()))]);
        let line = Judged::new(p5, &Book::default(), &skipped).line();
        assert_eq!((line.met, line.value), (None, None));

        let failed = Hindrances::from([("P12", Hindrance::Failed("no run".into()))]);
        let good = book(&[(f::IDLE_MIB, 1.0), (f::LOADED_MIB, 1.0)]);
        for id in ["P12", "P12-load"] {
            let line = Judged::new(measure(id), &good, &failed).line();
            assert_eq!(line.met, Some(false), "{id}");
        }
    }

    #[test]
    fn a_line_has_five_fields() {
        let book = book(&[(f::HOT_SHARE, 0.97)]);
        let judged = Judged::new(measure("P10"), &book, &Hindrances::new());
        let expected = serde_json::json!({
            "id": "P10",
            "what": "share of completions, of 256 bytes, that are HOT updates",
            "value": 0.97,
            "goal": "≥ 0.95",
            "met": true,
        });
        assert_eq!(serde_json::to_value(judged.line()).unwrap(), expected);
    }
}
