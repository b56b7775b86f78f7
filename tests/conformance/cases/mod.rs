//! The cases, by theme. None of them knows which engine it runs on.

pub mod claim;
pub mod clock;
pub mod complete;
pub mod events;
pub mod fail;
pub mod guarantees;
pub mod hold;
pub mod limits_hold;
pub mod peers;
pub mod replay;
pub mod settle;
pub mod store_census;
pub mod store_complete;
pub mod store_insert;
pub mod store_keys;
pub mod store_load;
pub mod store_policies;
pub mod store_purge;
pub mod store_records;
pub mod store_swap;
pub mod takeover;
pub mod two_servers;
pub mod waiting;

// What the cases are told in.
use bytes::Bytes;
use semel_server::{
    key::{
        AttemptId, Fence, Fingerprint, KeyId, Memory, Namespace, NewRecord, PolicyId,
        PolicySettings, Record, Settled, Span, State, Timestamp, Token, limits,
        transition::{Claim, ClaimGrant, ClaimReply, Command, Outcome, Refusal, Reply},
    },
    lanes::LaneError,
    policies::Policies,
    store::{Completed, Completion, Inserted, NamespaceRow, SWEEP_EVERY, StoreError, Swap},
};
use semel_tests::*;

/// A call of a holder, by its token.
type HolderCall = fn(Token) -> Command;

/// As many as a lane puts into one statement.
const LARGEST_BATCH: usize = 512;

/// Bytes that no compression makes shorter, the same each time.
fn noise(len: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len);
    for _ in 0..len {
        // Xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.push((state >> 32) as u8);
    }
    bytes.into()
}

/// Every call of a holder.
fn calls(token: Token) -> [Command; 6] {
    [
        complete(token, "late"),
        retryable(token),
        terminal(token, "late"),
        unknown(token),
        extend(token, None),
        checkpoint(token, "late"),
    ]
}

/// A key of `orders` whose first holder was superseded, with both tokens.
async fn superseded(house: &House, key: &str) -> (KeyId, Token, Token) {
    let id = order(key);
    let first = house.claimed(&id, 1).await.token;
    house.clock.advance(LEASE);
    let second = house.claimed(&id, 2).await.token;
    (id, first, second)
}
