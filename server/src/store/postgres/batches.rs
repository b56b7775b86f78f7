//! The four calls of the lanes: arrays in, one statement, one commit.

use sqlx::{PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use super::{fault::CallError, slot::Statement};
use crate::{
    key::{AttemptId, Fence, KeyId, NewRecord, Record, Timestamp},
    store::{
        Completed, Completion, Inserted, Loaded, StoreError, Swap,
        batch::Sorted,
        row::{StateColumns, StoredRow, stored_attempt},
    },
};

fn buckets(sorted: &Sorted<'_>) -> Vec<i16> {
    sorted.keys().map(KeyId::bucket).collect()
}

fn digests(sorted: &Sorted<'_>) -> Vec<Uuid> {
    sorted
        .keys()
        .map(|id| Uuid::from_bytes(*id.digest()))
        .collect()
}

fn namespaces<'a>(sorted: &Sorted<'a>) -> Vec<&'a str> {
    sorted.keys().map(|id| id.namespace().as_str()).collect()
}

fn keys<'a>(sorted: &Sorted<'a>) -> Vec<&'a str> {
    sorted.keys().map(|id| id.key().as_str()).collect()
}

fn uuid(attempt_id: &AttemptId) -> Uuid {
    Uuid::from_bytes(*attempt_id.as_bytes())
}

/// One column of a batch, in the order of its keys.
fn column<'a, T, C>(sorted: &Sorted<'_>, items: &'a [T], value: impl Fn(&'a T) -> C) -> Vec<C> {
    sorted.places().map(|place| value(&items[place])).collect()
}

/// The batch of an insert, as either of its statements takes it.
pub(super) struct Claims<'a> {
    pub(super) now_us: Option<i64>,
    pub(super) records: &'a [&'a NewRecord],
    pub(super) sorted: Sorted<'a>,
}

impl Claims<'_> {
    async fn send(
        &self,
        sql: &'static str,
        connection: &mut PgConnection,
    ) -> Result<PgRow, sqlx::Error> {
        let Self {
            records, sorted, ..
        } = self;
        sqlx::query(sql)
            .bind(self.now_us)
            .bind(buckets(sorted))
            .bind(digests(sorted))
            .bind(namespaces(sorted))
            .bind(keys(sorted))
            .bind(column(sorted, records, |r| uuid(&r.attempt_id)))
            .bind(column(sorted, records, |r| r.policy_id.as_i64()))
            .bind(column(sorted, records, |r| &r.fingerprint.as_bytes()[..]))
            .bind(column(sorted, records, |r| r.owner.as_str()))
            .bind(column(sorted, records, |r| r.traceparent.as_str()))
            .bind(column(sorted, records, |r| r.lease.as_micros()))
            .bind(column(sorted, records, |r| r.sweep_after.as_micros()))
            .bind(column(sorted, records, |r| r.insert_until.as_micros()))
            .bind(column(sorted, records, |r| r.delivery.as_deref()))
            .fetch_one(connection)
            .await
    }
}

/// Inserts what it can.
pub(super) struct InsertIfAbsent<'a>(pub(super) Claims<'a>);

impl Statement for InsertIfAbsent<'_> {
    type Answer = Vec<Option<Inserted>>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Answer, CallError> {
        let Self(claims) = self;
        let sql = include_str!("sql/insert_if_absent.sql");
        let row = claims.send(sql, connection).await?;
        let now = Timestamp::from_micros(row.try_get(0)?);
        let fence: Option<i64> = row.try_get(1)?;
        let buckets: Option<Vec<i16>> = row.try_get(2)?;
        let digests: Option<Vec<Uuid>> = row.try_get(3)?;
        let mut inserted = vec![None; claims.records.len()];
        if let Some(fence) = fence {
            let fence = Fence::from_i64(fence);
            let digests = digests.iter().flatten().map(Uuid::as_bytes);
            let keys = buckets.into_iter().flatten().zip(digests);
            for place in claims.sorted.places_of(keys)? {
                inserted[place] = Some(Inserted { fence, now });
            }
        }
        Ok(inserted)
    }
}

/// Inserts the only claim of its batch, if it can.
pub(super) struct InsertOne<'a> {
    pub(super) now_us: Option<i64>,
    pub(super) record: &'a NewRecord,
}

