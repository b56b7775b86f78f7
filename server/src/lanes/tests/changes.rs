//! Many changes to one key, and floods of holders' commands: what they cost, and whom they hold up.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::time::timeout;

use super::{faulty::Fault, *};
use crate::key::transition::Refusal;

/// For what must not take long.
const SOON: Duration = Duration::from_secs(10);

type Answer = JoinHandle<Result<Reply, LaneError>>;

fn checkpoint(token: Token, checkpoint: String) -> Command {
    Command::Checkpoint {
        token,
        checkpoint: checkpoint.into(),
    }
}

/// Sends commands on one key one after the other while the lane is held up, so that one round has
/// them all.
async fn queue_up(house: &mut House, key: &str, commands: Vec<Command>) -> Vec<Answer> {
    house.store.shut();
    let blocker = house.claims("blocker", 99);
    house.arrival().await;
    let holders = &house.lanes.queues[0].holders;
    let mut answers = Vec::new();
    for command in commands {
        let before = holders.capacity();
        let lanes = house.lanes.clone();
        let id = id(key);
        answers.push(tokio::spawn(async move { lanes.call(id, command).await }));
        until(|| holders.capacity() < before).await;
    }
    house.store.reopen();
    blocker.await.unwrap().unwrap();
    answers
}

fn is_too_late(answer: &Result<Reply, LaneError>) -> bool {
    matches!(
        answer,
        Err(LaneError::Refused(Refusal::AlreadySettled { .. }))
    )
}

async fn told(answers: Vec<Answer>) -> Vec<Result<Reply, LaneError>> {
    let mut told = Vec::new();
    for answer in answers {
        told.push(timeout(SOON, answer).await.unwrap().unwrap());
    }
    told
}

#[tokio::test]
async fn a_thousand_changes_to_one_key_cost_one_load_and_one_swap() {
    let mut house = house(LaneSettings::default()).await;
    let grant = house.claimed("hot", 1).await;
    house.arrival().await;
    let mut commands: Vec<_> = (0..998)
        .map(|n| checkpoint(grant.token, n.to_string()))
        .collect();
    commands.push(complete(grant.token, "done"));
    // It comes behind the end of the claim.
    commands.push(checkpoint(grant.token, "late".into()));
    let before = house.store.calls();
    let answers = queue_up(&mut house, "hot", commands).await;
    let mut told = told(answers).await;
    assert!(is_too_late(&told.pop().unwrap()));
    let completed = told.pop().unwrap();
    assert!(
        matches!(completed, Ok(Reply::Complete { repeat: false, .. })),
        "{completed:?}"
    );
    assert!(told.iter().all(Result::is_ok));
    // The blocker's insert is the third.
    assert_eq!(house.store.calls() - before, 3);
    let Outcome::Completed { result, .. } = house.look("hot").await.unwrap() else {
        panic!("not completed")
    };
    assert_eq!(result, "done");
}

#[tokio::test]
async fn changes_that_lost_their_swap_are_decided_again_all_of_them() {
    let mut house = house(LaneSettings::default()).await;
    let grant = house.claimed("k", 1).await;
    house.arrival().await;
    house.store.plan(Fault::MissesOnce);
    let commands = vec![
        checkpoint(grant.token, "half way".into()),
        release(grant.token),
        checkpoint(grant.token, "late".into()),
    ];
    let answers = queue_up(&mut house, "k", commands).await;
    let told = told(answers).await;
    assert!(told[0].is_ok() && told[1].is_ok(), "{told:?}");
    assert!(is_too_late(&told[2]), "{told:?}");
    let again = house.claimed("k", 2).await;
    assert_eq!(again.attempt, 2);
    assert_eq!(again.checkpoint.unwrap(), "half way");
}

#[tokio::test]
async fn an_answer_that_saw_a_change_is_not_told_unless_the_change_is_known_to_stand() {
    let mut house = house(LaneSettings::default()).await;
    let grant = house.claimed("k", 1).await;
    house.arrival().await;
    let commands = vec![
        checkpoint(grant.token, "half way".into()),
        release(grant.token),
        // A repeat: it changes nothing itself.
        release(grant.token),
    ];
    // The load passes and the swap's answer is lost.
    house.store.plan(Fault::LostAfterSwap);
    let answers = queue_up(&mut house, "k", commands).await;
    for told in told(answers).await {
        assert!(
            matches!(told, Err(LaneError::StoreUnavailable(_))),
            "{told:?}"
        );
    }
    assert_eq!(house.claimed("k", 2).await.attempt, 2);
}

/// Holders' commands without end, in turn, until dropped.
struct Flood(Arc<AtomicBool>);

impl Flood {
    fn start(house: &House, senders: usize, key: impl Fn(usize) -> (KeyId, Token)) -> Self {
        let flows = Arc::new(AtomicBool::new(true));
        for sender in 0..senders {
            let (lanes, flows) = (house.lanes.clone(), flows.clone());
            let (id, token) = key(sender);
            tokio::spawn(async move {
                while flows.load(Ordering::Relaxed) {
                    let command = checkpoint(token, sender.to_string());
                    lanes.call(id.clone(), command).await.unwrap();
                }
            });
        }
        Self(flows)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Two places in a round would be enough for the flood.
fn narrow() -> LaneSettings {
    LaneSettings {
        batch: 8,
        ..LaneSettings::default()
    }
}

async fn others_are_served(house: &House) {
    for n in 0..20 {
        let key = format!("other {n}");
        let others = house.claimed(&key, 2);
        timeout(SOON, others).await.expect("it has its turn");
    }
}

#[tokio::test]
async fn a_flood_of_changes_to_one_key_keeps_nobody_else_out() {
    let house = house(narrow()).await;
    let grant = house.claimed("hot", 1).await;
    let flood = Flood::start(&house, 64, |_| (id("hot"), grant.token));
    others_are_served(&house).await;
    drop(flood);
}

#[tokio::test]
async fn a_flood_of_changes_to_many_keys_keeps_nobody_else_out() {
    let house = house(narrow()).await;
    let mut grants = Vec::new();
    for n in 0..64 {
        let key = format!("hot {n}");
        grants.push((id(&key), house.claimed(&key, 1).await.token));
    }
    let flood = Flood::start(&house, 64, |n| grants[n].clone());
    others_are_served(&house).await;
    drop(flood);
}
