//! Claim, rows 1 to 4 and 8 to 11 in their order, and each against the next.
//! Rows 5 to 7, the ones that lead to another attempt, are in `claim_attempts`.

use crate::key::{
    Fence, Span, State,
    transition::{Claim, ClaimGrant, Decision, Outcome, Refusal, Standing, testing::*},
};

// Row 1.

#[test]
fn row_1_an_absent_key_is_inserted_as_attempt_1() {
    let mut key = OneKey::new(settings());
    let claim = Claim {
        lease: secs(7),
        ..key.claim(1)
    };
    assert!(matches!(
        key.decide(&claim.clone().into()),
        Decision::Insert(_)
    ));
    let answer = key.send(claim);
    assert_eq!(
        granted(&answer),
        &ClaimGrant {
            token: key.record().token(),
            attempt: 1,
            lease: secs(7),
            checkpoint: None,
            last_error: String::new(),
        }
    );
    assert_eq!(key.record().attempt_id, attempt(1));
    assert_eq!(key.record().fence, Fence::from_i64(at(0).as_micros()));
}

#[test]
fn row_1_a_forgotten_key_starts_a_new_life_and_inherits_only_the_fence() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(checkpoint(token, "half")).unwrap();
    key.send(retryable(token)).unwrap();
    let old = key.record().clone();

    key.now = at(20 + 1_000);
    let answer = key.send(Claim {
        fingerprint: print("another request"),
        ..key.claim(2)
    });
    let fence = Fence::from_i64(key.now.as_micros());
    let grant = granted(&answer).clone();
    assert_eq!(
        (grant.attempt, grant.checkpoint, grant.last_error.as_str()),
        (1, None, "")
    );
    let fresh = key.claim(2).new_record(&id()).inserted(fence, key.now);
    let expected = crate::key::Record {
        fingerprint: print("another request"),
        ..fresh
    };
    assert_eq!(key.record(), &expected);
    assert!(key.record().fence > old.fence);
}

#[test]
fn row_1_the_fence_of_a_new_life_increases_also_when_the_clock_goes_back() {
    let (mut key, token) = OneKey::claimed(settings());
    let first = token.fence;
    key.send(complete(token, "done")).unwrap();
    // A record that says it expired, though its fence is in the clock's future.
    if let Some(Standing { record, .. }) = &mut key.standing
        && let State::Completed { settled, .. } = &mut record.state
    {
        settled.expires_at = at(-10);
    }
    key.now = at(-5);
    let second = key.claims(2).fence;
    assert_eq!(second.as_i64(), first.as_i64() + 1);
}

#[test]
fn row_1_the_attempt_id_of_a_forgotten_life_may_claim_again() {
    for settle in [complete, terminal] {
        let (mut key, token) = OneKey::claimed(settings());
        key.send(settle(token, "done")).unwrap();
        key.now = at(1_000);
        assert_eq!(granted(&key.send(key.claim(1))).attempt, 1);
    }
}

#[test]
fn expired_beats_everything() {
    // Mismatch (2), superseded (7), and every stored outcome (8 to 11).
    for settle in [
        complete,
        terminal,
        |token, _| retryable(token),
        |token, _| retry_after(token, Span::ZERO),
    ] {
        let (mut key, token) = OneKey::claimed(settings());
        key.send(settle(token, "done")).unwrap();
        let expires_at = key.record().settled().unwrap().expires_at;
        let claim = Claim {
            fingerprint: print("b"),
            ..key.claim(1)
        };
        key.now = expires_at - TICK;
        assert_ne!(kind(&key.clone().send(claim.clone())), "claimed");
        key.now = expires_at;
        assert_eq!(granted(&key.send(claim)).attempt, 1);
    }
}

#[test]
fn a_key_in_progress_or_uncertain_is_never_forgotten() {
    for (settings, settle, expected) in [
        (settings(), false, "claimed"), // Row 5: a second attempt, and no new life.
        (hold(), false, "uncertain"),
        (settings(), true, "uncertain"),
    ] {
        let (mut key, token) = OneKey::claimed(settings);
        if settle {
            key.send(unknown(token)).unwrap();
        }
        key.now = at(1_000_000_000);
        let answer = key.send(key.claim(2));
        assert_eq!(kind(&answer), expected);
        if expected == "claimed" {
            assert_eq!(granted(&answer).attempt, 2);
        }
    }
}

// Row 2.

