//! Claim, and a policy that changed: a key keeps the policy it was claimed under, and its next
//! attempt is a new claim under the namespace's policy now.

use crate::key::{
    State,
    transition::{Claim, Refusal, testing::*},
};

#[test]
fn a_policy_change_touches_new_claims_only() {
    let mut attempts_1 = settings();
    attempts_1.attempts = 1;
    for (now_policy, old_policy, expected) in [
        (hold(), settings(), "claimed"),
        (settings(), hold(), "uncertain"),
        (attempts_1.clone(), settings(), "claimed"),
        (settings(), attempts_1, "dead"),
    ] {
        let (mut key, _) = OneKey::claimed(old_policy);
        key.policy = policy(now_policy);
        key.now = at(10);
        assert_eq!(kind(&key.send(key.claim(2))), expected);
    }
}

#[test]
fn the_next_attempt_is_a_new_claim_under_the_policy_of_now() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(retry_after(token, secs(0))).unwrap();
    let mut longer = hold();
    longer.retention_ms *= 2;
    key.policy = policy(longer);
    let token = key.claims(2);
    assert_eq!(token.policy_id, key.policy.id());
    assert_eq!(key.record().policy_id, key.policy.id());
    key.send(complete(token, "done")).unwrap();
    assert_eq!(key.record().settled().unwrap().expires_at, at(2_000));
}

#[test]
fn requiring_fingerprints_turns_no_older_key_into_a_mismatch() {
    let sent = |key: &OneKey| Claim {
        fingerprint: print("a"),
        ..key.claim(2)
    };
    // Its outcome is replayed as before.
    let (mut key, token) = OneKey::claimed(settings());
    key.send(complete(token, "done")).unwrap();
    key.policy = policy(required());
    assert_eq!(kind(&key.send(key.claim(2))), "completed");
    assert_eq!(kind(&key.send(sent(&key))), "completed");

    // A claim under way is still its holder's, and can still be taken over when it lapses.
    let (mut key, token) = OneKey::claimed(settings());
    key.policy = policy(required());
    assert_eq!(granted(&key.send(key.claim(1))).token, token);
    key.now = at(10);
    assert_eq!(granted(&key.send(sent(&key))).attempt, 2);
}

#[test]
fn a_retry_of_a_granted_claim_survives_that_fingerprints_become_required() {
    let mut key = OneKey::new(settings());
    key.send(Claim {
        fingerprint: print("a"),
        ..key.claim(1)
    })
    .unwrap();
    key.now = at(10);
    let token = key.claims(2); // Without a fingerprint, which was allowed.
    key.policy = policy(required());
    assert_eq!(granted(&key.send(key.claim(2))).token, token);
}

#[test]
fn no_attempt_is_granted_without_a_fingerprint_where_they_are_required_now() {
    let (mut lapsed, _) = OneKey::claimed(settings());
    lapsed.now = at(10);
    let (mut released, token) = OneKey::claimed(settings());
    released.send(retry_after(token, secs(0))).unwrap();
    for mut key in [OneKey::new(settings()), lapsed, released] {
        key.policy = policy(required());
        let before = key
            .standing
            .as_ref()
            .map(|standing| standing.record.clone());
        match key.send(key.claim(2)) {
            Err(Refusal::Invalid(invalid)) => assert_eq!(invalid.field, "fingerprint"),
            other => panic!("{other:?}"),
        }
        let after = key
            .standing
            .as_ref()
            .map(|standing| standing.record.clone());
        assert_eq!(after, before);
    }
}

#[test]
fn relaxing_fingerprints_touches_new_claims_only() {
    let mut key = OneKey::new(required());
    key.send(Claim {
        fingerprint: print("a"),
        ..key.claim(1)
    })
    .unwrap();
    key.policy = policy(settings());
    assert_eq!(kind(&key.send(key.claim(2))), "FINGERPRINT_MISMATCH");
    assert!(matches!(key.record().state, State::InProgress { .. }));
}
