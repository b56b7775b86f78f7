//! The charts of README and docs, as SVG with fixed colours on a white card, so that they can be read
//! on light and on dark pages.

mod bars;
mod lines;
mod svg;

use crate::book::{Book, Figure, figure as f};

use bars::{Bar, Section, Whose};
use lines::{Line, Point};

/// Bars of what each can do in a second. `None` where nothing of it was measured.
pub fn throughput(book: &Book) -> Option<String> {
    let bar = |label, figure: Figure, whose| {
        let value = book.median(figure)?;
        Some(Bar {
            label,
            value,
            whose,
        })
    };
    let section = |title, bars: Vec<Option<Bar>>| {
        let bars: Vec<_> = bars.into_iter().flatten().collect();
        (!bars.is_empty()).then_some(Section { title, bars })
    };
    let sections: Vec<_> = [
        section(
            "First claims, durable in Postgres",
            vec![
                bar("INSERT by hand, pgbench", f::BY_HAND_CLAIMS, Whose::Peer),
                bar("Semel, single calls", f::UNARY_CLAIMS, Whose::Semel),
                bar("Semel, Session", f::SESSION_CLAIMS, Whose::Semel),
            ],
        ),
        section(
            "Claim and completion, durable in Postgres",
            vec![
                bar("by hand, pgbench", f::BY_HAND_PAIRS, Whose::Peer),
                bar("Semel, Session", f::SESSION_PAIRS, Whose::Semel),
            ],
        ),
        section(
            "First claims, without a database server",
            vec![
                bar("Redis, fsync always", f::REDIS, Whose::Peer),
                bar(
                    "Semel embedded, single calls",
                    f::EMBEDDED_UNARY,
                    Whose::Semel,
                ),
                bar("Semel embedded, Session", f::EMBEDDED_SESSION, Whose::Semel),
            ],
        ),
        section(
            "Replays of a stored result, single calls",
            vec![
                bar(
                    "a gRPC server that does nothing",
                    f::NOOP_REPLAYS,
                    Whose::Peer,
                ),
                bar("Semel on Postgres", f::UNARY_REPLAYS, Whose::Semel),
            ],
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!sections.is_empty()).then(|| {
        bars::draw(
            "What each does in a second",
            "operations a second",
            &sections,
        )
    })
}

/// Median and p99 against the offered load. `None` where fewer than two steps were measured.
pub fn latency(book: &Book) -> Option<String> {
    let line = |name, of: fn(&(u32, Figure, Figure, Figure)) -> Figure, colour| {
        let points = f::STEPS.iter().filter_map(|step| {
            Some(Point {
                x: book.median(step.1)?,
                y: book.median(of(step))? / 1_000.0,
            })
        });
        Line {
            name,
            colour,
            points: points.collect(),
        }
    };
    let lines = [
        line("p99", |step| step.3, svg::ORANGE),
        line("p50", |step| step.2, svg::BLUE),
    ];
    let enough = lines.iter().all(|line| line.points.len() >= 2);
    enough.then(|| {
        lines::draw(
            "Latency of a claim over Session on Postgres",
            "offered load, claims a second (open loop)",
            "milliseconds (logarithmic)",
            &lines,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_of_nothing_is_not_drawn() {
        assert_eq!(throughput(&Book::default()), None);
        assert_eq!(latency(&Book::default()), None);
    }

    #[test]
    fn a_chart_shows_what_was_measured_and_leaves_out_the_rest() {
        let mut book = Book::default();
        book.put(f::BY_HAND_CLAIMS, 14_000.0);
        book.put(f::SESSION_CLAIMS, 90_000.0);
        let svg = throughput(&book).unwrap();
        assert!(svg.contains("90,000") && !svg.contains("Redis"), "{svg}");
        for (percent, rate, p50, p99) in f::STEPS {
            book.put(rate, f64::from(percent) * 900.0);
            book.put(p50, 900.0 + f64::from(percent));
            book.put(p99, 3_000.0 + f64::from(percent) * 100.0);
        }
        let svg = latency(&book).unwrap();
        let of_legend = 4;
        assert_eq!(svg.matches("<circle").count(), 10 + of_legend);
    }
}