impl Statement for InsertOne<'_> {
    type Answer = Option<Inserted>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Answer, CallError> {
        let Self { now_us, record } = self;
        let rows = sqlx::query(include_str!("sql/insert_one.sql"))
            .bind(now_us)
            .bind(record.id.bucket())
            .bind(Uuid::from_bytes(*record.id.digest()))
            .bind(record.id.namespace().as_str())
            .bind(record.id.key().as_str())
            .bind(uuid(&record.attempt_id))
            .bind(record.policy_id.as_i64())
            .bind(&record.fingerprint.as_bytes()[..])
            .bind(record.owner.as_str())
            .bind(record.traceparent.as_str())
            .bind(record.lease.as_micros())
            .bind(record.sweep_after.as_micros())
            .bind(record.insert_until.as_micros())
            .bind(record.delivery.as_deref())
            .fetch_all(connection)
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        Ok(Some(Inserted {
            now: Timestamp::from_micros(row.try_get(0)?),
            fence: Fence::from_i64(row.try_get(1)?),
        }))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("of a batch that was to be inserted as a whole, the database inserted {rows}")]
struct NotAll {
    rows: i64,
}

/// Inserts all, or nothing where something stands under one of the keys: then `None`.
pub(super) struct InsertAll<'a>(pub(super) Claims<'a>);

impl Statement for InsertAll<'_> {
    type Answer = Option<Vec<Option<Inserted>>>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Answer, CallError> {
        let Self(claims) = self;
        let sql = include_str!("sql/insert_all.sql");
        let row = claims.send(sql, connection).await?;
        let now = Timestamp::from_micros(row.try_get(0)?);
        let Some(fence) = row.try_get(1)? else {
            return Ok(None);
        };
        let fence = Fence::from_i64(fence);
        // The others were left out by the statement, on the same terms.
        let may_be = |record: &NewRecord| record.insert_until >= now;
        let inserted: Vec<_> = claims
            .records
            .iter()
            .map(|record| may_be(record).then_some(Inserted { fence, now }))
            .collect();
        let rows: i64 = row.try_get(2)?;
        if rows != inserted.iter().flatten().count() as i64 {
            // Somebody's trigger: nobody can say which of them stand.
            return Err(StoreError::unavailable(NotAll { rows }).into());
        }
        Ok(Some(inserted))
    }
}

pub(super) struct Load<'a> {
    pub(super) now_us: Option<i64>,
    pub(super) sorted: Sorted<'a>,
}

impl Statement for Load<'_> {
    type Answer = Loaded;

    async fn run(&self, connection: &mut PgConnection) -> Result<Loaded, CallError> {
        let sorted = &self.sorted;
        let rows = sqlx::query(include_str!("sql/load.sql"))
            .bind(self.now_us)
            .bind(buckets(sorted))
            .bind(digests(sorted))
            .bind(namespaces(sorted))
            .bind(keys(sorted))
            .fetch_all(&mut *connection)
            .await?;
        let mut records = vec![None; sorted.len()];
        let mut now = None;
        for row in &rows {
            let (id, place) = sorted.numbered(row.try_get(0)?)?;
            now = Some(row.try_get(1)?);
            records[place] = Some(record(id, row)?);
        }
        let now = match now {
            Some(now) => now,
            // Nothing stands there, so no row brought the time along.
            None => sqlx::query(include_str!("sql/now.sql"))
                .bind(self.now_us)
                .fetch_one(connection)
                .await?
                .try_get(0)?,
        };
        Ok(Loaded {
            now: Timestamp::from_micros(now),
            records,
        })
    }
}

fn record(id: &KeyId, row: &PgRow) -> Result<Record, CallError> {
    let stored = StoredRow {
        attempt_id: row.try_get::<Uuid, _>(2)?.into_bytes(),
        fence: row.try_get(3)?,
        policy_id: row.try_get(4)?,
        created_at_us: row.try_get(5)?,
        claimed_at_us: row.try_get(6)?,
        lease_until_us: row.try_get(7)?,
        not_before_us: row.try_get(8)?,
        settled_at_us: row.try_get(9)?,
        expires_at_us: row.try_get(10)?,
        revision: row.try_get(11)?,
        attempt: row.try_get(12)?,
        state: row.try_get(13)?,
        fingerprint: row.try_get(14)?,
        owner: row.try_get(15)?,
        traceparent: row.try_get(16)?,
        last_error: row.try_get(17)?,
        result: row.try_get(18)?,
        checkpoint: row.try_get(19)?,
        delivery: row.try_get(20)?,
    };
    Ok(stored.into_record(id).map_err(StoreError::rejected)?)
}

pub(super) struct CompleteIfHeld<'a> {
    pub(super) now_us: Option<i64>,
    pub(super) completions: &'a [Completion<'a>],
    pub(super) sorted: Sorted<'a>,
}

