//! Settling: Complete.

use crate::key::{
    State,
    transition::{Claim, Refusal, Reply, testing::*},
};

#[test]
fn the_holders_result_is_stored_and_retention_starts_now() {
    let (mut key, token) = OneKey::claimed(settings());
    key.now = at(4);
    assert_eq!(
        key.send(complete(token, "done")),
        Ok(Reply::Complete {
            repeat: false,
            completed_at: at(4)
        })
    );
    let settled = key.record().settled().unwrap();
    assert_eq!((settled.at, settled.expires_at), (at(4), at(1_004)));
}

#[test]
fn a_lapsed_holder_may_complete_if_nobody_took_over() {
    for settings in [settings(), hold()] {
        let (mut key, token) = OneKey::claimed(settings);
        key.now = at(100_000);
        assert_eq!(kind(&key.send(complete(token, "done"))), "stored");
        let settled = key.record().settled().unwrap();
        assert_eq!(settled.expires_at, at(101_000), "kept from now on");
    }
}

#[test]
fn a_holder_that_said_nobody_knows_may_still_complete() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(unknown(token)).unwrap();
    key.now = at(100_000);
    assert_eq!(kind(&key.send(complete(token, "done"))), "stored");
    assert_eq!(kind(&key.send(key.claim(2))), "completed");
}

#[test]
fn the_same_result_again_is_a_repeat_and_extends_nothing() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(complete(token, "done")).unwrap();
    let record = key.record().clone();
    key.now = at(500);
    assert_eq!(
        key.send(complete(token, "done")),
        Ok(Reply::Complete {
            repeat: true,
            completed_at: at(0)
        })
    );
    assert_eq!(key.record(), &record);
}

#[test]
fn a_different_result_is_a_conflict_and_the_first_stands() {
    for (first, second) in [("done", "other"), ("", "other"), ("done", "")] {
        let (mut key, token) = OneKey::claimed(settings());
        key.send(complete(token, first)).unwrap();
        let record = key.record().clone();
        assert_eq!(
            key.send(complete(token, second)),
            Err(Refusal::ResultConflict {
                current_fence: token.fence
            })
        );
        assert_eq!(key.record(), &record);
    }
}

#[test]
fn an_empty_result_is_a_result() {
    let (mut key, token) = OneKey::claimed(settings());
    assert_eq!(kind(&key.send(complete(token, ""))), "stored");
    assert_eq!(kind(&key.send(complete(token, ""))), "repeat");
    assert_eq!(kind(&key.send(key.claim(2))), "completed");
}

#[test]
fn a_superseded_holder_never_overwrites_its_successor() {
    // svix/diom: Complete is an unconditional upsert.
    let (mut key, late) = OneKey::claimed(settings());
    key.now = at(10);
    let successor = key.claims(2);
    let lost = Refusal::LeaseLost {
        current_fence: successor.fence,
    };
    assert_eq!(key.send(complete(late, "late")), Err(lost.clone()));
    key.send(complete(successor, "done")).unwrap();
    assert_eq!(key.send(complete(late, "late")), Err(lost.clone()));
    assert_eq!(
        key.send(complete(late, "done")),
        Err(lost),
        "also with the very result that stands"
    );
}

#[test]
fn an_oversized_result_leaves_the_claim_standing() {
    for (settle, at_limit) in [
        (complete as fn(_, _) -> _, "12345678"),
        (terminal, "12345678"),
    ] {
        let (mut key, token) = OneKey::claimed(settings());
        let record = key.record().clone();
        match key.send(settle(token, "123456789")) {
            Err(Refusal::Invalid(invalid)) => assert_eq!(invalid.field, "result"),
            other => panic!("{other:?}"),
        }
        assert_eq!(key.record(), &record);
        assert_eq!(kind(&key.send(key.claim(2))), "in progress");
        assert!(key.send(settle(token, at_limit)).is_ok());
    }
}

#[test]
fn after_a_failure_of_the_same_claim_it_is_already_settled() {
    for (settle, as_what) in [
        (retryable as fn(_) -> _, "retryable"),
        (|token| terminal(token, "no"), "failed"),
    ] {
        let (mut key, token) = OneKey::claimed(settings());
        key.send(settle(token)).unwrap();
        assert_eq!(
            key.send(complete(token, "done")),
            Err(Refusal::AlreadySettled {
                current_fence: token.fence,
                as_what
            })
        );
    }
}

#[test]
fn nothing_is_ever_upserted() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(complete(token, "done")).unwrap();
    key.now = at(1_000);
    assert_eq!(
        key.send(complete(token, "done")),
        Err(Refusal::KeyNotFound),
        "past its retention"
    );
    key.standing = None;
    assert_eq!(
        key.send(complete(token, "done")),
        Err(Refusal::KeyNotFound),
        "purged"
    );
    assert!(key.standing.is_none());
}

#[test]
fn a_token_of_a_life_that_was_forgotten_has_lost_its_lease_in_the_next_one() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(complete(token, "done")).unwrap();
    key.now = at(1_000);
    key.claims(1); // Even with the same attempt id.
    assert_eq!(kind(&key.send(complete(token, "done"))), "LEASE_LOST");
}

#[test]
fn retention_and_limits_are_those_of_the_claims_policy_and_not_of_the_namespace_now() {
    let (mut key, token) = OneKey::claimed(settings());
    let mut stricter = settings();
    stricter.retention_ms = 1_000;
    stricter.largest_result_bytes = 0;
    key.policy = policy(stricter);
    assert_eq!(kind(&key.send(complete(token, "done"))), "stored");
    assert_eq!(key.record().settled().unwrap().expires_at, at(1_000));
}

#[test]
fn the_delivery_is_dropped_for_it_is_kept_for_dead_letters() {
    let mut key = OneKey::new(settings());
    let claim = Claim {
        delivery: Some(bytes("raw")),
        ..key.claim(1)
    };
    let token = granted(&key.send(claim)).token;
    let mut failed = key.clone();
    failed.send(terminal(token, "no")).unwrap();
    assert_eq!(failed.record().delivery, Some(bytes("raw")));
    key.send(complete(token, "done")).unwrap();
    assert_eq!(key.record().delivery, None);
    assert!(matches!(key.record().state, State::Completed { .. }));
}

#[test]
fn a_token_is_known_by_its_fence_and_attempt_id_together() {
    let (mut key, token) = OneKey::claimed(settings());
    for wrong in [
        crate::key::Token {
            attempt_id: attempt(2),
            ..token
        },
        crate::key::Token {
            fence: token.fence.next(at(0)),
            ..token
        },
    ] {
        assert_eq!(kind(&key.send(complete(wrong, "done"))), "LEASE_LOST");
    }
}
