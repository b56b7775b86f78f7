//! Which record a key has.
//!
//! An index that SQLite keeps would have each claim write a page of it at random: 4 KiB to the WAL and
//! later to the file, ten times the record itself. So the digests of the newest records are kept here,
//! in memory, and go to the index's table later and in order of digest, so many at a time that one
//! page takes several of them. The commit that inserts records does that for older ones.
//!
//! The table and the memory are one index: a digest is in one of them, and in the file both are what
//! the last commit made them. The memory belongs to its connection and changes when a transaction has
//! been committed, never before. A new connection, and so each start, finds what the table lacks by
//! the ids: every record below `indexed_below` is in the table. For that, digests are moved in rounds
//! through all of them; what stood when a round began has been moved when it ends.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

use rusqlite::{CachedStatement, Connection, ErrorCode, OptionalExtension, Transaction, params};

use super::fault::CallError;
use crate::{key::KeyDigest, store::StoreError};

/// How many digests stay in memory, after a burst too: about 3 MiB. With a million records in the
/// table, one of its pages then takes some 20 digests at once; and a start reads at most about four
/// times as many records as this.
pub(super) const KEPT: usize = 65_536;

/// Which part of them is moved at once, at least: so small commits do not each write pages for one.
const MOVED_PART: usize = 256;

/// A record's number in its table.
pub(super) type RecordId = i64;

/// What the table says and the records do not, or the other way round: the file was changed by hand,
/// or damaged.
#[derive(Debug, thiserror::Error)]
#[error("the index is broken: record {0} stands under a digest that has another")]
struct TwoRecords(RecordId);

/// The part in memory, as the last commit left it.
#[derive(Debug)]
pub(super) struct KeyIndex {
    /// How many stay.
    kept: usize,
    recent: BTreeMap<KeyDigest, RecordId>,
    /// The digest that was moved last; the next ones are behind it.
    cursor: KeyDigest,
    /// The next id when this round began. Records with lower ones are in the table when it ends.
    round_from: RecordId,
    next_id: RecordId,
}

/// What a transaction does to the part in memory.
#[derive(Debug, Default)]
pub(super) struct Changes {
    inserted: Vec<(KeyDigest, RecordId)>,
    /// In the order of the cursor.
    moved: Vec<KeyDigest>,
    deleted: Vec<KeyDigest>,
    /// Whether the last digest was passed, and a new round has begun.
    is_new_round: bool,
}

impl KeyIndex {
    /// Finds what the table lacks. Writes nothing.
    pub(super) fn read(connection: &Connection, kept: usize) -> Result<Self, CallError> {
        let (indexed_below, next_id): (RecordId, RecordId) = connection
            .prepare_cached(include_str!("sql/index_state.sql"))?
            .query_one([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut recent = BTreeMap::new();
        let mut unindexed = connection.prepare_cached(include_str!("sql/unindexed.sql"))?;
        let mut rows = unindexed.query([indexed_below])?;
        while let Some(row) = rows.next()? {
            let (digest, id, indexed): (_, _, Option<RecordId>) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            let is_alone = match indexed {
                Some(indexed) => indexed == id,
                None => recent.insert(digest, id).is_none(),
            };
            if !is_alone {
                return Err(StoreError::unavailable(TwoRecords(id)).into());
            }
        }
        Ok(Self {
            kept,
            recent,
            cursor: KeyDigest::default(),
            round_from: next_id,
            next_id,
        })
    }

    /// Does what a transaction did, once it is committed.
    pub(super) fn apply(&mut self, changes: Changes) {
        let Changes {
            inserted,
            moved,
            deleted,
            is_new_round,
        } = changes;
        if is_new_round {
            self.round_from = self.next_id;
        }
        if let Some(last) = moved.last() {
            self.cursor = *last;
        }
        for digest in moved.iter().chain(&deleted) {
            self.recent.remove(digest);
        }
        self.next_id += inserted.len() as RecordId;
        self.recent.extend(inserted);
    }

    /// The next `count` digests at most behind the cursor, and whether the last one was passed.
    fn next_to_move(&self, count: usize) -> (Vec<(KeyDigest, RecordId)>, bool) {
        let behind = self.recent.range((Excluded(self.cursor), Unbounded));
        let mut next: Vec<_> = behind.take(count).map(|(it, id)| (*it, *id)).collect();
        let is_new_round = next.len() < count;
        if is_new_round {
            let before = self.recent.range(..=self.cursor);
            next.extend(before.take(count - next.len()).map(|(it, id)| (*it, *id)));
        }
        (next, is_new_round)
    }
}

/// The index within one transaction.
pub(super) struct Keys<'t> {
    transaction: &'t Transaction<'t>,
    find: CachedStatement<'t>,
    index: &'t KeyIndex,
    /// What the memory has and no record, so that it does not go to the table after all. The cursor
    /// passes it like any other.
    gone: Vec<KeyDigest>,
    changes: Changes,
}

impl<'t> Keys<'t> {
    pub(super) fn new(
        transaction: &'t Transaction<'t>,
        index: &'t KeyIndex,
    ) -> rusqlite::Result<Self> {
        Ok(Self {
            transaction,
            find: transaction.prepare_cached(include_str!("sql/find_record.sql"))?,
            index,
            gone: Vec::new(),
            changes: Changes::default(),
        })
    }

