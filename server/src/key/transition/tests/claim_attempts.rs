//! Claim, rows 5 to 7: what a lapse or a failure leaves to the next attempt.

use crate::key::{
    Fence,
    transition::{Claim, Outcome, Refusal, testing::*},
};

// Row 5.

#[test]
fn row_5_reclaim_grants_a_higher_fence_and_the_next_attempt() {
    let (mut key, first) = OneKey::claimed(settings());
    key.now = at(10);
    let answer = key.send(key.claim(2));
    let grant = granted(&answer);
    assert_eq!((grant.attempt, grant.lease), (2, secs(10)));
    assert_eq!(grant.token.attempt_id, attempt(2));
    assert!(grant.token.fence > first.fence);
    assert_eq!(key.record().owner, "worker-2");
    assert_eq!(key.record().traceparent, "trace-2");
    assert_eq!(key.record().created_at, at(0), "the key's life goes on");
    assert_eq!(key.record().claimed_at, at(10));
}

#[test]
fn row_5_the_last_checkpoint_is_handed_over() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(checkpoint(token, "one")).unwrap();
    key.send(checkpoint(token, "two")).unwrap();
    key.now = at(10);
    assert_eq!(
        granted(&key.send(key.claim(2))).checkpoint,
        Some(bytes("two"))
    );
    // And on, past an attempt that saved nothing.
    key.now = at(20);
    assert_eq!(
        granted(&key.send(key.claim(3))).checkpoint,
        Some(bytes("two"))
    );
}

#[test]
fn row_5_a_lapsed_attempt_said_nothing_so_no_older_error_is_handed_over() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(retryable(token)).unwrap();
    key.now = at(20);
    assert_eq!(granted(&key.send(key.claim(2))).last_error, "boom");
    key.now = at(30);
    assert_eq!(granted(&key.send(key.claim(3))).last_error, "");
}

#[test]
fn row_5_the_fence_increases_also_when_the_clock_goes_back() {
    let (mut key, first) = OneKey::claimed(settings());
    key.now = at(10);
    let second = key.claims(2);
    key.now = at(5); // The clock goes back: attempt 2 is live again, and then released.
    key.send(retry_after(second, secs(0))).unwrap();
    let third = key.claims(3);
    assert!(first.fence < second.fence);
    assert_eq!(third.fence.as_i64(), second.fence.as_i64() + 1);
}

#[test]
fn row_5_attempts_used_up_is_dead_with_a_higher_fence() {
    let mut policy = settings();
    policy.attempts = 2;
    let (mut key, _) = OneKey::claimed(policy);
    key.now = at(10);
    let last = key.claims(2);
    key.now = at(20);
    let dead = Outcome::Dead {
        attempts: 2,
        last_error: String::new(),
        dead_at: at(20),
        fence: Fence::from_i64(at(20).as_micros()),
        traceparent: "trace-2".into(),
    };
    assert_eq!(standing(key.send(key.claim(3))), dead);
    assert!(key.record().fence > last.fence);
    assert_eq!(key.record().settled().unwrap().expires_at, at(1_020));

    key.now = at(25);
    assert_eq!(
        standing(key.send(key.claim(3))),
        dead,
        "the same answer to the same call sent again"
    );
}

#[test]
fn row_5_a_key_that_dies_of_a_lapse_tells_no_older_error_and_is_kept_as_its_own_policy_says() {
    let mut first = settings();
    first.attempts = 2;
    let (mut key, token) = OneKey::claimed(first);
    key.send(retryable(token)).unwrap();
    key.now = at(20);
    key.claims(2);
    let mut shorter = settings();
    shorter.retention_ms = 1_000;
    key.policy = policy(shorter);
    key.now = at(30);
    match standing(key.send(key.claim(3))) {
        Outcome::Dead { last_error, .. } => assert_eq!(last_error, ""),
        other => panic!("{other:?}"),
    }
    assert_eq!(key.record().settled().unwrap().expires_at, at(1_030));
}

