//! How many keys are in which state: counted part by part, in the order in which the store keeps them.
//!
//! No index tells the states: one with the state in it would cost every completion an entry, and
//! these have to be HOT updates. So the table is read through, a few megabytes at a time and with long
//! rests. What changes meanwhile is counted as it was when it was passed, or twice, or not at all.

use crate::key::{Namespace, PolicyId, Timestamp};

use super::StoreError;

/// Where the next part begins. The default is the beginning of a census.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CensusPlace {
    /// A block of the table, or a record's number.
    pub(super) at: i64,
    /// Where the table ended when the census began: what has come since is the next one's, or it would
    /// never end where much comes. `None` at the beginning.
    pub(super) end: Option<i64>,
    /// How many records the part is to have, where its store goes by that; 0: as many as usual.
    pub(super) records: u32,
}

/// One part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CensusPart {
    /// The store's time when it was counted.
    pub now: Timestamp,
    /// What was counted. A group may come again in the next part.
    pub groups: Vec<CensusGroup>,
    /// Where to go on; `None` at the end.
    pub next: Option<CensusPlace>,
}

/// Keys of one namespace and policy that stand alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CensusGroup {
    /// Their namespace.
    pub namespace: Namespace,
    /// The policy that they were claimed under.
    pub policy: PolicyId,
    /// How they stand.
    pub stands: Stands,
    /// How many.
    pub count: u64,
    /// Since when the first of them stands so.
    pub oldest: Timestamp,
}

/// How a key stands, as far as the store can tell without the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stands {
    /// Past its retention, and not purged yet; since then.
    Expired,
    /// In progress, and its lease has lapsed; since then.
    Lapsed,
    /// In progress; since the claim.
    InProgress,
    /// Carried out; since it was settled, and so are the ones below.
    Completed,
    /// Failed for good.
    Failed,
    /// The last attempt failed.
    BackingOff,
    /// Its attempts are used up.
    Dead,
    /// The holder said that nobody knows.
    Uncertain,
}

/// What the statements say of the first two; the others are the stored states' numbers.
const EXPIRED: i64 = 0;
const LAPSED: i64 = -1;

#[derive(Debug, thiserror::Error)]
#[error("the state {0} is none of ours")]
struct Unknown(i64);

impl CensusGroup {
    /// From the columns of `sql/census.sql`, in their order.
    pub(super) fn from_columns(
        namespace: &str,
        policy_id: i64,
        stands: i64,
        count: i64,
        oldest_us: i64,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            namespace: Namespace::from_stored(namespace).map_err(StoreError::rejected)?,
            policy: PolicyId::from_i64(policy_id),
            stands: match stands {
                EXPIRED => Stands::Expired,
                LAPSED => Stands::Lapsed,
                1 => Stands::InProgress,
                2 => Stands::Completed,
                3 => Stands::Failed,
                4 => Stands::BackingOff,
                5 => Stands::Dead,
                6 => Stands::Uncertain,
                other => return Err(StoreError::rejected(Unknown(other))),
            },
            count: u64::try_from(count).unwrap_or_default(),
            oldest: Timestamp::from_micros(oldest_us),
        })
    }
}