#[test]
fn row_2_another_fingerprint_is_a_mismatch_whatever_stands() {
    for (name, scene) in super::scene::all_live() {
        let mut key = scene.key;
        let record = key.record().clone();
        for n in [1, 2, 9] {
            let answer = key.send(Claim {
                fingerprint: print("other"),
                ..key.claim(n)
            });
            assert_eq!(kind(&answer), "FINGERPRINT_MISMATCH", "{name}");
            assert_eq!(key.record(), &record, "{name}");
        }
    }
}

#[test]
fn row_2_one_empty_side_is_a_mismatch_only_where_fingerprints_are_required() {
    for (stored, sent, optional, required_) in [
        ("a", "a", "in progress", "in progress"),
        ("a", "b", "FINGERPRINT_MISMATCH", "FINGERPRINT_MISMATCH"),
        ("a", "", "in progress", "FINGERPRINT_MISMATCH"),
        ("", "b", "in progress", "INVALID"), // Nothing is ever stored without one.
    ] {
        for (settings, expected) in [(settings(), optional), (required(), required_)] {
            let mut key = OneKey::new(settings);
            let first = key.send(Claim {
                fingerprint: print(stored),
                ..key.claim(1)
            });
            let answer = first.and_then(|_| {
                key.send(Claim {
                    fingerprint: print(sent),
                    ..key.claim(2)
                })
            });
            assert_eq!(kind(&answer), expected, "{stored:?} then {sent:?}");
        }
    }
}

#[test]
fn row_2_beats_row_3_so_a_retry_has_to_send_the_same_request() {
    let mut key = OneKey::new(settings());
    let first = Claim {
        fingerprint: print("a"),
        ..key.claim(1)
    };
    key.send(first.clone()).unwrap();
    let changed = Claim {
        fingerprint: print("b"),
        ..first
    };
    let current_fence = key.record().fence;
    assert_eq!(
        key.send(changed),
        Err(Refusal::FingerprintMismatch { current_fence })
    );
}

// Row 3.

#[test]
fn row_3_the_same_attempt_id_gets_the_same_token_and_what_is_left_of_the_lease() {
    let (mut key, token) = OneKey::claimed(settings());
    for (now, left) in [(0, 10), (4, 6), (10, 0), (500, 0)] {
        key.now = at(now);
        let record = key.record().clone();
        let answer = key.send(Claim {
            lease: secs(30), // Not what it was granted for.
            ..key.claim(1)
        });
        let grant = granted(&answer);
        assert_eq!(grant.token, token);
        assert_eq!((grant.attempt, grant.lease), (1, secs(left)));
        assert_eq!(key.record(), &record, "a repeat writes nothing");
    }
}

#[test]
fn row_3_beats_row_5_a_lapsed_claim_is_still_its_own_attempts() {
    for attempts in [1, 3] {
        let mut policy = settings();
        policy.attempts = attempts;
        let (mut key, token) = OneKey::claimed(policy);
        key.now = at(11);
        let answer = key.send(key.claim(1));
        assert_eq!(granted(&answer).token, token, "not attempt 2, not dead");
    }
}

#[test]
fn row_3_beats_row_6_under_hold_the_holder_gets_its_claim_back_with_no_lease_left() {
    let (mut key, token) = OneKey::claimed(hold());
    key.now = at(11);
    assert_eq!(kind(&key.send(key.claim(2))), "uncertain");
    let answer = key.send(key.claim(1));
    assert_eq!(granted(&answer).token, token);
    assert_eq!(granted(&answer).lease, Span::ZERO);
}

#[test]
fn row_3_repeats_a_later_attempts_grant_with_what_it_was_handed() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(checkpoint(token, "half")).unwrap();
    key.send(retryable(token)).unwrap();
    key.now = at(20);
    let first = key.send(key.claim(2));
    assert_eq!(key.send(key.claim(2)), first);
    assert_eq!(granted(&first).checkpoint, Some(bytes("half")));
    assert_eq!(granted(&first).last_error, "boom");
}

#[test]
fn row_3_holds_only_while_in_progress() {
    for (settle, expected) in [
        (complete as fn(_, _) -> _, "completed"),
        (terminal, "failed"),
        (|token, _| retryable(token), "backing off"),
        (|token, _| unknown(token), "uncertain"),
    ] {
        let (mut key, token) = OneKey::claimed(settings());
        key.send(settle(token, "done")).unwrap();
        assert_eq!(kind(&key.send(key.claim(1))), expected);
    }
}

// Row 4.

