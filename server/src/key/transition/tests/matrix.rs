//! Every command on everything that can stand, by the holder and by others: what is answered, and
//! whether anything changes.

use super::scene::{self, Scene};
use crate::key::transition::{Claim, Command, testing::*};

/// A star is a change.
const HOLDER: &str = "
                | Complete         | other result     | too large        | Fail for now     | Fail for good    | Fail, unknown    | Extend             | Checkpoint
live            | stored *         | stored *         | INVALID          | backing off *    | failed *         | uncertain *      | extended *         | saved *
lapsed          | stored *         | stored *         | INVALID          | backing off *    | failed *         | uncertain *      | extended *         | saved *
lapsed, last    | stored *         | stored *         | INVALID          | dead *           | failed *         | uncertain *      | extended *         | saved *
lapsed, hold    | stored *         | stored *         | INVALID          | backing off *    | failed *         | uncertain *      | extended *         | saved *
held too long   | stored *         | stored *         | INVALID          | backing off *    | failed *         | uncertain *      | HOLD_LIMIT_REACHED | saved *
resting         | ALREADY_SETTLED  | ALREADY_SETTLED  | ALREADY_SETTLED  | repeat           | ALREADY_SETTLED  | ALREADY_SETTLED  | ALREADY_SETTLED    | ALREADY_SETTLED
ready           | ALREADY_SETTLED  | ALREADY_SETTLED  | ALREADY_SETTLED  | repeat           | ALREADY_SETTLED  | ALREADY_SETTLED  | ALREADY_SETTLED    | ALREADY_SETTLED
completed       | repeat           | RESULT_CONFLICT  | RESULT_CONFLICT  | ALREADY_SETTLED  | ALREADY_SETTLED  | ALREADY_SETTLED  | ALREADY_SETTLED    | ALREADY_SETTLED
failed          | ALREADY_SETTLED  | ALREADY_SETTLED  | ALREADY_SETTLED  | ALREADY_SETTLED  | repeat           | ALREADY_SETTLED  | ALREADY_SETTLED    | ALREADY_SETTLED
dead            | ALREADY_SETTLED  | ALREADY_SETTLED  | ALREADY_SETTLED  | repeat           | ALREADY_SETTLED  | ALREADY_SETTLED  | ALREADY_SETTLED    | ALREADY_SETTLED
dead by lapse   | LEASE_LOST       | LEASE_LOST       | LEASE_LOST       | LEASE_LOST       | LEASE_LOST       | LEASE_LOST       | LEASE_LOST         | LEASE_LOST
uncertain       | stored *         | stored *         | INVALID          | backing off *    | failed *         | repeat           | ALREADY_SETTLED    | ALREADY_SETTLED
uncertain, late | stored *         | stored *         | INVALID          | backing off *    | failed *         | repeat           | ALREADY_SETTLED    | ALREADY_SETTLED
";

/// Attempt 2 holds the claim, or held it last; attempt 1 failed before.
const CLAIM: &str = "
                | the holder's     | a new attempt    | an older attempt | another request      | Lookup
live            | claimed          | in progress      | in progress      | FINGERPRINT_MISMATCH | in progress
lapsed          | claimed          | claimed *        | claimed *        | FINGERPRINT_MISMATCH | in progress
lapsed, last    | claimed          | dead *           | dead *           | FINGERPRINT_MISMATCH | in progress
lapsed, hold    | claimed          | uncertain        | uncertain        | FINGERPRINT_MISMATCH | uncertain
held too long   | claimed          | claimed *        | claimed *        | FINGERPRINT_MISMATCH | in progress
resting         | backing off      | backing off      | backing off      | FINGERPRINT_MISMATCH | backing off
ready           | SUPERSEDED       | claimed *        | claimed *        | FINGERPRINT_MISMATCH | backing off
completed       | completed        | completed        | completed        | FINGERPRINT_MISMATCH | completed
failed          | failed           | failed           | failed           | FINGERPRINT_MISMATCH | failed
dead            | dead             | dead             | dead             | FINGERPRINT_MISMATCH | dead
dead by lapse   | dead             | dead             | dead             | FINGERPRINT_MISMATCH | dead
uncertain       | uncertain        | uncertain        | uncertain        | FINGERPRINT_MISMATCH | uncertain
uncertain, late | uncertain        | uncertain        | uncertain        | FINGERPRINT_MISMATCH | uncertain
";

