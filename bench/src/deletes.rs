//! How fast the purge's rows go, while somebody else is measured.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use sqlx::{Connection as _, PgConnection};
use tokio::runtime::Handle;

use crate::{Outcome, postgres::Postgres, server::Server};

/// How often the count is asked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Who counts deleted rows.
enum Counter {
    /// Postgres itself, asked on a connection of its own.
    Postgres {
        connection: PgConnection,
        runtime: Handle,
    },
    /// A server that tells of its purge: into the embedded store nobody else can look.
    Server(Arc<AtomicU64>),
}

/// Counts deleted rows over time.
pub struct Deletes {
    counter: Counter,
    started: Instant,
    last: Option<Instant>,
    looks: Vec<(f64, i64)>,
}

impl Deletes {
    /// Begins to count in `database`.
    pub fn in_postgres(postgres: &Postgres, database: &str) -> Outcome<Self> {
        let runtime = postgres.runtime().handle().clone();
        let url = postgres.url(database);
        Ok(Self::begin(Counter::Postgres {
            connection: runtime.block_on(PgConnection::connect(&url))?,
            runtime,
        }))
    }

    /// Begins to count what `server` tells of, which it must have been started to do.
    pub fn told_by(server: &Server) -> Self {
        Self::begin(Counter::Server(server.purged()))
    }

    fn begin(counter: Counter) -> Self {
        Self {
            counter,
            started: Instant::now(),
            last: None,
            looks: Vec::new(),
        }
    }

    /// Looks, unless it has lately.
    pub fn look(&mut self) -> Outcome<()> {
        if self.last.is_some_and(|last| last.elapsed() < LOOK_EVERY) {
            return Ok(());
        }
        self.last = Some(Instant::now());
        let deleted = self.counter.deleted()?;
        let at = self.started.elapsed().as_secs_f64();
        self.looks.push((at, deleted));
        Ok(())
    }

    /// Waits, up to `limit`, until the first rows go. An empty bucket that was swept is left alone for a
    /// while, so what was filled in behind a sweep waits for the next one.
    pub fn wait_for_the_first(&mut self, limit: Duration) -> Outcome<()> {
        let waiting = Instant::now();
        loop {
            self.look()?;
            if has_risen(&self.looks) {
                return Ok(());
            }
            if waiting.elapsed() > limit {
                return Err(format!("the purge deleted nothing within {limit:?}").into());
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Looks for so long.
    pub fn watch(&mut self, length: Duration) -> Outcome<()> {
        let watching = Instant::now();
        while watching.elapsed() < length {
            self.look()?;
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// How long it has counted.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// What was seen from so long after the beginning on.
    pub fn since(&self, from: Duration) -> &[(f64, i64)] {
        let from = from.as_secs_f64();
        let first = self.looks.partition_point(|(at, _)| *at < from);
        &self.looks[first..]
    }
}

impl Counter {
    fn deleted(&mut self) -> Outcome<i64> {
        match self {
            Self::Postgres {
                connection,
                runtime,
            } => {
                let deleted = "SELECT coalesce(sum(n_tup_del), 0)::bigint \
                               FROM pg_stat_user_tables WHERE relname = 'records'";
                let asked = sqlx::query_scalar(deleted).fetch_one(connection);
                Ok(runtime.block_on(asked)?)
            }
            Self::Server(purged) => Ok(i64::try_from(purged.load(Ordering::Relaxed))?),
        }
    }
}

fn has_risen(looks: &[(f64, i64)]) -> bool {
    looks
        .first()
        .zip(looks.last())
        .is_some_and(|(first, last)| last.1 > first.1)
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
    fn the_first_row_is_waited_for_and_not_for_ever() {
        let purged = Arc::new(AtomicU64::new(5));
        let mut deletes = Deletes::begin(Counter::Server(purged.clone()));
        let error = deletes.wait_for_the_first(Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("deleted nothing"), "{error}");
        purged.store(6, Ordering::Relaxed);
        deletes.wait_for_the_first(Duration::from_secs(60)).unwrap();
        assert_eq!(deletes.since(Duration::ZERO).last().unwrap().1, 6);
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
