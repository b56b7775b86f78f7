//! Checkpoint: the holder saves its progress for the next attempt.

use crate::key::transition::{Refusal, Reply, testing::*};

#[test]
fn the_last_one_wins() {
    let (mut key, token) = OneKey::claimed(settings());
    for text in ["one", "two", ""] {
        assert_eq!(key.send(checkpoint(token, text)), Ok(Reply::Checkpoint));
        assert_eq!(key.record().checkpoint, Some(bytes(text)));
    }
}

#[test]
fn sent_again_it_leaves_the_same_bytes() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(checkpoint(token, "half")).unwrap();
    assert_eq!(key.send(checkpoint(token, "half")), Ok(Reply::Checkpoint));
    assert_eq!(key.record().checkpoint, Some(bytes("half")));
}

#[test]
fn it_changes_nothing_else_and_extends_no_lease() {
    let (mut key, token) = OneKey::claimed(settings());
    let before = key.record().clone();
    key.now = at(5);
    key.send(checkpoint(token, "half")).unwrap();
    let expected = crate::key::Record {
        checkpoint: Some(bytes("half")),
        revision: before.revision + 1,
        ..before
    };
    assert_eq!(key.record(), &expected);
}

#[test]
fn an_empty_checkpoint_is_one_and_differs_from_none() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(checkpoint(token, "")).unwrap();
    key.now = at(10);
    assert_eq!(granted(&key.send(key.claim(2))).checkpoint, Some(bytes("")));
}

#[test]
fn also_after_a_lapse_if_nobody_took_over() {
    for settings in [settings(), hold()] {
        let (mut key, token) = OneKey::claimed(settings);
        key.now = at(500);
        assert_eq!(kind(&key.send(checkpoint(token, "half"))), "saved");
    }
}

#[test]
fn a_superseded_holder_does_not_overwrite_its_successors_progress() {
    let (mut key, late) = OneKey::claimed(settings());
    key.now = at(10);
    let successor = key.claims(2);
    key.send(checkpoint(successor, "new")).unwrap();
    assert_eq!(
        key.send(checkpoint(late, "old")),
        Err(Refusal::LeaseLost {
            current_fence: successor.fence
        })
    );
    assert_eq!(key.record().checkpoint, Some(bytes("new")));
}

#[test]
fn a_settled_claim_takes_none() {
    for settle in [
        complete,
        terminal,
        |token, _| retryable(token),
        |token, _| unknown(token),
    ] {
        let (mut key, token) = OneKey::claimed(settings());
        key.send(settle(token, "done")).unwrap();
        assert_eq!(
            kind(&key.send(checkpoint(token, "half"))),
            "ALREADY_SETTLED"
        );
        assert_eq!(key.record().checkpoint, None);
    }
}

#[test]
fn it_survives_failures_and_lapses_but_not_the_keys_retention() {
    let (mut key, token) = OneKey::claimed(settings());
    key.send(checkpoint(token, "half")).unwrap();
    key.send(retryable(token)).unwrap();
    key.now = at(20);
    assert_eq!(
        granted(&key.send(key.claim(2))).checkpoint,
        Some(bytes("half"))
    );
    key.now = at(30);
    let third = key.send(key.claim(3));
    assert_eq!(granted(&third).checkpoint, Some(bytes("half")));
    key.send(complete(granted(&third).token, "done")).unwrap();
    key.now = at(1_030);
    assert_eq!(granted(&key.send(key.claim(4))).checkpoint, None);
}