#[test]
fn the_holders_commands_do_what_the_table_says() {
    check(HOLDER, |scene| {
        let token = scene.holder;
        vec![
            complete(token, "done"),
            complete(token, "other"),
            complete(token, "too large"),
            retryable(token),
            terminal(token, "done"),
            unknown(token),
            extend(token, None),
            checkpoint(token, "more"),
        ]
    });
}

#[test]
fn claims_and_lookups_do_what_the_table_says() {
    check(CLAIM, |scene| {
        let mut commands: Vec<Command> = [2, 9, 1].map(|n| scene.key.claim(n).into()).into();
        commands.push(
            Claim {
                fingerprint: print("b"),
                ..scene.key.claim(9)
            }
            .into(),
        );
        commands.push(Command::Lookup);
        commands
    });
}

#[test]
fn every_command_with_a_token_that_is_not_the_holders_has_lost_its_lease_and_changes_nothing() {
    for (name, scene) in scene::all_live() {
        let mut key = scene.key.clone();
        for token in scene.strangers() {
            for command in scene::of_holder(token) {
                let answer = key.send(command.clone());
                assert_eq!(kind(&answer), "LEASE_LOST", "{name}: {command:?}");
                assert_eq!(key.record(), scene.key.record(), "{name}: {command:?}");
            }
        }
    }
}

#[test]
fn every_command_with_a_token_on_a_key_that_is_absent_or_forgotten_finds_no_such_key() {
    let unknown = scene::all()
        .into_iter()
        .filter(|(name, _)| name == "absent" || name.starts_with("forgotten"));
    for (name, scene) in unknown {
        let mut key = scene.key.clone();
        for token in scene.strangers().into_iter().chain([scene.holder]) {
            for command in scene::of_holder(token) {
                let answer = key.send(command.clone());
                assert_eq!(kind(&answer), "NOT_FOUND", "{name}: {command:?}");
            }
        }
        let record = |key: &OneKey| key.standing.as_ref().map(|s| s.record.clone());
        assert_eq!(record(&key), record(&scene.key), "{name}");
    }
}

#[test]
fn every_claim_on_a_forgotten_key_is_attempt_1_of_a_new_life() {
    for (name, scene) in scene::all_forgotten() {
        for n in [1, 2, 9] {
            for fingerprint in ["", "a", "b"] {
                let mut key = scene.key.clone();
                let answer = key.send(Claim {
                    fingerprint: print(fingerprint),
                    ..key.claim(n)
                });
                assert_eq!(granted(&answer).attempt, 1, "{name}");
                assert_eq!(key.record().delivery, None, "{name}");
                assert_eq!(key.record().created_at, key.now, "{name}");
            }
        }
    }
}

/// Holds a table against the rules, and tells every cell that differs at once.
fn check(table: &str, commands: impl Fn(&Scene) -> Vec<Command>) {
    let table: Vec<Vec<&str>> = table
        .trim_matches('\n')
        .lines()
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let (columns, rows) = table.split_first().expect("a head line");
    let scenes = scene::all_live();
    assert_eq!(
        scenes.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        rows.iter().map(|row| row[0]).collect::<Vec<_>>(),
        "the table has a row for everything that can stand"
    );
    let mut wrong = Vec::new();
    for ((name, scene), row) in scenes.iter().zip(rows) {
        let commands = commands(scene);
        assert_eq!((commands.len() + 1, columns.len()), (row.len(), row.len()));
        for (i, command) in commands.into_iter().enumerate() {
            let mut key = scene.key.clone();
            let answer = key.send(command);
            let changed = key.record() != scene.key.record();
            let got = format!("{}{}", kind(&answer), if changed { " *" } else { "" });
            if got != row[i + 1] {
                wrong.push(format!("{name} × {}: {got}", columns[i + 1]));
            }
            assert!(!(changed && answer.is_err()), "a refused command changed");
        }
    }
    assert!(wrong.is_empty(), "the table says otherwise: {wrong:#?}");
}
