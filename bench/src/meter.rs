//! What a run costs: processor time by who spent it, and write-ahead log.

use serde::Serialize;

use crate::{Outcome, postgres::Postgres, proc, server::Server, statistics::median};

/// The meters at one moment. `None` where this system does not tell, or nobody of the kind runs.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    server_s: Option<f64>,
    postgres_s: Option<f64>,
    /// Of loads that have ended: of the one between two readings.
    load_s: Option<f64>,
    wal_bytes: Option<f64>,
}

impl Reading {
    pub fn take(server: Option<&Server>, postgres: Option<&Postgres>) -> Outcome<Self> {
        let wal_bytes = postgres.map(Postgres::wal_bytes).transpose()?;
        Ok(Self {
            server_s: server.and_then(|server| proc::processor_s(server.pid())),
            postgres_s: postgres
                .and_then(|postgres| postgres.cluster().pid().ok())
                .and_then(proc::processor_with_children_s),
            load_s: proc::ended_children_s(),
            wal_bytes: wal_bytes.map(|bytes| bytes as f64),
        })
    }

    /// What was spent from `self` to `after`, for each of `operations`.
    pub fn until(&self, after: &Self, operations: f64) -> Cost {
        let each = |before: Option<f64>, after: Option<f64>| Some((after? - before?) / operations);
        let micros = |before: Option<f64>, after: Option<f64>| each(before, after).map(|s| s * 1e6);
        Cost {
            server_us: micros(self.server_s, after.server_s),
            postgres_us: micros(self.postgres_s, after.postgres_s),
            load_us: micros(self.load_s, after.load_s),
            wal_bytes: each(self.wal_bytes, after.wal_bytes),
            written_bytes: None,
            disk_bytes: None,
        }
    }
}

/// What one operation costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Cost {
    pub server_us: Option<f64>,
    pub postgres_us: Option<f64>,
    pub load_us: Option<f64>,
    pub wal_bytes: Option<f64>,
    /// By the server itself: of the embedded store, its log and its file together.
    pub written_bytes: Option<f64>,
    /// Of the table with its indexes, or of the embedded store's files, after the run.
    pub disk_bytes: Option<f64>,
}

impl Cost {
    /// Field by field the median of several runs.
    pub fn median(costs: &[Self]) -> Self {
        let field =
            |of: fn(&Self) -> Option<f64>| median(&costs.iter().filter_map(of).collect::<Vec<_>>());
        Self {
            server_us: field(|cost| cost.server_us),
            postgres_us: field(|cost| cost.postgres_us),
            load_us: field(|cost| cost.load_us),
            wal_bytes: field(|cost| cost.wal_bytes),
            written_bytes: field(|cost| cost.written_bytes),
            disk_bytes: field(|cost| cost.disk_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_spent_is_shared_out_over_the_operations() {
        let before = Reading {
            server_s: Some(1.0),
            postgres_s: Some(10.0),
            load_s: None,
            wal_bytes: Some(1_000.0),
        };
        let after = Reading {
            server_s: Some(3.0),
            postgres_s: Some(11.0),
            load_s: Some(1.0),
            wal_bytes: Some(501_000.0),
        };
        let cost = before.until(&after, 1_000.0);
        assert_eq!(cost.server_us, Some(2_000.0));
        assert_eq!(cost.postgres_us, Some(1_000.0));
        assert_eq!(cost.load_us, None, "half a meter tells nothing");
        assert_eq!(cost.wal_bytes, Some(500.0));
    }

    #[test]
    fn medians_are_taken_field_by_field() {
        let cost = |server_us, wal_bytes| Cost {
            server_us,
            wal_bytes,
            ..Cost::default()
        };
        let costs = [
            cost(Some(1.0), Some(9.0)),
            cost(Some(5.0), None),
            cost(Some(3.0), Some(7.0)),
        ];
        assert_eq!(Cost::median(&costs), cost(Some(3.0), Some(8.0)));
    }
}