impl Statement for CompleteIfHeld<'_> {
    type Answer = Vec<Option<Completed>>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Answer, CallError> {
        let Self {
            completions,
            sorted,
            ..
        } = self;
        let row = sqlx::query(include_str!("sql/complete_if_held.sql"))
            .bind(self.now_us)
            .bind(buckets(sorted))
            .bind(digests(sorted))
            .bind(namespaces(sorted))
            .bind(keys(sorted))
            .bind(column(sorted, completions, |c| c.token.fence.as_i64()))
            .bind(column(sorted, completions, |c| uuid(&c.token.attempt_id)))
            .bind(column(sorted, completions, |c| c.token.policy_id.as_i64()))
            .bind(column(sorted, completions, |c| c.retention.as_micros()))
            .bind(column(sorted, completions, |c| &c.result[..]))
            .fetch_one(connection)
            .await?;
        let now = Timestamp::from_micros(row.try_get(0)?);
        let numbers: Option<Vec<i32>> = row.try_get(1)?;
        // In the same order: aggregates of one query see its rows in one.
        let leases: Option<Vec<Option<i64>>> = row.try_get(2)?;
        let mut completed = vec![None; completions.len()];
        let attempts: Option<Vec<i32>> = row.try_get(3)?;
        let numbers = numbers.into_iter().flatten();
        let leases = leases.into_iter().flatten();
        let attempts = attempts.into_iter().flatten();
        for ((n, lease_until_us), attempt) in numbers.zip(leases).zip(attempts) {
            let done = Completed::from_columns(now, lease_until_us, attempt);
            completed[sorted.numbered(n)?.1] = Some(done);
        }
        Ok(completed)
    }
}

pub(super) struct CompareAndSwap<'a> {
    pub(super) swaps: &'a [Swap<'a>],
    pub(super) sorted: Sorted<'a>,
}

impl Statement for CompareAndSwap<'_> {
    type Answer = Vec<bool>;

    async fn run(&self, connection: &mut PgConnection) -> Result<Self::Answer, CallError> {
        let Self { swaps, sorted } = self;
        let states = column(sorted, swaps, |s| StateColumns::of(&s.record.state));
        fn each<'a, C>(
            states: &[StateColumns<'a>],
            value: impl Fn(&StateColumns<'a>) -> C,
        ) -> Vec<C> {
            states.iter().map(value).collect()
        }
        let rows = sqlx::query(include_str!("sql/compare_and_swap.sql"))
            .bind(buckets(sorted))
            .bind(digests(sorted))
            .bind(namespaces(sorted))
            .bind(keys(sorted))
            .bind(column(sorted, swaps, |s| s.expected_fence.as_i64()))
            .bind(column(sorted, swaps, |s| s.expected_revision))
            .bind(column(sorted, swaps, |s| uuid(&s.record.attempt_id)))
            .bind(column(sorted, swaps, |s| s.record.fence.as_i64()))
            .bind(column(sorted, swaps, |s| s.record.policy_id.as_i64()))
            .bind(column(sorted, swaps, |s| s.record.created_at.as_micros()))
            .bind(column(sorted, swaps, |s| s.record.claimed_at.as_micros()))
            .bind(each(&states, |s| s.lease_until_us))
            .bind(each(&states, |s| s.not_before_us))
            .bind(each(&states, |s| s.settled_at_us))
            .bind(each(&states, |s| s.expires_at_us))
            .bind(column(sorted, swaps, |s| s.record.revision))
            .bind(column(sorted, swaps, |s| stored_attempt(s.record.attempt)))
            .bind(each(&states, |s| s.state))
            .bind(column(sorted, swaps, |s| {
                &s.record.fingerprint.as_bytes()[..]
            }))
            .bind(column(sorted, swaps, |s| s.record.owner.as_str()))
            .bind(column(sorted, swaps, |s| s.record.traceparent.as_str()))
            .bind(column(sorted, swaps, |s| s.record.last_error.as_str()))
            .bind(each(&states, |s| s.result))
            .bind(column(sorted, swaps, |s| s.record.checkpoint.as_deref()))
            .bind(column(sorted, swaps, |s| s.record.delivery.as_deref()))
            .fetch_all(connection)
            .await?;
        let mut swapped = vec![false; swaps.len()];
        for row in rows {
            let (_, place) = sorted.numbered(row.try_get(0)?)?;
            swapped[place] = true;
        }
        Ok(swapped)
    }
}
