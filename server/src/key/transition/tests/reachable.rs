//! Every story of a few steps about one key: each command by each attempt with each token that was
//! ever given out, and the clock moving. Checked at every step is what must hold at all.

use std::collections::{HashSet, VecDeque};

use crate::key::{
    OnLapse, PolicySettings, Record, State, Timestamp, Token,
    transition::{Claim, ClaimReply, Command, Refusal, Reply, testing::*},
};

/// A key at some point of a story.
#[derive(Clone)]
struct Node {
    key: OneKey,
    /// Every token given out so far, oldest first.
    tokens: Vec<Token>,
    /// How the story went, for the failure's message.
    story: Vec<String>,
}

/// How many stories and steps were looked at.
#[derive(Debug, Default)]
struct Seen {
    nodes: usize,
    steps: usize,
}

#[test]
fn nothing_that_must_hold_is_broken_where_lapsed_claims_are_reclaimed() {
    let seen = explore(short(OnLapse::Reclaim), &[10], 9);
    assert!(seen.nodes > 4_000 && seen.steps > 50_000, "{seen:?}");
}

#[test]
fn nothing_that_must_hold_is_broken_where_lapsed_claims_are_held() {
    let seen = explore(short(OnLapse::Hold), &[10], 9);
    assert!(seen.nodes > 4_000 && seen.steps > 50_000, "{seen:?}");
}

#[test]
fn nothing_that_must_hold_is_broken_by_a_clock_that_goes_back() {
    let seen = explore(short(OnLapse::Reclaim), &[10, -10], 8);
    assert!(seen.nodes > 4_000 && seen.steps > 50_000, "{seen:?}");
}

/// Everything takes 10 s, but a hold 20 s and a retention 30 s.
fn short(on_lapse: OnLapse) -> PolicySettings {
    PolicySettings {
        on_lapse,
        attempts: 2,
        default_lease_ms: 10_000,
        longest_lease_ms: 10_000,
        longest_hold_ms: 20_000,
        retention_ms: 30_000,
        backoff_initial_ms: 10_000,
        ..settings()
    }
}

fn explore(settings: PolicySettings, clock: &[i64], depth: usize) -> Seen {
    let start = Node {
        key: OneKey::new(settings),
        tokens: Vec::new(),
        story: Vec::new(),
    };
    let mut seen = Seen::default();
    let mut known = HashSet::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        // Revisions only count; two stories that differ in nothing else go on alike.
        let record = node.key.standing.as_ref().map(|standing| Record {
            revision: 0,
            ..standing.record.clone()
        });
        if !known.insert(format!(
            "{} {record:?} {:?}",
            node.key.now.as_micros(),
            node.tokens
        )) {
            continue;
        }
        seen.nodes += 1;
        for command in commands(&node) {
            seen.steps += 1;
            let next = step(&node, &command);
            let changed = next.key.standing.as_ref().map(|s| &s.record)
                != node.key.standing.as_ref().map(|s| &s.record);
            if changed && next.story.len() < depth {
                queue.push_back(next);
            }
        }
        if node.story.len() < depth {
            for &by in clock {
                let mut later = node.clone();
                later.key.now = Timestamp::from_micros(node.key.now.as_micros() + by * 1_000_000);
                later.story.push(format!("{by} s"));
                queue.push_back(later);
            }
        }
    }
    seen
}

fn commands(node: &Node) -> Vec<Command> {
    let mut commands = vec![Command::Lookup];
    for (n, fingerprint) in [(1, "a"), (2, "a"), (2, "b")] {
        let claim = Claim {
            fingerprint: print(fingerprint),
            ..node.key.claim(n)
        };
        commands.push(claim.into());
    }
    for &token in &node.tokens {
        commands.extend([
            complete(token, "x"),
            complete(token, "y"),
            retryable(token),
            terminal(token, "x"),
            unknown(token),
            extend(token, None),
            checkpoint(token, "c"),
        ]);
    }
    commands
}

