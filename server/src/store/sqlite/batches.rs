//! What the lane writes: rows in, one commit.
//!
//! One statement a row, prepared once: SQLite takes no arrays, and a statement over many rows costs it
//! more than so many statements. The items are the batch's own, since the thread that writes may
//! outlive whoever asked.

use bytes::Bytes;
use rusqlite::{OptionalExtension, Transaction, params};

use super::{fault::CallError, key_index::Keys};
use crate::{
    key::{Fence, KeyId, NewRecord, Record, Span, Timestamp, Token},
    store::{
        Completed, Completion, Inserted, Swap,
        row::{StateColumns, stored_attempt},
    },
};

/// First claims, in the caller's order.
pub(super) fn insert_if_absent(
    transaction: &Transaction<'_>,
    keys: &mut Keys<'_>,
    now: Timestamp,
    records: &[NewRecord],
) -> Result<Vec<Option<Inserted>>, CallError> {
    let floor = transaction
        .prepare_cached(include_str!("sql/fence_floor.sql"))?
        .query_one([], |row| row.get(0))?;
    // The write lock is held: the floor stays as it is until these rows stand.
    let fence = Fence::from_i64(floor).next(now);
    let mut insert = transaction.prepare_cached(include_str!("sql/insert_if_absent.sql"))?;
    let mut inserted = Vec::with_capacity(records.len());
    for record in records {
        let digest = record.id.digest();
        if record.insert_until < now || keys.is_taken(digest)? {
            inserted.push(None);
            continue;
        }
        insert.execute(params![
            keys.insert(digest),
            digest,
            record.id.namespace().as_str(),
            record.id.key().as_str(),
            record.attempt_id.as_bytes(),
            fence.as_i64(),
            record.policy_id.as_i64(),
            now.as_micros(),
            (now + record.sweep_after).as_micros(),
            (now + record.lease).as_micros(),
            &record.fingerprint.as_bytes()[..],
            record.owner,
            record.traceparent,
            record.delivery.as_deref(),
        ])?;
        inserted.push(Some(Inserted { fence, now }));
    }
    Ok(inserted)
}

/// A completion that is its own.
pub(super) struct OwnCompletion {
    id: KeyId,
    token: Token,
    result: Bytes,
    retention: Span,
}

impl From<&Completion<'_>> for OwnCompletion {
    fn from(completion: &Completion<'_>) -> Self {
        Self {
            id: completion.id.clone(),
            token: *completion.token,
            result: completion.result.clone(),
            retention: completion.retention,
        }
    }
}

/// Completions, in the caller's order.
pub(super) fn complete_if_held(
    transaction: &Transaction<'_>,
    keys: &mut Keys<'_>,
    now: Timestamp,
    completions: &[OwnCompletion],
) -> Result<Vec<Option<Completed>>, CallError> {
    let mut complete = transaction.prepare_cached(include_str!("sql/complete_if_held.sql"))?;
    let mut completed = Vec::with_capacity(completions.len());
    for completion in completions {
        let Some(record_id) = keys.find(completion.id.digest())? else {
            completed.push(None);
            continue;
        };
        let values = params![
            record_id,
            completion.id.namespace().as_str(),
            completion.id.key().as_str(),
            completion.token.fence.as_i64(),
            completion.token.attempt_id.as_bytes(),
            completion.token.policy_id.as_i64(),
            &completion.result[..],
            now.as_micros(),
            (now + completion.retention).as_micros(),
        ];
        let done = complete.query_one(values, |row| Ok((row.get(0)?, row.get(1)?)));
        completed.push(done.optional()?.map(|(lease_until_us, attempt)| {
            Completed::from_columns(now, lease_until_us, attempt)
        }));
    }
    Ok(completed)
}

/// A swap that is its own.
pub(super) struct OwnSwap {
    id: KeyId,
    expected_fence: Fence,
    expected_revision: i32,
    record: Record,
}

impl From<&Swap<'_>> for OwnSwap {
    fn from(swap: &Swap<'_>) -> Self {
        Self {
            id: swap.id.clone(),
            expected_fence: swap.expected_fence,
            expected_revision: swap.expected_revision,
            record: swap.record.clone(),
        }
    }
}

/// Swaps, in the caller's order.
pub(super) fn compare_and_swap(
    transaction: &Transaction<'_>,
    keys: &mut Keys<'_>,
    swaps: &[OwnSwap],
) -> Result<Vec<bool>, CallError> {
    let mut swap_in = transaction.prepare_cached(include_str!("sql/compare_and_swap.sql"))?;
    let mut swapped = Vec::with_capacity(swaps.len());
    for swap in swaps {
        let Some(record_id) = keys.find(swap.id.digest())? else {
            swapped.push(false);
            continue;
        };
        let record = &swap.record;
        let state = StateColumns::of(&record.state);
        let done = swap_in.execute(params![
            record_id,
            swap.id.namespace().as_str(),
            swap.id.key().as_str(),
            swap.expected_fence.as_i64(),
            swap.expected_revision,
            record.attempt_id.as_bytes(),
            record.fence.as_i64(),
            record.policy_id.as_i64(),
            record.created_at.as_micros(),
            record.claimed_at.as_micros(),
            state.lease_until_us,
            state.not_before_us,
            state.settled_at_us,
            state.expires_at_us,
            record.revision,
            stored_attempt(record.attempt),
            state.state,
            &record.fingerprint.as_bytes()[..],
            record.owner,
            record.traceparent,
            record.last_error,
            state.result,
            record.checkpoint.as_deref(),
            record.delivery.as_deref(),
        ])? == 1;
        swapped.push(done);
    }
    Ok(swapped)
}