    /// The record under a digest, as the transaction found it: its own inserts are not seen. The
    /// record may be another key's of the same digest, or have been deleted by hand.
    pub(super) fn find(&mut self, digest: &KeyDigest) -> rusqlite::Result<Option<RecordId>> {
        if let Some(id) = self.index.recent.get(digest) {
            return Ok(Some(*id));
        }
        self.find.query_one([digest], |row| row.get(0)).optional()
    }

    /// Whether a record stands under a digest. If not, no entry of it is left in the table.
    pub(super) fn is_taken(&mut self, digest: &KeyDigest) -> rusqlite::Result<bool> {
        let Some(id) = self.find(digest)? else {
            return Ok(false);
        };
        let is_there = self
            .transaction
            .prepare_cached(include_str!("sql/is_record.sql"))?
            .exists(params![id, digest])?;
        if !is_there {
            // Somebody deleted it by hand while a server had it in memory, from where it may have gone
            // to the table.
            self.transaction
                .prepare_cached(include_str!("sql/unindex_record.sql"))?
                .execute(params![digest, id])?;
            self.gone.push(*digest);
        }
        Ok(is_there)
    }

    /// The id for a record that this transaction inserts under a digest that is not taken.
    pub(super) fn insert(&mut self, digest: &KeyDigest) -> RecordId {
        let id = self.index.next_id + self.changes.inserted.len() as RecordId;
        self.changes.inserted.push((*digest, id));
        id
    }

    /// Notes that this transaction deletes a record; the table's entry goes with it by itself.
    pub(super) fn delete(&mut self, digest: &KeyDigest, id: RecordId) {
        if self.index.recent.get(digest) == Some(&id) {
            self.changes.deleted.push(*digest);
        }
    }

    /// Moves older digests to the table in place of those that were inserted, and ends the work on
    /// the index.
    pub(super) fn finish(mut self) -> Result<Changes, CallError> {
        let inserted = self.changes.inserted.len();
        let KeyIndex { kept, recent, .. } = self.index;
        let over = (recent.len() + inserted).saturating_sub(*kept);
        if inserted > 0 && over > kept / MOVED_PART {
            self.move_to_table(over)?;
        }
        Ok(self.changes)
    }

    fn move_to_table(&mut self, count: usize) -> Result<(), CallError> {
        let (next, is_new_round) = self.index.next_to_move(count);
        let mut add = self
            .transaction
            .prepare_cached(include_str!("sql/index_record.sql"))?;
        for (digest, id) in &next {
            if self.gone.contains(digest) {
                continue;
            }
            add.execute(params![digest, id])
                .map_err(|error| broken_or(error, *id))?;
        }
        if is_new_round {
            self.transaction
                .prepare_cached(include_str!("sql/set_indexed_below.sql"))?
                .execute([self.index.round_from])?;
        }
        self.changes.moved = next.into_iter().map(|(digest, _)| digest).collect();
        self.changes.is_new_round = is_new_round;
        Ok(())
    }
}

/// An entry that is there already is no fault of what was sent.
fn broken_or(error: rusqlite::Error, id: RecordId) -> CallError {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => StoreError::unavailable(TwoRecords(id)).into(),
        _ => error.into(),
    }
}