/// Sends the command, and checks what it did.
fn step(node: &Node, command: &Command) -> Node {
    let mut next = node.clone();
    next.story.push(format!("{command:?}"));
    // Checks that fences never decrease, and that every change is counted.
    let answer = next.key.send(command.clone());

    let now = node.key.now;
    let record = |node: &Node| node.key.standing.as_ref().map(|s| s.record.clone());
    let (before, after) = (record(node), record(&next));
    let changed = before != after;
    let live = before.filter(|record| !record.is_forgotten(now));
    let story = || format!("{:#?}\n{answer:?}", next.story);

    if let Some(live) = &live {
        let after = after.as_ref().expect("nothing is deleted");
        if changed {
            may_change(node, live, after, command).unwrap_or_else(|why| {
                panic!("{why}: {}", story());
            });
        }
    } else if !matches!(command, Command::Claim(_)) {
        assert_eq!(answer, Err(Refusal::KeyNotFound), "{}", story());
        assert!(!changed, "upserted: {}", story());
    }
    if let Ok(Reply::Claim(ClaimReply::Claimed(grant))) = &answer {
        let after = after.as_ref().expect("a grant stands");
        assert_eq!(grant.token, after.token(), "{}", story());
        if changed {
            let highest = node.tokens.iter().map(|token| token.fence).max();
            assert!(
                highest < Some(grant.token.fence),
                "a fence that did not increase: {}",
                story()
            );
            next.tokens.push(grant.token);
        } else {
            assert!(node.tokens.contains(&grant.token), "{}", story());
        }
    }
    if let Some(record) = &after {
        assert!(
            record.attempt <= node.key.policy.attempts().get(),
            "{}",
            story()
        );
        if let State::InProgress { lease_until } = record.state {
            let hold_until = record.claimed_at + node.key.policy.longest_hold();
            assert!(lease_until <= hold_until, "held too long: {}", story());
        }
    }
    assert!(
        !(changed && answer.is_err()),
        "refused, and changed: {}",
        story()
    );

    let mut again = next.key.clone();
    let second = again.send(command.clone());
    assert_eq!(
        second.is_ok(),
        answer.is_ok(),
        "not retry-safe: {}",
        story()
    );
    let settled = |key: &OneKey| key.standing.as_ref().map(|s| s.record.state.clone());
    assert_eq!(
        settled(&again),
        settled(&next.key),
        "not retry-safe: {}",
        story()
    );
    next
}

/// Why a live record may not have been changed by the command, if so.
fn may_change(
    node: &Node,
    before: &Record,
    after: &Record,
    command: &Command,
) -> Result<(), &'static str> {
    let now = node.key.now;
    let token = match command {
        Command::Lookup => return Err("a Lookup wrote"),
        Command::Complete(complete) => Some(&complete.token),
        Command::Fail(fail) => Some(&fail.token),
        Command::Extend(extend) => Some(&extend.token),
        Command::Checkpoint { token, .. } => Some(token),
        Command::Claim(_) => None,
    };
    if let Some(token) = token {
        if before.token() != *token {
            return Err("changed by somebody who does not hold it");
        }
        if after.token() != before.token() {
            return Err("a holder's command changed the claim");
        }
    }
    match before.state {
        State::Completed { .. } | State::Failed { .. } | State::Dead { .. } => {
            Err("an outcome that is kept was changed")
        }
        State::Uncertain { .. } if token.is_none() => Err("an uncertain key was claimed"),
        State::InProgress { lease_until } if token.is_none() => {
            if lease_until > now {
                Err("two holders")
            } else if node.key.policy.on_lapse() == OnLapse::Hold {
                Err("a held key was claimed")
            } else if after.fence <= before.fence {
                Err("taken over with the same fence")
            } else {
                Ok(())
            }
        }
        State::Retryable { not_before, .. } => {
            if token.is_some() {
                Err("a released key was changed by a token")
            } else if not_before > now {
                Err("claimed before its time")
            } else if after.attempt_id == before.attempt_id {
                Err("the attempt that just failed was granted again")
            } else {
                Ok(())
            }
        }
        State::InProgress { .. } | State::Uncertain { .. } => Ok(()),
    }
}