#[test]
fn row_4_a_live_lease_answers_who_holds_it_and_for_how_long() {
    let (mut key, token) = OneKey::claimed(settings());
    key.now = at(3);
    assert_eq!(
        standing(key.send(key.claim(2))),
        Outcome::InProgress {
            owner: "worker-1".into(),
            lease: secs(7),
            retry_after: secs(1),
            fence: token.fence,
            attempt: 1,
            traceparent: "trace-1".into(),
        }
    );
}

#[test]
fn row_4_asks_to_come_back_when_the_lease_ends_within_10_ms_and_1_s() {
    let (mut key, _) = OneKey::claimed(settings());
    for (left, expected) in [
        (secs(10), secs(1)),
        (secs(1), secs(1)),
        (Span::from_millis(300), Span::from_millis(300)),
        (TICK, Span::from_millis(10)),
    ] {
        key.now = at(10) - left;
        match standing(key.send(key.claim(2))) {
            Outcome::InProgress { retry_after, .. } => assert_eq!(retry_after, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn row_4_ends_and_row_5_begins_exactly_at_the_leases_end() {
    let (mut key, _) = OneKey::claimed(settings());
    key.now = at(10) - TICK;
    assert_eq!(kind(&key.send(key.claim(2))), "in progress");
    key.now = at(10);
    assert_eq!(granted(&key.send(key.claim(2))).attempt, 2);
}

// Rows 8 to 11.

#[test]
fn row_8_too_early_tells_the_rest_the_attempts_and_the_error() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(retryable(token)).unwrap();
    key.now = at(5);
    let expected = Outcome::BackingOff {
        retry_after: secs(15),
        attempts: 1,
        last_error: "boom".into(),
    };
    assert_eq!(standing(key.send(key.claim(2))), expected);
    assert_eq!(
        standing(key.send(key.claim(1))),
        expected,
        "also to the attempt that failed"
    );
}

#[test]
fn row_9_completed_is_replayed_byte_for_byte_to_every_attempt_id() {
    for result in ["", "\0\u{ff}", "12345678"] {
        let (mut key, token) = OneKey::claimed(settings());
        key.now = at(4);
        key.send(complete(token, result)).unwrap();
        for n in [1, 2] {
            key.now = at(500);
            assert_eq!(
                standing(key.send(key.claim(n))),
                Outcome::Completed {
                    result: bytes(result),
                    completed_at: at(4),
                    fence: token.fence,
                    attempt: 1,
                    traceparent: "trace-1".into(),
                }
            );
        }
    }
}

#[test]
fn row_10_a_failure_for_good_is_replayed_byte_for_byte_like_a_success() {
    for result in ["", "declined"] {
        let (mut key, token) = OneKey::claimed(settings());
        key.now = at(4);
        key.send(terminal(token, result)).unwrap();
        for n in [1, 2] {
            assert_eq!(
                standing(key.send(key.claim(n))),
                Outcome::Failed {
                    result: bytes(result),
                    error: "boom".into(),
                    failed_at: at(4),
                    fence: token.fence,
                    attempt: 1,
                    traceparent: "trace-1".into(),
                }
            );
        }
    }
}

#[test]
fn row_11_dead_tells_the_attempts_and_the_last_error() {
    let mut policy = settings();
    policy.attempts = 1;
    let (mut key, token) = OneKey::claimed(policy);
    key.now = at(4);
    key.send(retryable(token)).unwrap();
    for n in [1, 2] {
        assert_eq!(
            standing(key.send(key.claim(n))),
            Outcome::Dead {
                attempts: 1,
                last_error: "boom".into(),
                dead_at: at(4),
                fence: token.fence,
                traceparent: "trace-1".into(),
            }
        );
    }
}

#[test]
fn row_11_uncertain_tells_who_held_it_and_since_when() {
    let (mut key, token) = OneKey::claimed(settings());
    key.now = at(4);
    key.send(unknown(token)).unwrap();
    for (n, now) in [(1, 5), (2, 5), (2, 1_000_000)] {
        key.now = at(now);
        assert_eq!(
            standing(key.send(key.claim(n))),
            Outcome::Uncertain {
                owner: "worker-1".into(),
                fence: token.fence,
                attempts: 1,
                since: at(4),
                last_error: "boom".into(),
                traceparent: "trace-1".into(),
            }
        );
    }
}

#[test]
fn a_duplicate_never_extends_the_retention_nor_writes_anything() {
    for (name, scene) in super::scene::all_live() {
        let mut key = scene.key;
        let record = key.record().clone();
        let answer = key.send(key.claim(9));
        if kind(&answer) != "claimed" && name != "lapsed, last" {
            assert_eq!(key.record(), &record, "{name}");
        }
    }
}
