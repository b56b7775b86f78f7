//! What the demo saw: checked, and printed as a table.

use std::fmt::Write as _;
use std::time::Duration;

use super::plan::{Item, Manner, Plan, Trouble};
use super::receiver::Counters;
use super::senders::Tally;
use crate::cli::numbers::grouped;

/// An item of the shelf at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shelved {
    pub item: Item,
    pub actual: u64,
}

/// Everything that is known at the end.
#[derive(Debug, Clone)]
pub(super) struct Summary {
    pub deliveries: u64,
    pub orders: u64,
    pub sold_out: u64,
    pub races: u64,
    pub planned: Planned,
    pub tally: Tally,
    pub counters: Counters,
    pub restarts: u64,
    /// Orders that took stock more than once.
    pub taken_twice: u64,
    /// Orders that took stock.
    pub taken: u64,
    /// Keys that Semel knows as completed and as failed for good.
    pub settled: (u64, u64),
    pub shelf: Vec<Shelved>,
    pub took: Duration,
}

/// What the plan says must happen exactly so often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Planned {
    pub other_body: u64,
    pub no_key: u64,
    pub crashes: u64,
}

impl Planned {
    pub fn of(plan: &Plan) -> Self {
        Self {
            other_body: plan.count(|step| step.manner == Manner::OtherBody),
            no_key: plan.count(|step| step.manner == Manner::NoKey),
            crashes: plan.count(|step| step.trouble == Some(Trouble::Crash)),
        }
    }
}

impl Summary {
    /// Everything that is off; nothing, if all is well.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.tally.problems.clone();
        if self.tally.more_problems > 0 {
            problems.push(format!("and {} more like these", self.tally.more_problems));
        }
        let mut same = |what: &str, expected: u64, actual: u64| {
            if expected != actual {
                let (expected, actual) = (grouped(expected), grouped(actual));
                problems.push(format!("{what}: expected {expected}, saw {actual}"));
            }
        };
        let tally = &self.tally;
        let answers = tally.firsts
            + tally.replays
            + tally.come_back
            + tally.crashed
            + tally.other_body
            + tally.no_key
            + tally.lost
            + tally.broken;
        same("requests that came to a known end", tally.requests, answers);
        same(
            "orders carried out or refused for good",
            self.orders,
            self.counters.handled,
        );
        same(
            "orders that took stock",
            self.orders - self.sold_out,
            self.taken,
        );
        same("orders that took stock twice", 0, self.taken_twice);
        same("crashes", self.planned.crashes, self.counters.crashed);
        same(
            "refusals of another body",
            self.planned.other_body,
            tally.other_body,
        );
        same("refusals without a key", self.planned.no_key, tally.no_key);
        same(
            "keys that Semel has as completed",
            self.orders - self.sold_out,
            self.settled.0,
        );
        same(
            "keys that Semel has as failed for good",
            self.sold_out,
            self.settled.1,
        );
        for Shelved { item, actual } in &self.shelf {
            same(
                &format!("{} on the shelf", item.sku),
                item.expected,
                *actual,
            );
        }
        problems
    }

    pub fn table(&self) -> String {
        let tally = &self.tally;
        let once = match self.taken_twice {
            0 => "each exactly once".to_owned(),
            twice => format!("{} of them MORE THAN ONCE", grouped(twice)),
        };
        let mut text = String::new();
        section(
            &mut text,
            "The senders",
            &[
                (
                    "deliveries",
                    self.deliveries,
                    format!("of {} orders", grouped(self.orders)),
                ),
                (
                    "of these in races",
                    self.races,
                    "the same order several times at once".into(),
                ),
                (
                    "requests",
                    tally.requests,
                    "every try of every delivery".into(),
                ),
            ],
        );
        section(
            &mut text,
            "What they were answered",
            &[
                (
                    "first answer",
                    tally.firsts,
                    "the order was carried out, or refused for good".into(),
                ),
                (
                    "replay",
                    tally.replays,
                    "the first answer again, byte for byte".into(),
                ),
                (
                    "409, 503 come back",
                    tally.come_back,
                    "another request is at it; retried".into(),
                ),
                ("500 handler died", tally.crashed, "retried".into()),
                (
                    "422 other body",
                    tally.other_body,
                    "refused: the key stands for another order".into(),
                ),
                ("400 no key", tally.no_key, "refused".into()),
                (
                    "answer lost",
                    tally.lost,
                    "the sender had hung up; retried".into(),
                ),
                ("connection broken", tally.broken, "retried".into()),
            ],
        );
        section(
            &mut text,
            "The shop",
            &[
                ("orders carried out", self.taken, once),
                (
                    "sold out",
                    self.sold_out,
                    "refused for good, and that is replayed, too".into(),
                ),
                (
                    "handlers crashed",
                    self.counters.crashed,
                    "another delivery took the claim over".into(),
                ),
                (
                    "Semel restarted",
                    self.restarts,
                    "and went on from its disk".into(),
                ),
            ],
        );
        let _ = writeln!(
            text,
            "  {:18}{:>9}{:>9}{:>10}{:>9}",
            "Stock", "at start", "ordered", "expected", "actual"
        );
        for Shelved { item, actual } in &self.shelf {
            let verdict = if item.expected == *actual {
                ""
            } else {
                "  <- WRONG"
            };
            let _ = writeln!(
                text,
                "    {:16}{:>9}{:>9}{:>10}{:>9}{verdict}",
                item.sku,
                grouped(item.at_start),
                grouped(item.ordered),
                grouped(item.expected),
                grouped(*actual),
            );
        }
        text
    }

    pub fn verdict(&self) -> String {
        let problems = self.problems();
        let took = self.took.as_secs_f64();
        if problems.is_empty() {
            let times = self.deliveries as f64 / self.orders as f64;
            return format!(
                "All is right, in {took:.1} s. The orders came {times:.1} times each on average; some raced \
                 themselves, some\nlost their answer, some their handler. Every order took its \
                 stock once, and whoever asked again\ngot the same answer."
            );
        }
        let mut text = format!("SOMETHING IS OFF, after {took:.1} s:");
        for problem in problems {
            let _ = write!(text, "\n  {problem}");
        }
        text
    }
}

