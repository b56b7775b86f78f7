//! Claim with an event time: what the namespace can still remember.

use crate::key::{
    Memory, PolicySettings, Span, Timestamp,
    transition::{Claim, Decision, Refusal, decide, testing::*},
};

fn of_event(key: &OneKey, event_time: Timestamp) -> Claim {
    Claim {
        event_time: Some(event_time),
        ..key.claim(1)
    }
}

#[test]
fn an_unknown_event_is_too_old_once_its_outcome_could_be_forgotten() {
    let key = OneKey::new(settings());
    for (event_time, expected) in [
        (at(-1_000), "EVENT_TOO_OLD"),
        (at(-1_000) + TICK, "claimed"),
        (at(0), "claimed"),
        (at(5), "claimed"), // The sender's clock is ahead.
        (Timestamp::MIN, "EVENT_TOO_OLD"),
        (Timestamp::MAX, "claimed"),
    ] {
        let answer = key.clone().send(of_event(&key, event_time));
        assert_eq!(kind(&answer), expected, "{event_time:?}");
    }
}

#[test]
fn an_outcome_is_remembered_for_as_long_as_its_event_is_not_too_old() {
    // Settled as early as can be: in the very tick that the event was made in.
    let event_time = at(0);
    let mut key = OneKey::new(settings());
    let token = granted(&key.send(of_event(&key, event_time))).token;
    key.send(complete(token, "done")).unwrap();
    key.now = at(1_000) - TICK;
    assert_eq!(kind(&key.send(of_event(&key, event_time))), "completed");
    key.now = at(1_000);
    assert_eq!(kind(&key.send(of_event(&key, event_time))), "EVENT_TOO_OLD");
}

#[test]
fn an_event_from_before_a_longer_retention_is_too_old_after_the_shorter_one() {
    let key = OneKey::new(settings());
    for (event_time, expected) in [
        (at(-100), "EVENT_TOO_OLD"),
        (at(-100) + TICK, "claimed"),
        (at(-10), "claimed"),
    ] {
        let claim = Claim {
            memory: Memory {
                shorter_until: at(-10),
                shorter_retention: Span::from_secs(100),
            },
            ..of_event(&key, event_time)
        };
        assert_eq!(kind(&key.clone().send(claim)), expected);
    }
}

/// What was claimed under the shorter retention is forgotten after it, however long the new one is.
#[test]
fn a_longer_retention_lets_no_duplicate_through() {
    let mut key = OneKey::new(settings());
    let event_time = at(-1);
    let token = granted(&key.send(of_event(&key, event_time))).token;
    key.send(complete(token, "done")).unwrap();
    key.now = at(1);
    key.policy = policy(PolicySettings {
        retention_ms: 2_000_000,
        ..settings()
    });
    let duplicate = |key: &OneKey| Claim {
        memory: Memory {
            shorter_until: at(1),
            shorter_retention: Span::from_secs(1_000),
        },
        ..of_event(key, event_time)
    };
    assert_eq!(kind(&key.send(duplicate(&key))), "completed");
    key.now = at(1_000);
    assert_eq!(kind(&key.send(duplicate(&key))), "EVENT_TOO_OLD");
}

#[test]
fn a_claim_without_an_event_time_is_never_too_old() {
    let mut key = OneKey::new(settings());
    let claim = Claim {
        memory: Memory {
            shorter_until: Timestamp::MAX,
            shorter_retention: Span::ZERO,
        },
        ..key.claim(1)
    };
    assert_eq!(kind(&key.send(claim)), "claimed");
}

#[test]
fn what_still_stands_is_answered_however_old_the_event_is() {
    for (name, scene) in super::scene::all_live() {
        let claim = Claim {
            event_time: Some(Timestamp::MIN),
            memory: Memory {
                shorter_until: Timestamp::MAX,
                shorter_retention: Span::ZERO,
            },
            fingerprint: print("a"),
            ..scene.key.claim(9)
        };
        let plain = Claim {
            event_time: None,
            ..claim.clone()
        };
        assert_eq!(
            scene.key.clone().send(claim),
            scene.key.clone().send(plain),
            "{name}"
        );
    }
}

#[test]
fn a_forgotten_record_that_is_not_purged_yet_does_not_make_an_old_event_young() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(complete(token, "done")).unwrap();
    key.now = at(1_000);
    let record = key.record().clone();
    assert_eq!(key.send(of_event(&key, at(-1))), Err(Refusal::EventTooOld));
    assert_eq!(key.record(), &record);
}

#[test]
fn a_missing_fingerprint_is_told_before_an_old_event() {
    let mut key = OneKey::new(required());
    assert_eq!(kind(&key.send(of_event(&key, Timestamp::MIN))), "INVALID");
}

/// The hot path inserts without looking first; it may hit exactly when row 1 would grant.
#[test]
fn a_blind_insert_is_let_through_exactly_when_the_rules_would_insert() {
    let times = [
        Timestamp::MIN,
        at(-1_000) - TICK,
        at(-1_000),
        at(-999),
        at(0),
        at(1),
        Timestamp::MAX,
    ];
    let event_times = times.map(Some).into_iter().chain([None]);
    let shorter_retention = Span::from_secs(1);
    let mut granted = 0;
    for event_time in event_times {
        for shorter_until in times {
            for settings in [settings(), required()] {
                for fingerprint in ["", "a"] {
                    for now in times {
                        let key = OneKey::new(settings.clone());
                        let claim = Claim {
                            event_time,
                            memory: Memory {
                                shorter_until,
                                shorter_retention,
                            },
                            fingerprint: print(fingerprint),
                            ..key.claim(1)
                        };
                        let blind = claim.new_record(&id()).insert_until >= now;
                        let decision = decide(&id(), &claim.clone().into(), None, now);
                        let ruled = matches!(decision, Decision::Insert(_));
                        granted += u32::from(ruled);
                        // No clock shows the start of time, where "never" lies.
                        if now != Timestamp::MIN {
                            assert_eq!(blind, ruled, "{claim:?} at {now:?}");
                        }
                    }
                }
            }
        }
    }
    assert!(granted > 100, "{granted}");
}
