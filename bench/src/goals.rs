//! The goals P1 to P13 of the project, and how a figure is judged by its goal.

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
    /// Without one it is shown beside its family and judged by nothing.
    pub goal: Option<Goal>,
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
        goal: Some(goal),
    }
}

const fn companion(id: &'static str, what: &'static str, ours: Figure, theirs: Figure) -> Measure {
    Measure {
        id,
        what,
        ours,
        theirs: Some(theirs),
        goal: None,
    }
}

const fn figure(id: &'static str, what: &'static str, ours: Figure, goal: Goal) -> Measure {
    Measure {
        id,
        what,
        ours,
        theirs: None,
        goal: Some(goal),
    }
}

/// All of them, in the order of the project's list.
pub const MEASURES: [Measure; 19] = [
    ratio(
        "P1",
        "Session claims/s on Postgres ÷ best pgbench claims/s",
        f::SESSION_CLAIMS,
        f::BY_HAND_CLAIMS,
        Goal::AtLeast(6.0),
    ),
    companion(
        "P1-repeat-0.1%",
        "the same, one claim in 1,000 of a key claimed lately ÷ best pgbench claims/s",
        f::SESSION_CLAIMS_REPEATING_1_IN_1000,
        f::BY_HAND_CLAIMS,
    ),
    companion(
        "P1-repeat-1%",
        "the same, one claim in 100 of a key claimed lately ÷ best pgbench claims/s",
        f::SESSION_CLAIMS_REPEATING_1_IN_100,
        f::BY_HAND_CLAIMS,
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
        "p99 of claims at full load beside the purge ÷ without (µs)",
        f::FULL_P99_BESIDE_PURGE_US,
        f::FULL_P99_QUIET_US,
        Goal::AtMost(2.0),
    ),
    companion(
        "P11-half",
        "the same at half load, while a day's expired keys wait for the purge",
        f::HALF_P99_BESIDE_PURGE_US,
        f::HALF_P99_QUIET_US,
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
    ratio(
        "P13",
        "Session claims/s with metrics and 1 % of traces ÷ without either",
        f::SESSION_CLAIMS_TOLD,
        f::SESSION_CLAIMS_QUIET,
        Goal::AtLeast(0.95),
    ),
    ratio(
        "P13-unary",
        "the same of unary claims at 64 callers",
        f::UNARY_CLAIMS_TOLD,
        f::UNARY_CLAIMS_QUIET,
        Goal::AtLeast(0.95),
    ),
];

impl Measure {
    /// The measure it is part of, such as P12.
    pub fn family(&self) -> &'static str {
        self.id.split('-').next().unwrap_or(self.id)
    }

    /// Round by round.
    fn values(&self, book: &Book) -> Vec<f64> {
        match self.theirs {
            Some(theirs) => book.ratios(self.ours, theirs),
            None => book.values(self.ours),
        }
    }

    /// What keeps the rounds that have no value from having one.
    fn lacks(&self, book: &Book) -> String {
        let of = book.rounds();
        let lacks = [Some(self.ours), self.theirs]
            .into_iter()
            .flatten()
            .filter_map(|figure| {
                let has = book.values(figure).len();
                (has < of).then(|| format!("{has} of {of} rounds have \"{figure}\""))
            });
        let lacks: Vec<_> = lacks.collect();
        match lacks.is_empty() {
            true => "the peer's figure is 0".into(),
            false => lacks.join(", "),
        }
    }
}

/// P1 to P13.
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
    /// A run failed, or left out a figure. That is a miss.
    Failed(String),
}

/// Hindrances by measure.
pub type Hindrances = BTreeMap<&'static str, Hindrance>;

/// How a measure came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Met,
    Missed,
    /// There is no goal to judge it by.
    Shown,
    Skipped,
    Failed,
}

impl Verdict {
    /// Whether a bench may succeed with it.
    pub fn is_fine(self) -> bool {
        match self {
            Self::Met | Self::Shown | Self::Skipped => true,
            Self::Missed | Self::Failed => false,
        }
    }
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
    /// Null where the measure is shown and not judged.
    pub goal: Option<String>,
    pub met: Option<bool>,
}

