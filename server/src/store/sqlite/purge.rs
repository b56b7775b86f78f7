//! The purge: takes a turn, deletes what is past its retention, postpones the rest; in one
//! transaction of the one writer, so it is small, and lanes wait for it.

use rusqlite::{Transaction, params};

use super::{
    fault::CallError,
    key_index::{Keys, RecordId},
};
use crate::{
    key::{KeyDigest, Timestamp},
    store::{Purged, SWEEP_EVERY, sweep::POSTPONE_AT_LEAST},
};

/// A record to look at.
struct Due {
    id: RecordId,
    digest: KeyDigest,
    namespace: String,
    key: String,
    fence: i64,
    is_expired: bool,
}

/// One turn, of so many records at most.
pub(super) fn purge(
    transaction: &Transaction<'_>,
    keys: &mut Keys<'_>,
    now: Timestamp,
    limit: u32,
) -> Result<Purged, CallError> {
    let turn: Option<(i16, i64)> = transaction
        .prepare_cached(include_str!("sql/buckets_due.sql"))?
        .query_map([now.as_micros(), SWEEP_EVERY.as_micros()], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .next()
        .transpose()?;
    let Some((bucket, sweep_at_us)) = turn else {
        return Ok(Purged::default());
    };
    let due = due(transaction, now, limit)?;
    let more = due.len() >= limit as usize;
    let (expired, live): (Vec<Due>, Vec<Due>) = due.into_iter().partition(|due| due.is_expired);
    let purged = Purged {
        deleted: delete(transaction, keys, now, &expired)?,
        postponed: postpone(transaction, now, &live)?,
        more,
        swept: true,
    };
    let by_us = if more { 0 } else { SWEEP_EVERY.as_micros() };
    transaction
        .prepare_cached(include_str!("sql/take_bucket.sql"))?
        .execute(params![now.as_micros(), by_us, bucket, sweep_at_us])?;
    Ok(purged)
}

fn due(transaction: &Transaction<'_>, now: Timestamp, limit: u32) -> Result<Vec<Due>, CallError> {
    let due = transaction
        .prepare_cached(include_str!("sql/due.sql"))?
        .query_map(params![now.as_micros(), limit], |row| {
            Ok(Due {
                id: row.get(0)?,
                digest: row.get(1)?,
                namespace: row.get(2)?,
                key: row.get(3)?,
                fence: row.get(4)?,
                is_expired: row.get(5)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(due)
}

fn delete(
    transaction: &Transaction<'_>,
    keys: &mut Keys<'_>,
    now: Timestamp,
    expired: &[Due],
) -> Result<u64, CallError> {
    let Some(greatest) = expired.iter().map(|due| due.fence).max() else {
        return Ok(0);
    };
    transaction
        .prepare_cached(include_str!("sql/raise_fence_floor.sql"))?
        .execute([greatest])?;
    let mut delete = transaction.prepare_cached(include_str!("sql/delete_expired.sql"))?;
    let mut deleted = 0;
    for due in expired {
        let names = params![due.id, due.namespace, due.key, due.fence, now.as_micros()];
        if delete.execute(names)? == 1 {
            keys.delete(&due.digest, due.id);
            deleted += 1;
        }
    }
    Ok(deleted)
}

fn postpone(transaction: &Transaction<'_>, now: Timestamp, live: &[Due]) -> Result<u64, CallError> {
    let mut postpone = transaction.prepare_cached(include_str!("sql/postpone.sql"))?;
    let mut postponed = 0;
    for due in live {
        postponed += postpone.execute(params![
            due.id,
            due.namespace,
            due.key,
            now.as_micros(),
            POSTPONE_AT_LEAST.as_micros()
        ])? as u64;
    }
    Ok(postponed)
}