#[test]
fn row_5_a_late_holder_of_a_dead_key_has_lost_its_lease() {
    let mut policy = settings();
    policy.attempts = 1;
    let (mut key, token) = OneKey::claimed(policy);
    key.now = at(10);
    assert_eq!(kind(&key.send(key.claim(2))), "dead");
    let dead = key.record().clone();
    for command in [
        complete(token, "done"),
        retryable(token),
        terminal(token, "no"),
        unknown(token),
        extend(token, None),
        checkpoint(token, "half"),
    ] {
        assert_eq!(
            key.send(command),
            Err(Refusal::LeaseLost {
                current_fence: dead.fence
            })
        );
        assert_eq!(key.record(), &dead);
    }
    assert_eq!(
        kind(&key.send(key.claim(1))),
        "dead",
        "the late holder's own Claim, sent again"
    );
}

#[test]
fn row_5_a_lapsed_holder_of_the_last_attempt_may_settle_until_somebody_asks() {
    let mut policy = settings();
    policy.attempts = 1;
    let (mut key, token) = OneKey::claimed(policy);
    key.now = at(500);
    assert_eq!(kind(&key.send(complete(token, "done"))), "stored");
    assert_eq!(kind(&key.send(key.claim(2))), "completed");
}

#[test]
fn row_5_a_dead_keys_retention_ends_it_like_any_other() {
    let mut policy = settings();
    policy.attempts = 1;
    let (mut key, _) = OneKey::claimed(policy);
    key.now = at(10);
    assert_eq!(kind(&key.send(key.claim(2))), "dead");
    let dead = key.record().fence;
    key.now = at(1_010);
    let answer = key.send(key.claim(3));
    assert_eq!(granted(&answer).attempt, 1);
    assert!(granted(&answer).token.fence > dead);
}

#[test]
fn row_5_an_attempt_that_was_superseded_may_claim_again_when_its_successor_lapsed() {
    // Attempt 1 never got an answer and still asks; its old token stays worthless.
    let (mut key, lost) = OneKey::claimed(settings());
    key.now = at(10);
    key.claims(2);
    key.now = at(20);
    let again = key.claims(1);
    assert!(again.fence > lost.fence);
    assert_eq!(key.record().attempt, 3);
    assert_eq!(kind(&key.send(complete(lost, "done"))), "LEASE_LOST");
}

// Row 6.

#[test]
fn row_6_hold_is_uncertain_since_the_lapse_and_writes_nothing() {
    let (mut key, token) = OneKey::claimed(hold());
    let record = key.record().clone();
    for now in [10, 11, 1_000_000] {
        key.now = at(now);
        assert_eq!(
            standing(key.send(key.claim(2))),
            Outcome::Uncertain {
                owner: "worker-1".into(),
                fence: token.fence,
                attempts: 1,
                since: at(10),
                last_error: String::new(),
                traceparent: "trace-1".into(),
            }
        );
        assert_eq!(key.record(), &record);
    }
}

#[test]
fn row_6_a_holder_that_lapsed_said_nothing_so_no_older_error_is_told() {
    let (mut key, token) = OneKey::claimed(hold());
    key.send(retryable(token)).unwrap();
    key.now = at(20);
    key.claims(2);
    key.now = at(30);
    match standing(key.send(key.claim(3))) {
        Outcome::Uncertain { last_error, .. } => assert_eq!(last_error, ""),
        other => panic!("{other:?}"),
    }
}

#[test]
fn row_6_hold_never_dies_of_a_lapse_however_many_attempts_are_left() {
    let mut policy = hold();
    policy.attempts = 1;
    let (mut key, _) = OneKey::claimed(policy);
    key.now = at(10);
    assert_eq!(kind(&key.send(key.claim(2))), "uncertain");
}

