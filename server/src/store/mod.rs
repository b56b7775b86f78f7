//! Where keys live. A store inserts, loads and compares-and-swaps; it decides nothing.
//!
//! # Contract
//! - Every call takes a batch and is **one commit**: durable when it returns `Ok`, and nothing of
//!   it applied when it returns [`StoreError::Rejected`]. After [`StoreError::Unavailable`] nobody
//!   knows, and the caller has to load and look.
//! - Within a batch a key stands once. The store sorts by primary key before it takes locks, so
//!   two servers' batches cannot wait for each other in a circle.
//! - Time is the store's: `clock_timestamp()` in Postgres, the host's clock for the embedded file.
//!   Tests inject [`Clock::Manual`].
//! - `lane` names a connection that nobody else uses. Calls on one lane come one after another.
//! - Futures may not be dropped half way: lanes run them to their end on their own tasks.

mod batch;
mod census;
mod clock;
mod error;
mod observed;
mod policy;
pub mod postgres;
mod row;
mod schema;
pub mod sqlite;
mod sweep;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub use census::{CensusGroup, CensusPart, CensusPlace, Stands};
pub use clock::{Clock, ManualClock};
pub use error::{OpenError, StoreError};
pub use observed::Observed;
pub use row::CorruptRow;
pub use sweep::SWEEP_EVERY;

use policy::PolicyTaken;

use crate::key::{
    Fence, KeyId, Memory, Namespace, NewRecord, PolicyId, Record, Span, Timestamp, Token,
};

/// A store shared by everything in the server.
pub type SharedStore = Arc<dyn Store>;

/// Keys, kept durably.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The engine, for logs and metrics: `postgres` or `sqlite`.
    fn engine(&self) -> &'static str;

    /// How many lanes may call at the same time. An engine with one writer has one.
    fn lanes(&self) -> usize;

    /// Inserts each record whose key has none, forgotten or not, and whose
    /// [`insert_until`](NewRecord::insert_until) has not passed. `None` for one that was not
    /// inserted. A key that stands already costs no write.
    async fn insert_if_absent(
        &self,
        lane: usize,
        records: &[&NewRecord],
    ) -> Result<Vec<Option<Inserted>>, StoreError>;

    /// Loads what stands under each key, forgotten or not, in the order of `keys`.
    async fn load(&self, lane: usize, keys: &[&KeyId]) -> Result<Loaded, StoreError>;

    /// Completes each claim that is still its holder's and neither settled nor superseded, in one
    /// blind statement: state, result and expiry (`now` + retention) are set, the delivery is
    /// dropped, the revision counted on. `None` where the guard held it back.
    async fn complete_if_held(
        &self,
        lane: usize,
        completions: &[Completion<'_>],
    ) -> Result<Vec<Option<Completed>>, StoreError>;

    /// Replaces each record whose fence and revision are still the expected ones. Whether it was.
    async fn compare_and_swap(
        &self,
        lane: usize,
        swaps: &[Swap<'_>],
    ) -> Result<Vec<bool>, StoreError>;

    /// Deletes up to `limit` records past their retention, and never one in progress or uncertain.
    ///
    /// Each call takes one of 64 turns that nobody has taken for a while. On Postgres a turn is a
    /// bucket, so that replicas share the work through the database, and runs on a connection of its
    /// own; the embedded store, which one server has to itself, takes what has waited longest.
    async fn purge(&self, limit: u32) -> Result<Purged, StoreError>;

    /// Counts the next part of all records by how they stand. `None` while another server on the
    /// store does, whose count holds for all.
    ///
    /// Cheap however many there are: a part is a few thousand records, read in the order in which
    /// they lie, and whoever counts rests in between.
    async fn census(&self, from: CensusPlace) -> Result<Option<CensusPart>, StoreError>;

    /// What became of the store's connections so far.
    fn connections(&self) -> Connections;

    /// Whether the store can be written to now.
    async fn ready(&self) -> Result<(), StoreError>;

    /// Every policy that was ever stored, by id, as canonical text.
    async fn policies(&self) -> Result<Vec<(PolicyId, String)>, StoreError>;

    /// Every namespace that has a policy of its own.
    async fn namespaces(&self) -> Result<Vec<NamespaceRow>, StoreError>;

    /// Stores a policy under its id, if it is new. Policies never change and are never deleted.
    async fn put_policy(&self, id: PolicyId, text: &str) -> Result<(), StoreError>;

    /// Gives a namespace a policy, now. `remembered_until_now` is the retention that held so far,
    /// given when the new one is longer. Then the namespace's memory is set to it until `now`; or
    /// to the one that stands, if that is shorter and claims made under it may still be here.
    async fn put_namespace(
        &self,
        namespace: &Namespace,
        policy: PolicyId,
        remembered_until_now: Option<Span>,
    ) -> Result<(), StoreError>;

    /// Ends the store's connections after the calls under way, and releases what it locks.
    async fn close(&self);
}

/// What became of a store's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Connections {
    /// How many there are now.
    pub open: u64,
    /// How many were ever made. More than there are means that some were lost and made again.
    pub opened: u64,
    /// How many could not be made.
    pub failed: u64,
}

