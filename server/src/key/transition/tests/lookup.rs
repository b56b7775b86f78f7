//! Lookup: what stands, and no more.

use crate::key::{
    Span,
    transition::{Claim, Command, Details, Outcome, Refusal, Reply, testing::*},
};

fn details(key: &OneKey) -> Details {
    match key.clone().send(Command::Lookup) {
        Ok(Reply::Lookup { details, .. }) => details,
        other => panic!("nothing to look up: {other:?}"),
    }
}

#[test]
fn an_absent_or_forgotten_key_is_not_found() {
    let mut key = OneKey::new(settings());
    assert_eq!(key.send(Command::Lookup), Err(Refusal::KeyNotFound));
    for (name, scene) in super::scene::all_forgotten() {
        let mut key = scene.key;
        assert_eq!(
            key.send(Command::Lookup),
            Err(Refusal::KeyNotFound),
            "{name}"
        );
        key.now = key.now - TICK;
        assert!(key.send(Command::Lookup).is_ok(), "{name}");
    }
}

#[test]
fn it_shows_what_a_claim_would_be_told() {
    for (name, scene) in super::scene::all_live() {
        let mut key = scene.key;
        let shown = key.outcome();
        let answer = key.send(key.claim(9));
        if kind(&answer) != "claimed" && name != "lapsed, last" {
            assert_eq!(standing(answer), shown, "{name}");
        }
    }
}

#[test]
fn it_writes_nothing_and_never_grants() {
    for (name, scene) in super::scene::all_live() {
        let mut key = scene.key;
        let record = key.record().clone();
        let first = key.send(Command::Lookup);
        assert_eq!(key.send(Command::Lookup), first, "{name}");
        assert_eq!(key.record(), &record, "{name}");
    }
}

#[test]
fn a_lapsed_claim_that_nobody_took_over_is_in_progress_with_no_lease_left() {
    let (mut key, token) = OneKey::claimed(settings());
    key.now = at(500);
    assert_eq!(
        key.outcome(),
        Outcome::InProgress {
            owner: "worker-1".into(),
            lease: Span::ZERO,
            retry_after: Span::from_millis(10),
            fence: token.fence,
            attempt: 1,
            traceparent: "trace-1".into(),
        }
    );
}

#[test]
fn a_lapsed_claim_under_hold_is_uncertain_to_a_lookup_too() {
    let (mut key, _) = OneKey::claimed(hold());
    key.now = at(10) - TICK;
    assert!(matches!(key.outcome(), Outcome::InProgress { .. }));
    key.now = at(10);
    match key.outcome() {
        Outcome::Uncertain { since, .. } => assert_eq!(since, at(10)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_key_that_may_be_claimed_now_is_backing_off_for_no_time() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(retryable(token)).unwrap();
    for (now, rest) in [(0, 20), (19, 1), (20, 0), (500, 0)] {
        key.now = at(now);
        assert_eq!(
            key.outcome(),
            Outcome::BackingOff {
                retry_after: secs(rest),
                attempts: 1,
                last_error: "boom".into()
            }
        );
    }
}

#[test]
fn the_details_tell_the_life_of_the_key() {
    let mut key = OneKey::new(settings());
    let claim = Claim {
        fingerprint: print("a"),
        delivery: Some(bytes("raw")),
        ..key.claim(1)
    };
    key.send(claim).unwrap();
    key.now = at(10);
    let token = key.claims(2);
    key.send(checkpoint(token, "half")).unwrap();
    let mut expected = Details {
        owner: "worker-2".into(),
        attempt_id: token.attempt_id,
        traceparent: key.claim(2).traceparent,
        created_at: at(0),
        claimed_at: at(10),
        retention: None,
        checkpoint: Some(bytes("half")),
        fingerprint: bytes("a"),
        delivery: Some(bytes("raw")),
    };
    assert_eq!(details(&key), expected);

    key.send(complete(token, "done")).unwrap();
    key.now = at(11);
    expected.retention = Some(secs(999));
    expected.delivery = None;
    assert_eq!(details(&key), expected);
}

#[test]
fn retention_is_told_of_what_is_settled_and_of_nothing_else() {
    for (name, scene) in super::scene::all_live() {
        let settled = scene.key.record().settled();
        let left = settled.map(|settled| scene.key.now.until(settled.expires_at));
        assert_eq!(details(&scene.key).retention, left, "{name}");
        assert_eq!(
            left.is_none(),
            [
                "live",
                "lapsed",
                "lapsed, last",
                "lapsed, hold",
                "held too long"
            ]
            .contains(&name)
                || name.starts_with("uncertain"),
            "{name}"
        );
    }
}