#[test]
fn row_6_the_holder_resolves_it_by_settling() {
    for (settle, expected) in [
        (complete as fn(_, _) -> _, "completed"),
        (terminal, "failed"),
        (|token, _| retryable(token), "backing off"),
        (|token, _| unknown(token), "uncertain"),
    ] {
        let (mut key, token) = OneKey::claimed(hold());
        key.now = at(500);
        key.send(settle(token, "done")).unwrap();
        assert_eq!(kind(&key.send(key.claim(2))), expected);
    }
}

// Row 7.

#[test]
fn row_7_grants_the_next_attempt_exactly_when_its_time_is_reached() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(checkpoint(token, "half")).unwrap();
    key.send(retryable(token)).unwrap();
    key.now = at(20) - TICK;
    assert_eq!(kind(&key.send(key.claim(2))), "backing off");
    key.now = at(20);
    let answer = key.send(key.claim(2));
    let grant = granted(&answer);
    assert_eq!((grant.attempt, grant.lease), (2, secs(10)));
    assert_eq!(grant.last_error, "boom");
    assert_eq!(grant.checkpoint, Some(bytes("half")));
    assert!(grant.token.fence > token.fence);
}

#[test]
fn row_7_the_attempt_id_that_just_failed_is_superseded_and_row_8_comes_first() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(retryable(token)).unwrap();
    let record = key.record().clone();
    for (now, expected) in [
        (at(20) - TICK, "backing off"),
        (at(20), "SUPERSEDED"),
        (at(1_020) - TICK, "SUPERSEDED"),
    ] {
        key.now = now;
        let answer = key.send(key.claim(1));
        assert_eq!(kind(&answer), expected);
        assert_eq!(key.record(), &record);
    }
    assert_eq!(
        key.send(key.claim(1)),
        Err(Refusal::Superseded {
            current_fence: token.fence
        })
    );
}

#[test]
fn row_7_a_delayed_claim_is_told_in_progress_while_its_successor_works() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(retryable(token)).unwrap();
    key.now = at(20);
    key.claims(2);
    assert_eq!(kind(&key.send(key.claim(1))), "in progress");
}

#[test]
fn row_7_the_attempts_before_the_policys_last_all_come_through() {
    let (mut key, mut token) = OneKey::claimed(settings());
    for n in 2..=3 {
        let failed = key.send(retry_after(token, secs(0)));
        assert_eq!(kind(&failed), "backing off");
        token = key.claims(n);
        assert_eq!(key.record().attempt, u32::from(n));
    }
    assert_eq!(kind(&key.send(retry_after(token, secs(0)))), "dead");
}

// What the next attempt takes over.

#[test]
fn a_first_fingerprint_is_kept_when_a_later_attempt_sends_none() {
    let mut key = OneKey::new(settings());
    key.send(Claim {
        fingerprint: print("a"),
        ..key.claim(1)
    })
    .unwrap();
    key.now = at(10);
    key.claims(2);
    assert_eq!(key.record().fingerprint, print("a"));
}

#[test]
fn a_later_attempts_fingerprint_is_kept_where_the_first_had_none() {
    let (mut key, _) = OneKey::claimed(settings());
    key.now = at(10);
    key.send(Claim {
        fingerprint: print("b"),
        ..key.claim(2)
    })
    .unwrap();
    let other = Claim {
        fingerprint: print("c"),
        ..key.claim(3)
    };
    assert_eq!(kind(&key.send(other)), "FINGERPRINT_MISMATCH");
}

#[test]
fn the_delivery_of_a_later_attempt_replaces_the_first_and_none_keeps_it() {
    let mut key = OneKey::new(settings());
    key.send(Claim {
        delivery: Some(bytes("first")),
        ..key.claim(1)
    })
    .unwrap();
    key.now = at(10);
    key.claims(2);
    assert_eq!(key.record().delivery, Some(bytes("first")));
    key.now = at(20);
    key.send(Claim {
        delivery: Some(bytes("third")),
        ..key.claim(3)
    })
    .unwrap();
    assert_eq!(key.record().delivery, Some(bytes("third")));
}