/// Rows of a name, a number and a remark. Nothing to tell of is left out.
fn section(text: &mut String, title: &str, rows: &[(&str, u64, String)]) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  {title}");
    for (name, number, remark) in rows.iter().filter(|(_, number, _)| *number > 0) {
        let _ = writeln!(text, "    {name:20}{:>9}  {remark}", grouped(*number));
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right() -> Summary {
        let item = Item {
            sku: "mug",
            at_start: 1_250,
            ordered: 1_200,
            expected: 50,
        };
        Summary {
            deliveries: 12,
            orders: 3,
            sold_out: 1,
            races: 4,
            planned: Planned {
                other_body: 1,
                no_key: 1,
                crashes: 1,
            },
            tally: Tally {
                requests: 15,
                firsts: 2,
                replays: 8,
                come_back: 1,
                crashed: 1,
                other_body: 1,
                no_key: 1,
                lost: 1,
                ..Tally::default()
            },
            counters: Counters {
                handled: 3,
                crashed: 1,
                ..Counters::default()
            },
            restarts: 1,
            taken_twice: 0,
            taken: 2,
            settled: (2, 1),
            shelf: vec![Shelved { item, actual: 50 }],
            took: Duration::from_millis(4_210),
        }
    }

    #[test]
    fn all_is_well_when_all_is_well() {
        let summary = right();
        assert_eq!(summary.problems(), Vec::<String>::new());
        assert!(summary.verdict().starts_with("All is right, in 4.2 s."));
    }

    #[test]
    fn one_mug_too_few_shows() {
        let mut summary = right();
        summary.shelf[0].actual = 49;
        assert_eq!(
            summary.problems(),
            ["mug on the shelf: expected 50, saw 49"]
        );
        assert!(summary.table().contains("<- WRONG"));
        assert!(summary.verdict().contains("OFF"));
    }

    #[test]
    fn a_request_without_an_end_shows() {
        let mut summary = right();
        summary.tally.requests += 1;
        assert_eq!(summary.problems().len(), 1);
    }

    #[test]
    fn columns_line_up() {
        let table = right().table();
        let mug = table.lines().find(|line| line.contains("mug")).unwrap();
        let head = table
            .lines()
            .find(|line| line.contains("at start"))
            .unwrap();
        assert_eq!(mug.len(), head.len());
        assert!(mug.contains("1,250    1,200        50       50"), "{mug}");
        assert!(!table.contains("connection broken"));
    }
}
