//! Settling: Fail, for now, for good, or nobody knows.

use crate::key::{
    Jitter, Span, State,
    transition::{Failure, Outcome, Refusal, Reply, testing::*},
};

#[test]
fn retryable_releases_the_key_for_the_policys_backoff() {
    let (mut key, mut token) = OneKey::claimed(settings());
    let mut now = 0;
    for (n, rest) in [(1, 20), (2, 40)] {
        let answer = key.send(retryable(token));
        assert_eq!(
            answer,
            Ok(Reply::Fail {
                repeat: false,
                outcome: Outcome::BackingOff {
                    retry_after: secs(rest),
                    attempts: n,
                    last_error: "boom".into()
                }
            })
        );
        now += rest;
        key.now = at(now);
        token = key.claims(100 + n as u8);
    }
}

#[test]
fn the_caller_may_name_its_own_rest_instead() {
    for rest in [Span::ZERO, TICK, secs(7), secs(604_800)] {
        let (mut key, token) = OneKey::claimed(settings());
        key.send(retry_after(token, rest)).unwrap();
        key.now = at(0) + rest;
        assert_eq!(granted(&key.send(key.claim(2))).attempt, 2);
        if !rest.is_zero() {
            let (mut key, token) = OneKey::claimed(settings());
            key.send(retry_after(token, rest)).unwrap();
            key.now = at(0) + rest - TICK;
            assert_eq!(kind(&key.send(key.claim(2))), "backing off");
        }
    }
}

