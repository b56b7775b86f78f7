//! Extend: the holder needs more time.

use crate::key::{
    Span, State,
    transition::{Refusal, Reply, testing::*},
};

fn lease_and_hold(answer: Result<Reply, Refusal>) -> (Span, Span) {
    match answer {
        Ok(Reply::Extend { lease, hold }) => (lease, hold),
        other => panic!("not extended: {other:?}"),
    }
}

#[test]
fn the_new_lease_counts_from_now() {
    let (mut key, token) = OneKey::claimed(settings());
    key.now = at(4);
    let answer = key.send(extend(token, None));
    assert_eq!(lease_and_hold(answer), (secs(10), secs(56)));
    let answer = key.send(extend(token, Some(secs(30))));
    assert_eq!(lease_and_hold(answer), (secs(30), secs(56)));
    key.now = at(34) - TICK;
    assert_eq!(kind(&key.send(key.claim(2))), "in progress");
    key.now = at(34);
    assert_eq!(kind(&key.send(key.claim(2))), "claimed");
}

#[test]
fn it_never_shortens_a_lease() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(extend(token, Some(secs(30)))).unwrap();
    key.now = at(1);
    let answer = key.send(extend(token, Some(Span::from_millis(1))));
    assert_eq!(lease_and_hold(answer), (secs(29), secs(59)));
    assert_eq!(
        key.record().state,
        State::InProgress {
            lease_until: at(30)
        }
    );
}

#[test]
fn sent_again_it_answers_the_same() {
    let (mut key, token) = OneKey::claimed(settings());
    key.now = at(4);
    let first = key.send(extend(token, Some(secs(20))));
    let state = key.record().state.clone();
    assert_eq!(key.send(extend(token, Some(secs(20)))), first);
    assert_eq!(key.record().state, state);
}

#[test]
fn also_after_a_lapse_if_nobody_took_over() {
    for settings in [settings(), hold()] {
        let (mut key, token) = OneKey::claimed(settings);
        key.now = at(20);
        let answer = key.send(extend(token, None));
        assert_eq!(lease_and_hold(answer), (secs(10), secs(40)));
        assert_eq!(kind(&key.send(key.claim(2))), "in progress");
    }
}

#[test]
fn a_holder_whose_claim_was_taken_over_has_lost_its_lease() {
    let (mut key, token) = OneKey::claimed(settings());
    key.now = at(10);
    let successor = key.claims(2);
    let record = key.record().clone();
    assert_eq!(
        key.send(extend(token, None)),
        Err(Refusal::LeaseLost {
            current_fence: successor.fence
        })
    );
    assert_eq!(key.record(), &record);
}

#[test]
fn the_total_hold_is_capped_from_the_moment_of_the_claim() {
    let (mut key, token) = OneKey::claimed(settings());
    for (now, lease, hold) in [(25, 30, 35), (50, 10, 10), (59, 1, 1)] {
        key.now = at(now);
        let answer = key.send(extend(token, Some(secs(30))));
        assert_eq!(lease_and_hold(answer), (secs(lease), secs(hold)));
    }
    let record = key.record().clone();
    key.now = at(60);
    assert_eq!(
        key.send(extend(token, None)),
        Err(Refusal::HoldLimitReached {
            current_fence: token.fence
        })
    );
    assert_eq!(key.record(), &record);
    assert_eq!(
        kind(&key.send(complete(token, "done"))),
        "stored",
        "it has only run out of time"
    );
}

#[test]
fn the_next_attempt_has_a_hold_of_its_own() {
    let (mut key, _) = OneKey::claimed(settings());
    key.now = at(100);
    let token = key.claims(2);
    key.now = at(105);
    let answer = key.send(extend(token, None));
    assert_eq!(lease_and_hold(answer), (secs(10), secs(55)));
}

#[test]
fn a_lease_out_of_bounds_is_refused_before_anything_changes() {
    let (mut key, token) = OneKey::claimed(settings());
    let record = key.record().clone();
    for lease in [
        Span::ZERO,
        Span::from_micros(999),
        secs(30).plus(TICK),
        Span::from_micros(i64::MAX),
    ] {
        match key.send(extend(token, Some(lease))) {
            Err(Refusal::Invalid(invalid)) => assert_eq!(invalid.field, "lease"),
            other => panic!("{other:?}"),
        }
        assert_eq!(key.record(), &record);
    }
}

#[test]
fn lease_and_hold_are_those_of_the_claims_policy() {
    let (mut key, token) = OneKey::claimed(settings());
    let mut stricter = settings();
    stricter.default_lease_ms = 1;
    stricter.longest_lease_ms = 1;
    stricter.longest_hold_ms = 1;
    key.policy = policy(stricter);
    key.now = at(5);
    let answer = key.send(extend(token, Some(secs(30))));
    assert_eq!(lease_and_hold(answer), (secs(30), secs(55)));
}

#[test]
fn a_settled_claim_has_no_lease_to_extend() {
    for (settle, as_what) in [
        (complete as fn(_, _) -> _, "completed"),
        (terminal, "failed"),
        (|token, _| retryable(token), "retryable"),
        (|token, _| unknown(token), "uncertain"),
    ] {
        let (mut key, token) = OneKey::claimed(settings());
        key.send(settle(token, "done")).unwrap();
        assert_eq!(
            key.send(extend(token, None)),
            Err(Refusal::AlreadySettled {
                current_fence: token.fence,
                as_what
            })
        );
    }
}

#[test]
fn it_keeps_everything_but_the_lease() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(checkpoint(token, "half")).unwrap();
    let before = key.record().clone();
    key.now = at(5);
    key.send(extend(token, None)).unwrap();
    let expected = crate::key::Record {
        state: State::InProgress {
            lease_until: at(15),
        },
        revision: before.revision + 1,
        ..before
    };
    assert_eq!(key.record(), &expected);
}
