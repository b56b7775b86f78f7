//! The purge: takes a bucket, deletes what is past its retention, postpones the rest; in one
//! transaction of the one writer, so it is small, and lanes wait for it.

use std::sync::LazyLock;

use sqlx::SqliteConnection;

use super::{connection::Write, fault::CallError, template::Template};
use crate::{
    key::Timestamp,
    store::{Purged, SWEEP_EVERY, sweep::POSTPONE_AT_LEAST},
};

pub(super) static DELETE_EXPIRED: LazyLock<Template> =
    LazyLock::new(|| Template::new(include_str!("sql/delete_expired.sql")));
pub(super) static POSTPONE: LazyLock<Template> =
    LazyLock::new(|| Template::new(include_str!("sql/postpone.sql")));

pub(super) struct Purge {
    pub(super) limit: u32,
}

/// A record to look at: namespace, key, fence, whether it is past its retention.
type Due = (String, String, i64, bool);

impl Write for Purge {
    type Answer = Purged;

    fn is_one_statement(&self) -> bool {
        false
    }

    async fn run(
        &self,
        connection: &mut SqliteConnection,
        now: Timestamp,
    ) -> Result<Purged, CallError> {
        let bucket: Option<(i16, i64)> = sqlx::query_as(include_str!("sql/buckets_due.sql"))
            .bind(now.as_micros())
            .bind(SWEEP_EVERY.as_micros())
            .fetch_all(&mut *connection)
            .await?
            .into_iter()
            .next();
        let Some((bucket, sweep_at_us)) = bucket else {
            return Ok(Purged::default());
        };
        let due: Vec<Due> = sqlx::query_as(include_str!("sql/due.sql"))
            .bind(now.as_micros())
            .bind(bucket)
            .bind(now.as_micros())
            .bind(i64::from(self.limit))
            .fetch_all(&mut *connection)
            .await?;
        let more = due.len() >= self.limit as usize;
        let (expired, live): (Vec<Due>, Vec<Due>) = due.into_iter().partition(|due| due.3);
        let purged = Purged {
            deleted: delete(connection, now, bucket, &expired).await?,
            postponed: postpone(connection, now, bucket, &live).await?,
            more,
            swept: true,
        };
        sqlx::query(include_str!("sql/take_bucket.sql"))
            .bind(now.as_micros())
            .bind(if more { 0 } else { SWEEP_EVERY.as_micros() })
            .bind(bucket)
            .bind(sweep_at_us)
            .execute(connection)
            .await?;
        Ok(purged)
    }
}

async fn delete(
    connection: &mut SqliteConnection,
    now: Timestamp,
    bucket: i16,
    expired: &[Due],
) -> Result<u64, CallError> {
    let Some(greatest) = expired.iter().map(|due| due.2).max() else {
        return Ok(0);
    };
    sqlx::query(include_str!("sql/raise_fence_floor.sql"))
        .bind(greatest)
        .execute(&mut *connection)
        .await?;
    let mut deleted = 0;
    for chunk in DELETE_EXPIRED.chunks(expired.len()) {
        let mut query = sqlx::query(chunk.sql).bind(now.as_micros());
        for (namespace, key, fence, _) in &expired[chunk.rows] {
            query = query.bind(bucket).bind(namespace).bind(key).bind(fence);
        }
        deleted += query.execute(&mut *connection).await?.rows_affected();
    }
    Ok(deleted)
}

async fn postpone(
    connection: &mut SqliteConnection,
    now: Timestamp,
    bucket: i16,
    live: &[Due],
) -> Result<u64, CallError> {
    let mut postponed = 0;
    for chunk in POSTPONE.chunks(live.len()) {
        let mut query = sqlx::query(chunk.sql)
            .bind(now.as_micros())
            .bind(POSTPONE_AT_LEAST.as_micros());
        for (namespace, key, ..) in &live[chunk.rows] {
            query = query.bind(bucket).bind(namespace).bind(key);
        }
        postponed += query.execute(&mut *connection).await?.rows_affected();
    }
    Ok(postponed)
}
