//! The purge: takes a bucket, deletes what is past its retention, postpones the rest.
//!
//! Each statement is short and a commit of its own. Rows are deleted where they lie, by their address.
//! What stands there may have changed since it was looked at, so each statement has the whole of its
//! condition.
//!
//! The floor of fences is raised before any row goes that it does not cover. A crash between the two
//! leaves it higher than need be, which costs nothing.
//!
//! An insert takes its time and reads the floor when it starts, and may then wait behind another
//! server's insert. Were a record purged meanwhile, the insert would find nothing there and grant
//! the key again, with a fence from before. So the purge stays behind: it sees the records as if it
//! were [`PostgresOptions::purge_lag`](super::PostgresOptions::purge_lag) ago, which is longer than
//! any statement can live, and leaves what has a fence from later than that, as a clock that has gone
//! back makes it. So whatever it deletes has a lower fence than the time of any insert under way.

use sqlx::{PgConnection, Row};

use super::{fault::CallError, slot::Statement};
use crate::{
    key::Span,
    store::{Purged, SWEEP_EVERY, sweep::POSTPONE_AT_LEAST},
};

pub(super) struct Purge {
    pub(super) now_us: Option<i64>,
    pub(super) lag: Span,
    pub(super) limit: u32,
    /// Chance, so that replicas do not all reach for the same bucket.
    pub(super) start_at: usize,
}

/// A bucket, and the time that says it is ours.
struct Taken {
    bucket: i16,
    sweep_at_us: i64,
}

/// What is due in a bucket: addresses, in the order of the primary key.
struct Due {
    /// Of what is past its retention, and may go.
    over: Vec<String>,
    /// The greatest fence of these.
    greatest_fence: Option<i64>,
    /// Of the others.
    others: Vec<String>,
}

impl Statement for Purge {
    type Answer = Purged;

    async fn run(&self, connection: &mut PgConnection) -> Result<Purged, CallError> {
        let Some(taken) = self.take_bucket(connection).await? else {
            return Ok(Purged::default());
        };
        let due = self.due(connection, taken.bucket).await?;
        let purged = Purged {
            deleted: self.delete(connection, &due).await?,
            postponed: self.postpone(connection, &due.others).await?,
            more: due.over.len() + due.others.len() >= self.limit as usize,
            swept: true,
        };
        if purged.more {
            self.move_bucket(connection, &taken, 0).await?;
        }
        Ok(purged)
    }
}

impl Purge {
    async fn take_bucket(&self, connection: &mut PgConnection) -> Result<Option<Taken>, CallError> {
        let mut due: Vec<Taken> = sqlx::query(include_str!("sql/buckets_due.sql"))
            .bind(self.now_us)
            .bind(SWEEP_EVERY.as_micros())
            .fetch_all(&mut *connection)
            .await?
            .iter()
            .map(|row| {
                Ok(Taken {
                    bucket: row.try_get(0)?,
                    sweep_at_us: row.try_get(1)?,
                })
            })
            .collect::<Result<_, sqlx::Error>>()?;
        if !due.is_empty() {
            let start = self.start_at % due.len();
            due.rotate_left(start);
        }
        for bucket in due {
            let every = SWEEP_EVERY.as_micros();
            if let Some(sweep_at_us) = self.move_bucket(connection, &bucket, every).await? {
                return Ok(Some(Taken {
                    sweep_at_us,
                    ..bucket
                }));
            }
        }
        Ok(None)
    }

    /// Moves a bucket's time to `by_us` from now, unless somebody else has moved it.
    async fn move_bucket(
        &self,
        connection: &mut PgConnection,
        taken: &Taken,
        by_us: i64,
    ) -> Result<Option<i64>, CallError> {
        let rows = sqlx::query(include_str!("sql/take_bucket.sql"))
            .bind(self.now_us)
            .bind(taken.bucket)
            .bind(taken.sweep_at_us)
            .bind(by_us)
            .fetch_all(connection)
            .await?;
        Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
    }

    async fn due(&self, connection: &mut PgConnection, bucket: i16) -> Result<Due, CallError> {
        let row = sqlx::query(include_str!("sql/due.sql"))
            .bind(self.now_us)
            .bind(bucket)
            .bind(i64::from(self.limit))
            .bind(self.lag.as_micros())
            .fetch_one(connection)
            .await?;
        Ok(Due {
            over: row.try_get(0)?,
            greatest_fence: row.try_get(1)?,
            others: row.try_get(2)?,
        })
    }

    async fn delete(&self, connection: &mut PgConnection, due: &Due) -> Result<u64, CallError> {
        let Some(fence) = due.greatest_fence else {
            return Ok(0);
        };
        sqlx::query(include_str!("sql/raise_fence_floor.sql"))
            .bind(fence)
            .execute(&mut *connection)
            .await?;
        let done = sqlx::query(include_str!("sql/delete_expired.sql"))
            .bind(self.now_us)
            .bind(&due.over)
            .bind(self.lag.as_micros())
            .execute(connection)
            .await?;
        Ok(done.rows_affected())
    }

    async fn postpone(
        &self,
        connection: &mut PgConnection,
        others: &[String],
    ) -> Result<u64, CallError> {
        if others.is_empty() {
            return Ok(0);
        }
        let done = sqlx::query(include_str!("sql/postpone.sql"))
            .bind(self.now_us)
            .bind(others)
            .bind(self.lag.as_micros())
            .bind(POSTPONE_AT_LEAST.as_micros())
            .execute(connection)
            .await?;
        Ok(done.rows_affected())
    }
}
