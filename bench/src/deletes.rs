//! How fast rows go from `records`, while somebody else is measured.

use std::time::{Duration, Instant};

use sqlx::{Connection as _, PgConnection};
use tokio::runtime::Handle;

use crate::{Outcome, postgres::Postgres};

/// How often Postgres is asked.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Counts deleted rows over time, on a connection of its own.
pub struct Deletes {
    connection: PgConnection,
    runtime: Handle,
    started: Instant,
    last: Option<Instant>,
    looks: Vec<(f64, i64)>,
}

impl Deletes {
    /// Begins to count in `database`.
    pub fn begin(postgres: &Postgres, database: &str) -> Outcome<Self> {
        let runtime = postgres.runtime().handle().clone();
        let url = postgres.url(database);
        Ok(Self {
            connection: runtime.block_on(PgConnection::connect(&url))?,
            runtime,
            started: Instant::now(),
            last: None,
            looks: Vec::new(),
        })
    }

    /// Looks, unless it has lately.
    pub fn look(&mut self) -> Outcome<()> {
        if self.last.is_some_and(|last| last.elapsed() < LOOK_EVERY) {
            return Ok(());
        }
        self.last = Some(Instant::now());
        let deleted = "SELECT coalesce(sum(n_tup_del), 0)::bigint FROM pg_stat_user_tables \
                       WHERE relname = 'records'";
        let asked = sqlx::query_scalar(deleted).fetch_one(&mut self.connection);
        let deleted: i64 = self.runtime.block_on(asked)?;
        let at = self.started.elapsed().as_secs_f64();
        self.looks.push((at, deleted));
        Ok(())
    }

    /// What was seen from so long after the beginning on.
    pub fn since(&self, from: Duration) -> &[(f64, i64)] {
        let from = from.as_secs_f64();
        let first = self.looks.partition_point(|(at, _)| *at < from);
        &self.looks[first..]
    }
}

/// How a count rose over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// A second, while it rose.
    pub rate: f64,
    /// How long it had not risen at the end.
    pub still_s: f64,
}

/// Postgres tells of a connection's deletes about once a second, all at once: so from one such moment
/// to another, rather than from the first look to the last.
pub fn rate_of_change(looks: &[(f64, i64)]) -> Change {
    let rises: Vec<_> = looks
        .windows(2)
        .filter(|pair| pair[1].1 != pair[0].1)
        .map(|pair| pair[1])
        .collect();
    let end = looks.last().map_or(0.0, |(at, _)| *at);
    match (rises.first(), rises.last()) {
        (Some(first), Some(last)) if last.0 > first.0 => Change {
            rate: (last.1 - first.1) as f64 / (last.0 - first.0),
            still_s: end - last.0,
        },
        // Too short for two such moments: the roughest of figures, or none.
        (Some(rise), _) => Change {
            rate: looks
                .first()
                .map_or(0.0, |first| (rise.1 - first.1) as f64 / (end - first.0)),
            still_s: end - rise.0,
        },
        _ => Change {
            rate: 0.0,
            still_s: looks.first().map_or(0.0, |(at, _)| end - at),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_taken_from_rise_to_rise() {
        let looks = [
            (2.0, 100),
            (2.2, 100),
            (2.4, 500),
            (2.6, 500),
            (3.4, 1_500),
            (4.4, 2_500),
            (4.6, 2_500),
        ];
        let change = rate_of_change(&looks);
        assert!((change.rate - 1_000.0).abs() < 1e-6, "{change:?}");
        assert!((change.still_s - 0.2).abs() < 1e-6, "{change:?}");
    }

    #[test]
    fn what_does_not_rise_stands_still() {
        assert_eq!(rate_of_change(&[]).rate, 0.0);
        let still = rate_of_change(&[(1.0, 7), (9.0, 7)]);
        assert_eq!((still.rate, still.still_s), (0.0, 8.0));
        let once = rate_of_change(&[(1.0, 100), (1.5, 300), (3.0, 300)]);
        assert_eq!((once.rate, once.still_s), (100.0, 1.5));
    }
}
