//! What holds for every command on everything that can stand.

use super::scene;
use crate::key::{
    Record, State, Timestamp,
    transition::{Command, Decision, Refusal, Reply, decide, testing::*},
};

/// The answer without the mark that it is one given before.
fn unmarked(answer: Result<Reply, Refusal>) -> Result<Reply, Refusal> {
    answer.map(|reply| match reply {
        Reply::Complete { completed_at, .. } => Reply::Complete {
            repeat: false,
            completed_at,
        },
        Reply::Fail { outcome, .. } => Reply::Fail {
            repeat: false,
            outcome,
        },
        other => other,
    })
}

/// The record without the count of its changes.
fn uncounted(key: &OneKey) -> Option<Record> {
    key.standing.as_ref().map(|standing| Record {
        revision: 0,
        ..standing.record.clone()
    })
}

fn settles(command: &Command) -> bool {
    matches!(command, Command::Complete(_) | Command::Fail(_))
}

#[test]
fn every_command_sent_again_has_the_same_effect_and_the_same_answer() {
    for (name, scene) in scene::all() {
        for command in scene.commands() {
            let mut key = scene.key.clone();
            let first = key.send(command.clone());
            let after_first = uncounted(&key);
            let second = key.send(command.clone());
            assert_eq!(uncounted(&key), after_first, "{name}: {command:?}");
            assert_eq!(unmarked(second), unmarked(first), "{name}: {command:?}");
        }
    }
}

#[test]
fn a_settlement_sent_again_is_marked_as_a_repeat_and_writes_nothing() {
    for (name, scene) in scene::all_live() {
        for command in scene.commands().into_iter().filter(settles) {
            let mut key = scene.key.clone();
            if key.send(command.clone()).is_err() {
                continue;
            }
            let record = key.record().clone();
            let second = key.send(command.clone());
            assert_eq!(kind(&second), "repeat", "{name}: {command:?}");
            assert_eq!(key.record(), &record, "{name}: {command:?}");
        }
    }
}

#[test]
fn a_settlement_sent_again_after_anything_else_changes_nothing() {
    // Its answer was lost, and others came in between.
    for (name, scene) in scene::all_live() {
        for command in scene.commands().into_iter().filter(settles) {
            for between in scene.commands() {
                for pause in [0, 5, 50] {
                    let mut key = scene.key.clone();
                    if key.send(command.clone()).is_err() {
                        continue;
                    }
                    key.now = key.now + secs(pause);
                    let _ = key.send(between.clone());
                    let before = key.record().clone();
                    let _ = key.send(command.clone());
                    assert_eq!(
                        key.record(),
                        &before,
                        "{name}: {command:?}, {between:?}, again after {pause} s"
                    );
                }
            }
        }
    }
}

#[test]
fn a_claim_sent_again_after_anything_its_holder_did_is_never_a_second_grant() {
    for (name, scene) in scene::all() {
        let mut claimed = scene.key.clone();
        let claim = claimed.claim(9);
        let answer = claimed.send(claim.clone());
        if kind(&answer) != "claimed" {
            continue;
        }
        let token = granted(&answer).token;
        for between in scene::of_holder(token) {
            for pause in [0, 5, 10, 90] {
                let mut key = claimed.clone();
                let _ = key.send(between.clone());
                key.now = key.now + secs(pause);
                let _ = key.send(claim.clone());
                assert_eq!(
                    key.record().fence,
                    token.fence,
                    "{name}: {between:?}, again after {pause} s"
                );
            }
        }
    }
}

#[test]
fn an_outcome_that_is_kept_is_changed_by_nothing() {
    for (name, scene) in scene::all_live() {
        let record = scene.key.record().clone();
        if !matches!(
            record.state,
            State::Completed { .. } | State::Failed { .. } | State::Dead { .. }
        ) {
            continue;
        }
        let expires_at = record.settled().unwrap().expires_at;
        for now in [scene.key.now, at(500), expires_at - TICK] {
            let mut key = scene.key.clone();
            key.now = now;
            for command in scene.commands() {
                let _ = key.send(command.clone());
                assert_eq!(key.record(), &record, "{name}: {command:?}");
            }
        }
    }
}

#[test]
fn a_refused_command_changes_nothing() {
    for (name, scene) in scene::all() {
        for command in scene.commands() {
            let mut key = scene.key.clone();
            if key.send(command.clone()).is_err() {
                let record = |key: &OneKey| key.standing.as_ref().map(|s| s.record.clone());
                assert_eq!(record(&key), record(&scene.key), "{name}: {command:?}");
            }
        }
    }
}

#[test]
fn two_servers_that_decide_about_the_same_record_are_told_apart_by_fence_and_revision() {
    // Whatever two commands were decided on one record, only one swap finds it unchanged.
    for (name, scene) in scene::all_live() {
        for command in scene.commands() {
            let mut key = scene.key.clone();
            let _ = key.send(command.clone());
            let (old, new) = (scene.key.record(), key.record());
            assert_eq!(
                (old.fence, old.revision) == (new.fence, new.revision),
                old == new,
                "{name}: {command:?}"
            );
        }
    }
}

#[test]
fn only_a_claim_moves_the_fence_and_only_it_names_another_attempt() {
    for (name, scene) in scene::all_live() {
        for command in scene.commands() {
            let mut key = scene.key.clone();
            let _ = key.send(command.clone());
            let (old, new) = (scene.key.record(), key.record());
            if !matches!(command, Command::Claim(_)) {
                assert_eq!(
                    (old.token(), old.attempt, &old.fingerprint, &old.owner),
                    (new.token(), new.attempt, &new.fingerprint, &new.owner),
                    "{name}: {command:?}"
                );
            } else if old != new {
                assert!(new.fence > old.fence, "{name}: {command:?}");
            }
        }
    }
}

// The ends of time.

#[test]
fn leases_and_retention_saturate_at_the_end_of_time_instead_of_wrapping() {
    let mut key = OneKey::new(settings());
    key.now = Timestamp::MAX - secs(1);
    let token = key.claims(1);
    assert_eq!(
        key.record().state,
        State::InProgress {
            lease_until: Timestamp::MAX
        }
    );
    key.send(complete(token, "done")).unwrap();
    assert_eq!(key.record().settled().unwrap().expires_at, Timestamp::MAX);
    assert_eq!(kind(&key.send(key.claim(2))), "completed");
}

#[test]
fn nothing_panics_at_either_end_of_time() {
    for (name, scene) in scene::all() {
        for now in [Timestamp::MIN, Timestamp::from_micros(0), Timestamp::MAX] {
            for command in scene.commands() {
                let key = OneKey {
                    now,
                    ..scene.key.clone()
                };
                let decision = decide(&id(), &command, key.standing.as_ref(), now);
                if let Decision::Replace { record, reply } = decision {
                    let old = key.record();
                    assert!(
                        record.fence > old.fence || record.revision > old.revision,
                        "{name}: {command:?}"
                    );
                    assert!(!matches!(reply, Reply::Lookup { .. }));
                }
            }
        }
    }
}
