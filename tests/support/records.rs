//! Records of every kind, and how to put them into a store.

use bytes::Bytes;
use semel_server::{
    key::{
        Fence, Fingerprint, KeyId, NewRecord, PolicyId, Record, Settled, State, Timestamp, Token,
    },
    store::{Completion, Inserted, Loaded, SharedStore, Swap},
};

use crate::{LEASE, RETENTION, at, attempt, order, policy, settings};

/// The id of the policy of `orders`.
pub fn policy_id() -> PolicyId {
    policy(settings()).id()
}

/// `count` keys of `orders`, which are `prefix` and a number.
pub fn orders(prefix: &str, count: usize) -> Vec<KeyId> {
    (0..count).map(|n| order(&format!("{prefix}{n}"))).collect()
}

/// Attempt `n`'s first claim of a key.
pub fn new_record(id: &KeyId, n: u128) -> NewRecord {
    NewRecord {
        id: id.clone(),
        attempt_id: attempt(n),
        policy_id: policy_id(),
        fingerprint: Fingerprint::default(),
        owner: format!("worker-{n}"),
        traceparent: format!("trace-{n}"),
        lease: LEASE,
        sweep_after: RETENTION.plus(LEASE),
        insert_until: Timestamp::MAX,
        delivery: None,
    }
}

/// A record with something in every field.
pub fn record(state: State) -> Record {
    Record {
        attempt_id: attempt(7),
        fence: Fence::from_i64(at(5).as_micros()),
        revision: 3,
        attempt: 2,
        policy_id: policy_id(),
        fingerprint: Fingerprint::from_stored(Bytes::from_static(b"print")),
        owner: "pod-1".into(),
        traceparent: "00-aa-bb-01".into(),
        created_at: at(1),
        claimed_at: at(5),
        state,
        last_error: "timeout".into(),
        checkpoint: Some(Bytes::from_static(b"page 7")),
        delivery: Some(Bytes::from_static(b"POST /")),
    }
}

/// Settled now, kept for the retention of the tests' namespaces.
pub fn settled() -> Settled {
    Settled {
        at: at(6),
        expires_at: at(6) + RETENTION,
    }
}

/// In progress until ten seconds after the start.
pub fn in_progress() -> State {
    State::InProgress {
        lease_until: at(10),
    }
}

/// Completed with this result.
pub fn completed(result: impl Into<Bytes>) -> State {
    State::Completed {
        result: result.into(),
        settled: settled(),
    }
}

/// Failed for good with this result.
pub fn failed(result: impl Into<Bytes>) -> State {
    State::Failed {
        result: result.into(),
        settled: settled(),
    }
}

/// Resting until twenty seconds after the start.
pub fn resting() -> State {
    State::Retryable {
        not_before: at(20),
        settled: settled(),
    }
}

/// Dead.
pub fn dead() -> State {
    State::Dead { settled: settled() }
}

/// Uncertain.
pub fn uncertain() -> State {
    State::Uncertain { since: at(6) }
}

/// Puts `record` under a key that has none.
pub async fn plant(store: &SharedStore, id: &KeyId, record: &Record) {
    let new = new_record(id, 1);
    let inserted = insert(store, &new).await.expect("nothing stands there yet");
    let planted = swap(store, id, (inserted.fence, 1), record).await;
    assert!(planted, "nobody else touches the key");
}

/// Inserts one record.
pub async fn insert(store: &SharedStore, new: &NewRecord) -> Option<Inserted> {
    insert_all(store, std::slice::from_ref(new)).await[0]
}

/// Inserts a batch.
pub async fn insert_all(store: &SharedStore, new: &[NewRecord]) -> Vec<Option<Inserted>> {
    let batch: Vec<_> = new.iter().collect();
    let inserted = store.insert_if_absent(0, &batch).await.expect("inserts");
    assert_eq!(inserted.len(), new.len(), "every item is answered");
    inserted
}

/// Replaces one record.
pub async fn swap(
    store: &SharedStore,
    id: &KeyId,
    (expected_fence, expected_revision): (Fence, i32),
    record: &Record,
) -> bool {
    let swap = Swap {
        id,
        expected_fence,
        expected_revision,
        record,
    };
    let swapped = store.compare_and_swap(0, &[swap]).await.expect("swaps");
    assert_eq!(swapped.len(), 1, "every item is answered");
    swapped[0]
}

/// Completes one claim blindly.
pub async fn complete_held(
    store: &SharedStore,
    id: &KeyId,
    token: &Token,
    result: impl Into<Bytes>,
) -> Option<Timestamp> {
    let completion = Completion {
        id,
        token,
        result: &result.into(),
        retention: RETENTION,
    };
    let completed = store.complete_if_held(0, &[completion]).await;
    let completed = completed.expect("completes");
    assert_eq!(completed.len(), 1, "every item is answered");
    completed[0].map(|completed| completed.at)
}

/// Loads many keys.
pub async fn load(store: &SharedStore, ids: &[KeyId]) -> Loaded {
    let keys: Vec<_> = ids.iter().collect();
    let loaded = store.load(0, &keys).await.expect("loads");
    assert_eq!(loaded.records.len(), ids.len(), "every key is answered");
    loaded
}