#[test]
fn chance_moves_the_rest_either_way_by_the_policys_jitter() {
    for (unit, millis) in [(0.0, 15_000), (0.5, 20_000), (0.75, 22_500)] {
        let mut policy = settings();
        policy.backoff_jitter_milli = 250;
        let (mut key, token) = OneKey::claimed(policy);
        key.send(fail(
            token,
            Failure::Retryable {
                retry_after: None,
                jitter: Jitter::new(unit),
            },
        ))
        .unwrap();
        match key.record().state {
            State::Retryable { not_before, .. } => {
                assert_eq!(at(0).until(not_before), Span::from_millis(millis));
            }
            ref other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_retryable_key_is_kept_until_its_rest_and_then_its_retention_are_over() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(retry_after(token, secs(5_000))).unwrap(); // Longer than the retention.
    let settled = key.record().settled().unwrap();
    assert_eq!((settled.at, settled.expires_at), (at(0), at(6_000)));
    key.now = at(4_999);
    assert_eq!(kind(&key.send(key.claim(2))), "backing off");
    key.now = at(5_999);
    assert_eq!(granted(&key.clone().send(key.claim(2))).attempt, 2);
    key.now = at(6_000);
    assert_eq!(granted(&key.send(key.claim(2))).attempt, 1);
}

#[test]
fn retryable_with_the_attempts_used_up_is_dead_whatever_rest_it_asks_for() {
    for command in [retryable, |token| retry_after(token, secs(60))] {
        let mut policy = settings();
        policy.attempts = 1;
        let (mut key, token) = OneKey::claimed(policy);
        key.now = at(4);
        let dead = Outcome::Dead {
            attempts: 1,
            last_error: "boom".into(),
            dead_at: at(4),
            fence: token.fence,
            traceparent: "trace-1".into(),
        };
        assert_eq!(
            key.send(command(token)),
            Ok(Reply::Fail {
                repeat: false,
                outcome: dead
            })
        );
        assert_eq!(key.record().settled().unwrap().expires_at, at(1_004));
    }
}

#[test]
fn terminal_and_unknown_on_the_last_attempt_are_not_dead() {
    let mut policy = settings();
    policy.attempts = 1;
    for (command, expected) in [
        (terminal(OneKey::claimed(policy.clone()).1, "no"), "failed"),
        (unknown(OneKey::claimed(policy.clone()).1), "uncertain"),
    ] {
        let (mut key, _) = OneKey::claimed(policy.clone());
        assert_eq!(kind(&key.send(command)), expected);
    }
}

#[test]
fn terminal_stores_its_result_and_is_kept_from_now_on() {
    let (mut key, token) = OneKey::claimed(settings());
    key.now = at(4);
    let failed = Outcome::Failed {
        result: bytes("declined"),
        error: "boom".into(),
        failed_at: at(4),
        fence: token.fence,
        attempt: 1,
        traceparent: "trace-1".into(),
    };
    assert_eq!(
        key.send(terminal(token, "declined")),
        Ok(Reply::Fail {
            repeat: false,
            outcome: failed
        })
    );
    assert_eq!(key.record().settled().unwrap().expires_at, at(1_004));
}

#[test]
fn unknown_is_uncertain_under_every_policy_and_nobody_may_claim() {
    for settings in [settings(), hold()] {
        let (mut key, token) = OneKey::claimed(settings);
        assert_eq!(kind(&key.send(unknown(token))), "uncertain");
        for now in [0, 10, 1_000, 1_000_000] {
            key.now = at(now);
            assert_eq!(kind(&key.send(key.claim(2))), "uncertain");
        }
    }
}

#[test]
fn a_holder_that_said_nobody_knows_may_find_out_that_it_failed() {
    for (command, expected) in [
        (retryable as fn(_) -> _, "backing off"),
        (|token| terminal(token, "no"), "failed"),
    ] {
        let (mut key, token) = OneKey::claimed(settings());
        key.send(unknown(token)).unwrap();
        key.now = at(100_000);
        assert_eq!(kind(&key.send(command(token))), expected);
        assert_eq!(kind(&key.send(key.claim(2))), expected);
    }
}

#[test]
fn a_lapsed_holder_may_fail_if_nobody_took_over() {
    for settings in [settings(), hold()] {
        let (mut key, token) = OneKey::claimed(settings);
        key.now = at(100);
        assert_eq!(kind(&key.send(retryable(token))), "backing off");
        key.now = at(120);
        assert_eq!(granted(&key.send(key.claim(2))).attempt, 2);
    }
}

#[test]
fn the_same_kind_again_is_a_repeat_and_the_first_stands() {
    let once = |attempts, command| {
        let mut policy = settings();
        policy.attempts = attempts;
        let (mut key, token) = OneKey::claimed(policy);
        key.send(command).unwrap();
        (key, token)
    };
    let token = OneKey::claimed(settings()).1; // The same fence in each: one clock, one start.
    for (attempts, first, again, outcome) in [
        (3, retryable(token), retryable(token), "backing off"),
        (
            3,
            retryable(token),
            retry_after(token, secs(1)),
            "backing off",
        ),
        (1, retryable(token), retryable(token), "dead"),
        (3, terminal(token, "no"), terminal(token, "no"), "failed"),
        (3, terminal(token, "no"), terminal(token, "other"), "failed"),
        (
            3,
            terminal(token, "no"),
            terminal(token, "too large"),
            "failed",
        ),
        (3, unknown(token), unknown(token), "uncertain"),
    ] {
        let (mut key, _) = once(attempts, first);
        let record = key.record().clone();
        let stands = key.outcome();
        // Also when the rest is over, if nobody took over.
        for now in [0, 500] {
            key.now = at(now);
            let expected = Ok(Reply::Fail {
                repeat: true,
                outcome: key.outcome(),
            });
            assert_eq!(key.send(again.clone()), expected);
            assert_eq!(key.record(), &record, "{outcome}");
        }
        key.now = at(0);
        assert_eq!(key.outcome(), stands);
    }
}

#[test]
fn another_kind_after_a_settlement_is_already_settled() {
    let token = OneKey::claimed(settings()).1;
    for (first, second, as_what) in [
        (retryable(token), terminal(token, "no"), "retryable"),
        (retryable(token), unknown(token), "retryable"),
        (terminal(token, "no"), retryable(token), "failed"),
        (terminal(token, "no"), unknown(token), "failed"),
    ] {
        let (mut key, _) = OneKey::claimed(settings());
        key.send(first).unwrap();
        let record = key.record().clone();
        assert_eq!(
            key.send(second),
            Err(Refusal::AlreadySettled {
                current_fence: token.fence,
                as_what
            })
        );
        assert_eq!(key.record(), &record);
    }
}

#[test]
fn a_fail_after_complete_never_erases_the_result() {
    // svix/diom: abort deletes completed results.
    let (mut key, token) = OneKey::claimed(settings());
    key.send(complete(token, "done")).unwrap();
    let record = key.record().clone();
    for command in [
        retryable(token),
        retry_after(token, Span::ZERO),
        terminal(token, "no"),
        terminal(token, "done"),
        unknown(token),
    ] {
        assert_eq!(kind(&key.send(command)), "ALREADY_SETTLED");
        assert_eq!(key.record(), &record);
    }
    assert_eq!(kind(&key.send(key.claim(2))), "completed");
}

#[test]
fn a_fail_sent_again_after_its_successor_began_has_lost_its_lease() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(retry_after(token, Span::ZERO)).unwrap();
    let successor = key.claims(2);
    let record = key.record().clone();
    for command in [retryable(token), terminal(token, "no"), unknown(token)] {
        assert_eq!(
            key.send(command),
            Err(Refusal::LeaseLost {
                current_fence: successor.fence
            })
        );
        assert_eq!(key.record(), &record);
    }
}

#[test]
fn backoff_attempts_and_retention_are_those_of_the_claims_policy() {
    let (mut key, token) = OneKey::claimed(settings());
    let mut other = settings();
    other.attempts = 1;
    other.backoff_initial_ms = 1;
    other.retention_ms = 1_000;
    key.policy = policy(other);
    key.send(retryable(token)).unwrap();
    assert_eq!(
        key.record().state,
        State::Retryable {
            not_before: at(20),
            settled: crate::key::Settled {
                at: at(0),
                expires_at: at(1_020)
            }
        }
    );
}

#[test]
fn the_error_of_the_last_failure_replaces_the_one_before_also_with_nothing() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(retry_after(token, Span::ZERO)).unwrap();
    let token = key.claims(2);
    key.send(crate::key::transition::Command::Fail(
        crate::key::transition::Fail {
            token,
            error: String::new(),
            failure: Failure::Unknown,
        },
    ))
    .unwrap();
    match key.outcome() {
        Outcome::Uncertain { last_error, .. } => assert_eq!(last_error, ""),
        other => panic!("{other:?}"),
    }
}
