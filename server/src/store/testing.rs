//! What both engines' tests share: builders, and a key's life from end to end.

use bytes::Bytes;

use super::{Completion, Inserted, ManualClock, SWEEP_EVERY, Store, Swap};
use crate::key::{
    AttemptId, Fingerprint, KeyId, Memory, Namespace, NewRecord, PolicyId, Record, Settled, Span,
    State, Timestamp, Token,
};

pub(super) const POLICY: PolicyId = PolicyId::from_i64(-77);
pub(super) const RETENTION: Span = Span::from_secs(60);
pub(super) const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

pub(super) fn id(key: &str) -> KeyId {
    KeyId::parse("orders", key).unwrap()
}

/// Keys `0..n`, with their prefix, in no order.
pub(super) fn ids(prefix: &str, n: usize) -> Vec<KeyId> {
    (0..n).map(|i| id(&format!("{prefix}-{i}"))).collect()
}

pub(super) fn claim(id: &KeyId) -> NewRecord {
    NewRecord {
        id: id.clone(),
        attempt_id: AttemptId::from_stored([7; 16]),
        policy_id: POLICY,
        fingerprint: Fingerprint::from_stored(Bytes::from_static(&[1; 32])),
        owner: "pod-1".into(),
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
        lease: Span::from_secs(30),
        sweep_after: RETENTION.plus(Span::from_secs(30)),
        insert_until: Timestamp::MAX,
        delivery: None,
    }
}

pub(super) async fn insert(store: &dyn Store, records: &[NewRecord]) -> Vec<Option<Inserted>> {
    let records: Vec<_> = records.iter().collect();
    store.insert_if_absent(0, &records).await.unwrap()
}

pub(super) async fn claim_all(store: &dyn Store, ids: &[KeyId]) -> Vec<Token> {
    let records: Vec<_> = ids.iter().map(claim).collect();
    let inserted = insert(store, &records).await;
    let tokens = records.into_iter().zip(inserted).map(|(record, inserted)| {
        let inserted = inserted.expect("nothing stood there");
        record.inserted(inserted.fence, inserted.now).token()
    });
    tokens.collect()
}

pub(super) async fn complete_all(
    store: &dyn Store,
    ids: &[KeyId],
    tokens: &[Token],
    result: &Bytes,
) -> Vec<Option<Timestamp>> {
    let completions: Vec<_> = ids
        .iter()
        .zip(tokens)
        .map(|(id, token)| Completion {
            id,
            token,
            result,
            retention: RETENTION,
        })
        .collect();
    let completed = store.complete_if_held(0, &completions).await.unwrap();
    let at = |done: Option<super::Completed>| done.map(|done| done.at);
    completed.into_iter().map(at).collect()
}

pub(super) async fn load(store: &dyn Store, id: &KeyId) -> Option<Record> {
    store.load(0, &[id]).await.unwrap().records.remove(0)
}

/// Replaces what stands, whatever it is.
pub(super) async fn replace(store: &dyn Store, id: &KeyId, record: &Record) -> bool {
    let standing = load(store, id).await.unwrap();
    let swap = Swap {
        id,
        expected_fence: standing.fence,
        expected_revision: standing.revision,
        record,
    };
    store.compare_and_swap(0, &[swap]).await.unwrap()[0]
}

/// Sweeps until every bucket has been swept; what was deleted and postponed.
pub(super) async fn purge_all(store: &dyn Store) -> (u64, u64) {
    let (mut deleted, mut postponed) = (0, 0);
    loop {
        let purged = store.purge(3).await.unwrap();
        deleted += purged.deleted;
        postponed += purged.postponed;
        if !purged.swept {
            return (deleted, postponed);
        }
    }
}

/// Every call once and in its corners, on an empty store whose clock shows [`START`].
pub(super) async fn a_key_lives(store: &dyn Store, clock: &ManualClock) {
    let [first, second] = [id("first"), id("second")];
    // Given out of order, with a key that must not be inserted any more.
    let late = NewRecord {
        insert_until: START - Span::from_micros(1),
        ..claim(&id("late"))
    };
    let delivered = NewRecord {
        delivery: Some(Bytes::from_static(b"body")),
        insert_until: START,
        ..claim(&second)
    };
    let inserted = insert(store, &[delivered.clone(), late, claim(&first)]).await;
    assert_eq!(inserted[1], None);
    for inserted in [inserted[0], inserted[2]] {
        let inserted = inserted.unwrap();
        assert_eq!(inserted.now, START);
        assert_eq!(inserted.fence.as_i64(), START.as_micros());
    }
    let stands = delivered
        .clone()
        .inserted(inserted[0].unwrap().fence, START);
    assert_eq!(insert(store, &[delivered]).await, [None]);

    clock.advance(Span::from_secs(1));
    let loaded = store
        .load(0, &[&second, &id("late"), &first])
        .await
        .unwrap();
    assert_eq!(loaded.now, clock.now());
    assert_eq!(loaded.records[0].as_ref(), Some(&stands));
    assert_eq!(loaded.records[1], None);
    assert!(loaded.records[2].is_some());
    let nothing = store.load(0, &[&id("late")]).await.unwrap();
    assert_eq!((nothing.now, nothing.records), (clock.now(), vec![None]));

    complete_guards(store, clock, &second, &stands).await;
    swap_guards(store, clock, &first).await;
}