/// A first claim that was inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inserted {
    /// The fence it got: the store's time, or more than any fence that was ever purged.
    pub fence: Fence,
    /// The store's time of the insert; lease and the rest count from here.
    pub now: Timestamp,
}

/// What was loaded, and when.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The store's time when the records were read.
    pub now: Timestamp,
    /// The records, in the order asked for.
    pub records: Vec<Option<Record>>,
}

/// A blind completion.
#[derive(Debug, Clone, Copy)]
pub struct Completion<'a> {
    /// The key.
    pub id: &'a KeyId,
    /// The guard: fence, attempt id and policy must be the record's, and the record in progress or
    /// uncertain.
    pub token: &'a Token,
    /// The result to keep.
    pub result: &'a Bytes,
    /// How long to keep it: the retention of the token's policy.
    pub retention: Span,
}

/// A blind completion that was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completed {
    /// When, by the store's clock.
    pub at: Timestamp,
    /// Whether the lease had lapsed by then, and nobody had taken over.
    pub is_late: bool,
    /// Whether the holder had said before that nobody knows.
    pub was_uncertain: bool,
    /// Which attempt it was.
    pub attempt: u32,
}

impl Completed {
    /// From what the statements give back of the row: when the lease was to end, null if it was
    /// uncertain, and the attempt.
    fn from_columns(at: Timestamp, lease_until_us: Option<i64>, attempt: i32) -> Self {
        let lease_until = lease_until_us.map(Timestamp::from_micros);
        Self {
            at,
            is_late: lease_until.is_some_and(|until| until <= at),
            was_uncertain: lease_until.is_none(),
            attempt: attempt.try_into().unwrap_or_default(),
        }
    }
}

/// A guarded replacement.
#[derive(Debug, Clone, Copy)]
pub struct Swap<'a> {
    /// The key.
    pub id: &'a KeyId,
    /// The fence that must still stand.
    pub expected_fence: Fence,
    /// The revision that must still stand.
    pub expected_revision: i32,
    /// What is to stand.
    pub record: &'a Record,
}

/// What one call of purge did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Purged {
    /// Records deleted.
    pub deleted: u64,
    /// Records looked at again later, because their retention has not passed.
    pub postponed: u64,
    /// Whether the bucket may hold more to do right now.
    pub more: bool,
    /// Whether there was any bucket to take; `false` when all were swept lately.
    pub swept: bool,
}

/// A namespace's policy, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceRow {
    /// The namespace.
    pub namespace: Namespace,
    /// Its policy.
    pub policy: PolicyId,
    /// What it may have forgotten although the policy says otherwise.
    pub memory: Memory,
}

impl NamespaceRow {
    /// From the columns of `sql/namespaces.sql`, in their order.
    fn from_columns(
        namespace: &str,
        policy_id: i64,
        shorter_until_us: i64,
        shorter_retention_us: i64,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            namespace: Namespace::from_stored(namespace).map_err(StoreError::rejected)?,
            policy: PolicyId::from_i64(policy_id),
            memory: Memory {
                shorter_until: Timestamp::from_micros(shorter_until_us),
                shorter_retention: Span::from_micros(shorter_retention_us),
            },
        })
    }
}
