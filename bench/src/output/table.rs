//! Tables for the terminal.

use std::fmt::Write as _;

use crate::{
    book::Book,
    goals::{Judged, Verdict},
    meter::Cost,
};

/// What the columns of the goals are.
const READING: &str = "Semel and peer: each its own median of the rounds. Value: the median of the \
                       rounds' ratios, so that it need not be Semel ÷ peer.";

/// Every goal and how it came out.
pub fn goals(judged: &[Judged]) -> String {
    let mut rows =
        vec![["", "", "Semel", "peer", "value", "rounds", "goal", ""].map(str::to_owned)];
    let mut reasons = String::new();
    for one in judged {
        let spread = one
            .spread
            .map(|(least, most)| format!("{}–{}", short(least), short(most)));
        rows.push([
            one.measure.id.to_owned(),
            one.measure.what.to_owned(),
            one.ours.map(short).unwrap_or_default(),
            one.theirs.map(short).unwrap_or_default(),
            one.value.map(short).unwrap_or_default(),
            spread.unwrap_or_default(),
            one.measure
                .goal
                .map_or("none".into(), |goal| goal.to_string()),
            verdict(one.verdict).to_owned(),
        ]);
        if let Some(why) = &one.hindrance {
            let (id, verdict) = (one.measure.id, verdict(one.verdict));
            let _ = writeln!(reasons, "{verdict} {id}: {why}");
        }
    }
    // Names to the left, numbers to the right.
    let table = aligned(&rows, |column| matches!(column, 0 | 1 | 7));
    if reasons.is_empty() {
        format!("{table}{READING}\n")
    } else {
        format!("{table}{READING}\n\n{reasons}")
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "met",
        Verdict::Missed => "MISSED",
        Verdict::Shown => "",
        Verdict::Skipped => "SKIPPED",
        Verdict::Failed => "NO RUN",
    }
}

/// What an operation costs.
pub fn costs(book: &Book) -> String {
    let heads = [
        "cost of one",
        "CPU µs server",
        "CPU µs Postgres",
        "CPU µs load",
        "WAL bytes",
        "bytes written",
        "disk bytes",
    ];
    let mut rows = vec![heads.map(str::to_owned)];
    for (of, cost) in book.costs() {
        let Cost {
            server_us,
            postgres_us,
            load_us,
            wal_bytes,
            written_bytes,
            disk_bytes,
        } = cost;
        let fields = [
            server_us,
            postgres_us,
            load_us,
            wal_bytes,
            written_bytes,
            disk_bytes,
        ];
        let mut row = vec![of.to_owned()];
        row.extend(fields.map(|field| field.map(short).unwrap_or_else(|| "–".into())));
        rows.extend(<[String; 7]>::try_from(row));
    }
    aligned(&rows, |column| column == 0)
}

/// Columns as wide as their widest cell.
pub fn aligned<const N: usize>(
    rows: &[[String; N]],
    to_the_left: impl Fn(usize) -> bool,
) -> String {
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ = if to_the_left(column) {
                write!(line, "{cell:<width$}  ")
            } else {
                write!(line, "{cell:>width$}  ")
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// As many digits as mean something.
pub fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => grouped(value),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A whole number with commas between its thousands.
pub fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value <= -0.5 {
        format!("-{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        book::figure as f,
        goals::{Hindrance, Hindrances, MEASURES},
    };

    #[test]
    fn numbers_are_as_long_as_they_mean_something() {
        assert_eq!(grouped(1_234_567.4), "1,234,567");
        assert_eq!(grouped(-1_000.0), "-1,000");
        assert_eq!(grouped(12.0), "12");
        assert_eq!(short(81_234.6), "81,235");
        assert_eq!(short(12.34), "12.3");
        assert_eq!(short(0.954), "0.95");
    }

    #[test]
    fn a_miss_and_a_skip_cannot_be_overlooked() {
        let mut book = Book::default();
        book.put(f::SESSION_CLAIMS, 50_000.0);
        book.put(f::BY_HAND_CLAIMS, 10_000.0);
        let hindrances = Hindrances::from([("P5", Hindrance::Skipped("no Redis".into()))]);
        let judged: Vec<_> = MEASURES
            .iter()
            .filter(|measure| ["P1", "P5"].contains(&measure.id))
            .map(|measure| Judged::new(measure, &book, &hindrances))
            .collect();
        let text = goals(&judged);
        let p1 = text.lines().find(|line| line.starts_with("P1")).unwrap();
        assert!(p1.ends_with("≥ 6  MISSED"), "{text}");
        assert!(text.contains("SKIPPED P5: no Redis"), "{text}");
        assert!(text.contains("need not be Semel ÷ peer"), "{text}");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "1"], ["bcd", "22"]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&rows, |column| column == 0), "a     1\nbcd  22\n");
    }
}