impl Judged {
    /// Judges the median over the rounds.
    pub fn new(measure: &'static Measure, book: &Book, hindrances: &Hindrances) -> Self {
        let values = measure.values(book);
        let value = median(&values).filter(|_| values.len() == book.rounds());
        let (verdict, hindrance) = match (hindrances.get(measure.family()), value) {
            (Some(Hindrance::Skipped(why)), _) => (Verdict::Skipped, Some(why.clone())),
            // Also where other rounds have figures: a run with an error is no run.
            (Some(Hindrance::Failed(why)), _) => (Verdict::Failed, Some(why.clone())),
            // Nor is one that told only half of what it was for.
            (None, None) => (Verdict::Failed, Some(measure.lacks(book))),
            (None, Some(value)) => match measure.goal {
                None => (Verdict::Shown, None),
                Some(goal) if goal.is_met(value) => (Verdict::Met, None),
                Some(_) => (Verdict::Missed, None),
            },
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
            goal: self.measure.goal.map(|goal| goal.to_string()),
            met: match self.verdict {
                Verdict::Met => Some(true),
                Verdict::Missed | Verdict::Failed => Some(false),
                Verdict::Shown | Verdict::Skipped => None,
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
    fn there_are_thirteen_and_every_one_has_a_name_of_its_own() {
        let ids: Vec<_> = measures().map(str::to_owned).collect();
        let expected: Vec<_> = (1..=13).map(|n| format!("P{n}")).collect();
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
    fn a_figure_that_nobody_recorded_is_no_success() {
        let none = Hindrances::new();
        let (p1, p7) = (measure("P1"), measure("P7"));
        for (measure, figures, lacks) in [
            (
                p7,
                vec![(p7.ours, 505.0)],
                "0 of 1 rounds have \"pgbench claim p50",
            ),
            (
                p7,
                vec![(f::BY_HAND_P50_US, 222.0)],
                "0 of 1 rounds have \"unary claim p50",
            ),
            (p7, vec![], "unary claim p50"),
            (
                p1,
                vec![(p1.ours, 1.0), (f::BY_HAND_CLAIMS, 0.0)],
                "figure is 0",
            ),
            (measure("P10"), vec![], "HOT share"),
            (
                measure("P1-repeat-1%"),
                vec![(f::BY_HAND_CLAIMS, 1.0)],
                "repeats",
            ),
        ] {
            let judged = Judged::new(measure, &book(&figures), &none);
            assert_eq!(judged.verdict, Verdict::Failed, "{}", measure.id);
            assert!(!judged.verdict.is_fine());
            assert_eq!(judged.line().met, Some(false));
            let hindrance = judged.hindrance.unwrap();
            assert!(hindrance.contains(lacks), "{hindrance}");
        }
    }

    #[test]
    fn every_round_must_have_its_figures() {
        let p7 = measure("P7");
        let mut book = book(&[(p7.ours, 2.0), (f::BY_HAND_P50_US, 2.0)]);
        book.next_round();
        book.put(p7.ours, 2.0);
        let judged = Judged::new(p7, &book, &Hindrances::new());
        assert_eq!((judged.verdict, judged.value), (Verdict::Failed, None));
        book.put(f::BY_HAND_P50_US, 2.0);
        let judged = Judged::new(p7, &book, &Hindrances::new());
        assert_eq!((judged.verdict, judged.value), (Verdict::Met, Some(1.0)));
    }

    #[test]
    fn a_companion_is_shown_and_judged_by_nothing_and_fails_with_its_family() {
        let companion = measure("P1-repeat-0.1%");
        let book = book(&[(companion.ours, 1.0), (f::BY_HAND_CLAIMS, 100.0)]);
        let judged = Judged::new(companion, &book, &Hindrances::new());
        assert_eq!(judged.verdict, Verdict::Shown);
        assert!(judged.verdict.is_fine());
        let line = serde_json::to_value(judged.line()).unwrap();
        assert_eq!(line["value"], 0.01);
        assert!(line["goal"].is_null() && line["met"].is_null());

        let failed = Hindrances::from([("P1", Hindrance::Failed("no run".into()))]);
        let judged = Judged::new(companion, &book, &failed);
        assert!(!judged.verdict.is_fine());
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
