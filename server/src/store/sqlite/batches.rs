//! The four calls of the lane: rows in, one commit.

use std::sync::LazyLock;

use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

use super::{
    connection::{Read, Write},
    fault::CallError,
    template::Template,
};
use crate::{
    key::{Fence, KeyId, NewRecord, Record, Timestamp},
    store::{
        Clock, Completion, CorruptRow, Inserted, Loaded, StoreError, Swap,
        batch::Sorted,
        row::{StateColumns, StoredRow, stored_attempt},
    },
};

pub(super) static INSERT_IF_ABSENT: LazyLock<Template> =
    LazyLock::new(|| Template::new(include_str!("sql/insert_if_absent.sql")));
pub(super) static LOAD: LazyLock<Template> =
    LazyLock::new(|| Template::new(include_str!("sql/load.sql")));
pub(super) static COMPLETE_IF_HELD: LazyLock<Template> =
    LazyLock::new(|| Template::new(include_str!("sql/complete_if_held.sql")));
pub(super) static COMPARE_AND_SWAP: LazyLock<Template> =
    LazyLock::new(|| Template::new(include_str!("sql/compare_and_swap.sql")));

/// Sorted keys with their places.
fn in_order<'a>(sorted: &Sorted<'a>) -> Vec<(&'a KeyId, usize)> {
    sorted.keys().zip(sorted.places()).collect()
}

/// The place of a row that a statement gave back; its first three columns name the key.
fn place(sorted: &Sorted<'_>, row: &SqliteRow) -> Result<usize, CallError> {
    let id = KeyId::parse(row.try_get(1)?, row.try_get(2)?).map_err(StoreError::rejected)?;
    Ok(sorted.place_of(id.bucket(), id.digest())?)
}

pub(super) struct InsertIfAbsent<'a> {
    pub(super) records: &'a [&'a NewRecord],
    pub(super) sorted: Sorted<'a>,
}

impl Write for InsertIfAbsent<'_> {
    type Answer = Vec<Option<Inserted>>;

    fn is_one_statement(&self) -> bool {
        INSERT_IF_ABSENT.chunks(self.records.len()).len() == 1
    }

    async fn run(
        &self,
        connection: &mut SqliteConnection,
        now: Timestamp,
    ) -> Result<Self::Answer, CallError> {
        let items = in_order(&self.sorted);
        let mut inserted = vec![None; items.len()];
        for chunk in INSERT_IF_ABSENT.chunks(items.len()) {
            let mut query = sqlx::query(chunk.sql).bind(now.as_micros());
            for &(id, place) in &items[chunk.rows] {
                let record = self.records[place];
                query = query
                    .bind(id.bucket())
                    .bind(id.namespace().as_str())
                    .bind(id.key().as_str())
                    .bind(&record.attempt_id.as_bytes()[..])
                    .bind(record.policy_id.as_i64())
                    .bind(&record.fingerprint.as_bytes()[..])
                    .bind(record.owner.as_str())
                    .bind(record.traceparent.as_str())
                    .bind(record.lease.as_micros())
                    .bind(record.sweep_after.as_micros())
                    .bind(record.insert_until.as_micros())
                    .bind(record.delivery.as_deref());
            }
            for row in query.fetch_all(&mut *connection).await? {
                inserted[place(&self.sorted, &row)?] = Some(Inserted {
                    fence: Fence::from_i64(row.try_get(3)?),
                    now: Timestamp::from_micros(row.try_get(4)?),
                });
            }
        }
        Ok(inserted)
    }
}

pub(super) struct Load<'a> {
    pub(super) clock: &'a Clock,
    pub(super) sorted: Sorted<'a>,
}

impl Read for Load<'_> {
    type Answer = Loaded;

    async fn run(&self, connection: &mut SqliteConnection) -> Result<Loaded, CallError> {
        let now = self.clock.now_here();
        let items = in_order(&self.sorted);
        let mut records = vec![None; items.len()];
        for chunk in LOAD.chunks(items.len()) {
            let mut query = sqlx::query(chunk.sql);
            for (n, &(id, _)) in chunk.rows.clone().zip(&items[chunk.rows]) {
                query = query
                    .bind(n as i32 + 1)
                    .bind(id.bucket())
                    .bind(id.namespace().as_str())
                    .bind(id.key().as_str());
            }
            for row in query.fetch_all(&mut *connection).await? {
                let (id, place) = self.sorted.numbered(row.try_get(0)?)?;
                records[place] = Some(record(id, &row)?);
            }
        }
        Ok(Loaded { now, records })
    }
}