async fn complete_guards(store: &dyn Store, clock: &ManualClock, id: &KeyId, stands: &Record) {
    let token = stands.token();
    let result = Bytes::from_static(b"paid");
    let strangers = [
        Token {
            fence: token.fence.next(Timestamp::MIN),
            ..token
        },
        Token {
            attempt_id: AttemptId::from_stored([8; 16]),
            ..token
        },
        Token {
            policy_id: PolicyId::from_i64(1),
            ..token
        },
    ];
    for stranger in strangers {
        let done = complete_all(store, std::slice::from_ref(id), &[stranger], &result).await;
        assert_eq!(done, [None], "{stranger:?}");
    }
    let done = complete_all(store, std::slice::from_ref(id), &[token], &result).await;
    assert_eq!(done, [Some(clock.now())]);
    let completed = Record {
        revision: 2,
        state: State::Completed {
            result: result.clone(),
            settled: Settled {
                at: clock.now(),
                expires_at: clock.now() + RETENTION,
            },
        },
        delivery: None,
        ..stands.clone()
    };
    assert_eq!(load(store, id).await, Some(completed.clone()));
    let again = complete_all(store, std::slice::from_ref(id), &[token], &result).await;
    assert_eq!(again, [None]);
    assert_eq!(load(store, id).await, Some(completed));
}

async fn swap_guards(store: &dyn Store, clock: &ManualClock, id: &KeyId) {
    let stands = load(store, id).await.unwrap();
    let now = clock.now();
    let settled = Settled {
        at: now,
        expires_at: now + RETENTION,
    };
    let states = [
        State::Uncertain { since: now },
        State::Failed {
            result: Bytes::new(),
            settled,
        },
        State::Retryable {
            not_before: now,
            settled,
        },
        State::Dead { settled },
        State::InProgress { lease_until: now },
    ];
    for (n, state) in (1..).zip(states) {
        let record = Record {
            revision: stands.revision + n,
            attempt: 3,
            state,
            checkpoint: Some(Bytes::from_static(b"page 7")),
            delivery: Some(Bytes::from_static(b"body")),
            last_error: "why".into(),
            ..stands.clone()
        };
        for (fence, revision) in [
            (stands.fence.next(now), record.revision - 1),
            (stands.fence, record.revision - 2),
        ] {
            let swap = Swap {
                id,
                expected_fence: fence,
                expected_revision: revision,
                record: &record,
            };
            assert_eq!(store.compare_and_swap(0, &[swap]).await.unwrap(), [false]);
        }
        assert!(replace(store, id, &record).await);
        assert_eq!(load(store, id).await, Some(record));
    }
}

/// The purge, on an empty store whose clock shows [`START`].
pub(super) async fn purge_takes_what_is_past_its_retention(store: &dyn Store, clock: &ManualClock) {
    let done = ids("done", 20);
    let held = ids("held", 7);
    let tokens = claim_all(store, &done).await;
    claim_all(store, &held).await;
    complete_all(store, &done, &tokens, &Bytes::new()).await;

    assert_eq!(purge_all(store).await, (0, 0), "nothing is due yet");
    // At this time each record is looked at for the first time, and `late` was settled too late.
    clock.advance(RETENTION);
    let late = ids("done", 5);
    for id in &late {
        let record = load(store, id).await.unwrap();
        let later = State::Dead {
            settled: Settled {
                at: clock.now(),
                expires_at: clock.now() + RETENTION,
            },
        };
        assert!(
            replace(
                store,
                id,
                &Record {
                    state: later,
                    ..record
                }
            )
            .await
        );
    }
    clock.advance(Span::from_secs(30));
    assert_eq!(purge_all(store).await, (15, 12));
    clock.advance(SWEEP_EVERY);
    assert_eq!(
        purge_all(store).await,
        (5, 0),
        "at the end of their retention"
    );
    for id in &held {
        assert!(load(store, id).await.is_some(), "never while in progress");
    }
    clock.advance(Span::from_secs(8 * 60));
    assert_eq!(
        purge_all(store).await,
        (0, 0),
        "not looked at again and again"
    );
    clock.advance(Span::from_secs(60));
    assert_eq!(purge_all(store).await, (0, 7));

    // Fences do not go back over a purge, though the clock does.
    let greatest = tokens.iter().map(|token| token.fence).max().unwrap();
    clock.set(START - Span::from_secs(3_600));
    for token in claim_all(store, &done).await {
        assert_eq!(token.fence, greatest.next(Timestamp::MIN));
    }
}

