//! What the lane reads.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::{fault::CallError, key_index::Keys};
use crate::{
    key::{KeyId, Timestamp},
    store::{CorruptRow, Loaded, StoreError, row::StoredRow},
};

/// What stands under each key, in the caller's order.
pub(super) fn load(
    transaction: &Transaction<'_>,
    keys: &mut Keys<'_>,
    now: Timestamp,
    ids: &[KeyId],
) -> Result<Loaded, CallError> {
    let mut load = transaction.prepare_cached(include_str!("sql/load.sql"))?;
    let mut records = Vec::with_capacity(ids.len());
    for id in ids {
        let Some(record_id) = keys.find(id.digest())? else {
            records.push(None);
            continue;
        };
        let names = params![record_id, id.namespace().as_str(), id.key().as_str()];
        let stored = load.query_one(names, stored).optional();
        let record = stored
            .map_err(|error| of_row(id, error))?
            .map(|stored| stored.into_record(id))
            .transpose();
        records.push(record.map_err(StoreError::rejected)?);
    }
    Ok(Loaded { now, records })
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredRow> {
    Ok(StoredRow {
        attempt_id: row.get(0)?,
        fence: row.get(1)?,
        policy_id: row.get(2)?,
        created_at_us: row.get(3)?,
        claimed_at_us: row.get(4)?,
        lease_until_us: row.get(5)?,
        not_before_us: row.get(6)?,
        settled_at_us: row.get(7)?,
        expires_at_us: row.get(8)?,
        revision: row.get(9)?,
        attempt: row.get(10)?,
        state: row.get(11)?,
        fingerprint: row.get(12)?,
        owner: row.get(13)?,
        traceparent: row.get(14)?,
        last_error: row.get(15)?,
        result: row.get(16)?,
        checkpoint: row.get(17)?,
        delivery: row.get(18)?,
    })
}

/// A value that cannot be read is the row's fault, and no reason to doubt the engine.
fn of_row(id: &KeyId, error: rusqlite::Error) -> CallError {
    match error {
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::Utf8Error(..) => {
            StoreError::rejected(CorruptRow::new(id, error.to_string())).into()
        }
        error => error.into(),
    }
}