fn record(id: &KeyId, row: &SqliteRow) -> Result<Record, CallError> {
    let attempt_id: &[u8] = row.try_get(1)?;
    let attempt_id = attempt_id
        .try_into()
        .map_err(|_| StoreError::rejected(CorruptRow::new(id, "attempt_id has not 16 bytes")))?;
    let stored = StoredRow {
        attempt_id,
        fence: row.try_get(2)?,
        policy_id: row.try_get(3)?,
        created_at_us: row.try_get(4)?,
        claimed_at_us: row.try_get(5)?,
        lease_until_us: row.try_get(6)?,
        not_before_us: row.try_get(7)?,
        settled_at_us: row.try_get(8)?,
        expires_at_us: row.try_get(9)?,
        revision: row.try_get(10)?,
        attempt: row.try_get(11)?,
        state: row.try_get(12)?,
        fingerprint: row.try_get(13)?,
        owner: row.try_get(14)?,
        traceparent: row.try_get(15)?,
        last_error: row.try_get(16)?,
        result: row.try_get(17)?,
        checkpoint: row.try_get(18)?,
        delivery: row.try_get(19)?,
    };
    Ok(stored.into_record(id).map_err(StoreError::rejected)?)
}

pub(super) struct CompleteIfHeld<'a> {
    pub(super) completions: &'a [Completion<'a>],
    pub(super) sorted: Sorted<'a>,
}

impl Write for CompleteIfHeld<'_> {
    type Answer = Vec<Option<Timestamp>>;

    fn is_one_statement(&self) -> bool {
        COMPLETE_IF_HELD.chunks(self.completions.len()).len() == 1
    }

    async fn run(
        &self,
        connection: &mut SqliteConnection,
        now: Timestamp,
    ) -> Result<Self::Answer, CallError> {
        let items = in_order(&self.sorted);
        let mut completed = vec![None; items.len()];
        for chunk in COMPLETE_IF_HELD.chunks(items.len()) {
            let mut query = sqlx::query(chunk.sql).bind(now.as_micros());
            for &(id, place) in &items[chunk.rows] {
                let completion = &self.completions[place];
                query = query
                    .bind(id.bucket())
                    .bind(id.namespace().as_str())
                    .bind(id.key().as_str())
                    .bind(completion.token.fence.as_i64())
                    .bind(&completion.token.attempt_id.as_bytes()[..])
                    .bind(completion.token.policy_id.as_i64())
                    .bind(completion.retention.as_micros())
                    .bind(&completion.result[..]);
            }
            for row in query.fetch_all(&mut *connection).await? {
                completed[place(&self.sorted, &row)?] =
                    Some(Timestamp::from_micros(row.try_get(3)?));
            }
        }
        Ok(completed)
    }
}

pub(super) struct CompareAndSwap<'a> {
    pub(super) swaps: &'a [Swap<'a>],
    pub(super) sorted: Sorted<'a>,
}

impl Write for CompareAndSwap<'_> {
    type Answer = Vec<bool>;

    fn is_one_statement(&self) -> bool {
        COMPARE_AND_SWAP.chunks(self.swaps.len()).len() == 1
    }

    async fn run(
        &self,
        connection: &mut SqliteConnection,
        _now: Timestamp,
    ) -> Result<Self::Answer, CallError> {
        let items = in_order(&self.sorted);
        let mut swapped = vec![false; items.len()];
        for chunk in COMPARE_AND_SWAP.chunks(items.len()) {
            let mut query = sqlx::query(chunk.sql);
            for &(id, place) in &items[chunk.rows] {
                let swap = &self.swaps[place];
                let record = swap.record;
                let state = StateColumns::of(&record.state);
                query = query
                    .bind(id.bucket())
                    .bind(id.namespace().as_str())
                    .bind(id.key().as_str())
                    .bind(swap.expected_fence.as_i64())
                    .bind(swap.expected_revision)
                    .bind(&record.attempt_id.as_bytes()[..])
                    .bind(record.fence.as_i64())
                    .bind(record.policy_id.as_i64())
                    .bind(record.created_at.as_micros())
                    .bind(record.claimed_at.as_micros())
                    .bind(state.lease_until_us)
                    .bind(state.not_before_us)
                    .bind(state.settled_at_us)
                    .bind(state.expires_at_us)
                    .bind(record.revision)
                    .bind(stored_attempt(record.attempt))
                    .bind(state.state)
                    .bind(&record.fingerprint.as_bytes()[..])
                    .bind(record.owner.as_str())
                    .bind(record.traceparent.as_str())
                    .bind(record.last_error.as_str())
                    .bind(state.result)
                    .bind(record.checkpoint.as_deref())
                    .bind(record.delivery.as_deref());
            }
            for row in query.fetch_all(&mut *connection).await? {
                swapped[place(&self.sorted, &row)?] = true;
            }
        }
        Ok(swapped)
    }
}