/// Nothing is purged before it has been past its retention for `lag`.
pub(super) async fn purge_waits_for(store: &dyn Store, clock: &ManualClock, lag: Span) {
    let done = ids("lag", 5);
    let tokens = claim_all(store, &done).await;
    complete_all(store, &done, &tokens, &Bytes::new()).await;
    clock.advance(RETENTION);
    clock.advance(lag);
    clock.set(clock.now() - Span::from_micros(1));
    assert_eq!(purge_all(store).await.0, 0, "a moment too early");
    for id in &done {
        assert!(load(store, id).await.is_some(), "still in the table");
    }
    clock.advance(SWEEP_EVERY);
    assert_eq!(purge_all(store).await.0, 5);
}

/// Policies and namespaces, on an empty store whose clock shows [`START`].
pub(super) async fn policies_are_kept(store: &dyn Store, clock: &ManualClock) {
    assert_eq!(store.policies().await.unwrap(), []);
    store.put_policy(POLICY, "a").await.unwrap();
    store.put_policy(POLICY, "a").await.unwrap();
    assert!(
        store.put_policy(POLICY, "b").await.is_err(),
        "never changed"
    );
    assert_eq!(store.policies().await.unwrap(), [(POLICY, "a".to_owned())]);

    let namespace = Namespace::new("orders").unwrap();
    let memory = async || {
        let rows = store.namespaces().await.unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!((&rows[0].namespace, rows[0].policy), (&namespace, POLICY));
        rows[0].memory
    };
    store.put_namespace(&namespace, POLICY, None).await.unwrap();
    assert_eq!(memory().await.shorter_until, Timestamp::MIN);
    let hour = Some(Span::from_secs(3_600));
    store.put_namespace(&namespace, POLICY, hour).await.unwrap();
    let moved = Memory {
        shorter_until: START,
        shorter_retention: Span::from_secs(3_600),
    };
    assert_eq!(memory().await, moved);
    store.put_namespace(&namespace, POLICY, None).await.unwrap();
    clock.set(START - Span::from_secs(60));
    store.put_namespace(&namespace, POLICY, hour).await.unwrap();
    assert_eq!(memory().await, moved, "never back");
    store.ready().await.unwrap();
}

/// A batch of more than every size of chunk, in which each item gets its own answer.
pub(super) async fn a_large_batch_keeps_its_order(store: &dyn Store) {
    let all = ids("n", 341);
    let odd: Vec<_> = all.iter().skip(1).step_by(2).cloned().collect();
    claim_all(store, &odd).await;
    let records: Vec<_> = all.iter().map(claim).collect();
    let inserted = insert(store, &records).await;
    for (n, inserted) in inserted.iter().enumerate() {
        assert_eq!(inserted.is_some(), n % 2 == 0);
    }
    let refs: Vec<_> = all.iter().collect();
    let loaded = store.load(0, &refs).await.unwrap().records;
    let standing: Vec<Record> = loaded.into_iter().map(Option::unwrap).collect();
    let results: Vec<_> = (0..all.len()).map(|n| Bytes::from(n.to_string())).collect();
    let tokens: Vec<_> = standing.iter().map(Record::token).collect();
    let completions: Vec<_> = (0..all.len())
        .map(|n| Completion {
            id: &all[n],
            token: &tokens[n],
            result: &results[n],
            retention: Span::from_micros(i64::MAX),
        })
        .collect();
    let done = store.complete_if_held(0, &completions).await.unwrap();
    assert!(done.iter().all(Option::is_some));
    let loaded = store.load(0, &refs).await.unwrap().records;
    for (record, expected) in loaded.iter().zip(&results) {
        let Some(State::Completed { result, settled }) = record.as_ref().map(|r| &r.state) else {
            panic!("completed");
        };
        assert_eq!((result, settled.expires_at), (expected, Timestamp::MAX));
    }
}
