//! Two servers on one Postgres.

use std::time::{Duration, Instant};

use semel_client::{Claim, ClaimOutcome, Claimed, Client, Failure};
use tokio::task::JoinSet;

use crate::support::{Engine, PATIENCE, Server, figure, within};

async fn pair() -> [Server; 2] {
    let place = Engine::Postgres.place().await;
    [
        Server::start(&place, "").await,
        Server::start(&place, "").await,
    ]
}

async fn granted(client: &Client, key: &str) -> Claimed {
    let claim = Claim::new("pair", key).lease(Duration::from_secs(120));
    match client.claim(&claim).await.expect("a claim is answered") {
        ClaimOutcome::Claimed(claimed) => claimed,
        other => panic!("{key}: {other:?}"),
    }
}

/// Long enough for every waiter to be asleep between two looks. Where it is not, the test proves
/// less, and fails no more.
const WORK: Duration = Duration::from_millis(600);
/// The servers look at least every 200 ms; the rest is for a machine that is busy.
const SOON: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_on_one_server_ends_with_the_settlement_on_the_other() {
    let servers = pair().await;
    let clients = servers.each_ref().map(Server::client);
    let mut runs = JoinSet::new();
    for number in 0..20 {
        let (here, there) = (clients[number % 2].clone(), clients[1 - number % 2].clone());
        runs.spawn(async move {
            let key = format!("wait-{number}");
            let claimed = granted(&here, &key).await;
            let wait = Claim::new("pair", &key).wait(Duration::from_secs(30));
            let waiter = tokio::spawn(async move {
                let outcome = there.claim(&wait).await.expect("a wait is answered");
                (outcome, Instant::now())
            });
            tokio::time::sleep(WORK).await;
            assert!(
                !waiter.is_finished(),
                "{key}: the wait ended while it was held"
            );
            let settled = Instant::now();
            here.complete(&claimed.held, key.clone())
                .await
                .expect("the holder completes");
            let (outcome, woke) = within(PATIENCE, "the waiter", waiter)
                .await
                .expect("no panic");
            let ClaimOutcome::Completed(completed) = outcome else {
                panic!("{key}: the waiter was told {outcome:?}");
            };
            assert_eq!(completed.result, key);
            assert_eq!(completed.fence, claimed.fence);
            woke - settled
        });
    }
    let mut took = within(PATIENCE, "the waits", runs.join_all()).await;
    took.sort();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    assert!(longest < SOON, "a waiter woke after {longest:?}");
    figure(
        "waiting on the other server",
        &format!(
            "{} waits, woke after {median:?} in the middle and {longest:?} at most",
            took.len()
        ),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_on_one_server_wakes_one_waiter_of_all() {
    const WAITERS: usize = 10;
    let servers = pair().await;
    let clients = servers.each_ref().map(Server::client);
    let claimed = granted(&clients[0], "release").await;
    let mut waiters = JoinSet::new();
    for number in 0..WAITERS {
        let client = clients[number % 2].clone();
        waiters.spawn(async move {
            let wait = Claim::new("pair", "release")
                .lease(Duration::from_secs(120))
                .wait(Duration::from_secs(30));
            let outcome = client.claim(&wait).await.expect("a wait is answered");
            (client, outcome)
        });
    }
    tokio::time::sleep(WORK).await;
    let released = Instant::now();
    let failure = Failure::retryable_after("not now", Duration::from_millis(1));
    clients[0]
        .fail(&claimed.held, &failure)
        .await
        .expect("the holder fails");
    // The rest goes on waiting until the one that was woken settles.
    let (mut winners, mut replayed) = (0, 0);
    let mut woke = Duration::ZERO;
    while let Some(waiter) = within(PATIENCE, "the waiters", waiters.join_next()).await {
        let (client, outcome) = waiter.expect("no panic");
        match outcome {
            ClaimOutcome::Claimed(next) => {
                woke = released.elapsed();
                winners += 1;
                assert_eq!(replayed, 0, "a result before anybody made one");
                assert_eq!(next.attempt, 2);
                assert!(next.fence > claimed.fence);
                client
                    .complete(&next.held, "done")
                    .await
                    .expect("the winner completes");
            }
            ClaimOutcome::Completed(completed) => {
                assert_eq!(completed.result, "done");
                replayed += 1;
            }
            // "Too early" is an answer: the rest after the failure is a state like any other.
            ClaimOutcome::BackingOff(_) => {
                waiters.spawn(async move {
                    let again = Claim::new("pair", "release")
                        .lease(Duration::from_secs(120))
                        .wait(Duration::from_secs(30));
                    let outcome = client.claim(&again).await.expect("a wait is answered");
                    (client, outcome)
                });
            }
            other => panic!("a waiter was told {other:?}"),
        }
    }
    assert_eq!((winners, replayed), (1, WAITERS - 1));
    assert!(woke < SOON, "the first waiter woke after {woke:?}");
    figure(
        "a release with waiters on both servers",
        &format!("{WAITERS} waiters, one woke to claim after {woke:?}"),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_callers_race_over_both_servers_and_each_key_has_one_winner() {
    const CALLERS: usize = 100;
    const KEYS: usize = 20;
    let servers = pair().await;
    let clients = servers.each_ref().map(Server::client);
    let began = Instant::now();
    let start = std::sync::Arc::new(tokio::sync::Barrier::new(CALLERS));
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let (client, start) = (clients[number % 2].clone(), start.clone());
        callers.spawn(async move {
            start.wait().await;
            let mut won = Vec::new();
            let mut told = Vec::new();
            for turn in 0..KEYS {
                // Half begin at the other end, so that not all meet at each key at once.
                let key = if number % 4 < 2 {
                    turn
                } else {
                    KEYS - 1 - turn
                };
                let claim = Claim::new("race", format!("key-{key}"))
                    .lease(Duration::from_secs(120))
                    .owner(format!("caller-{number}"));
                match client.claim(&claim).await.expect("a claim is answered") {
                    ClaimOutcome::Claimed(claimed) => won.push((key, number, claimed)),
                    ClaimOutcome::InProgress(busy) => told.push((key, busy.owner, busy.fence)),
                    other => panic!("key-{key}: {other:?}"),
                }
            }
            (won, told)
        });
    }
    let mut winners: Vec<Option<(usize, Claimed)>> = (0..KEYS).map(|_| None).collect();
    let mut others = Vec::new();
    for (won, told) in within(PATIENCE, "the race", callers.join_all()).await {
        for (key, number, claimed) in won {
            assert_eq!(claimed.attempt, 1);
            let second = winners[key].replace((number, claimed));
            assert!(second.is_none(), "key-{key} has two winners");
        }
        others.extend(told);
    }
    assert_eq!(others.len(), CALLERS * KEYS - KEYS);
    let winners: Vec<_> = winners
        .into_iter()
        .map(|it| it.expect("a winner"))
        .collect();
    for (key, owner, fence) in &others {
        let (number, claimed) = &winners[*key];
        assert_eq!(*owner, format!("caller-{number}"), "key-{key}");
        assert_eq!(*fence, claimed.fence, "key-{key}");
    }
    for (key, (number, claimed)) in winners.iter().enumerate() {
        // Settled through the server that did not grant it.
        clients[1 - number % 2]
            .complete(&claimed.held, format!("by {number}"))
            .await
            .expect("the winner completes");
        for client in &clients {
            let again = Claim::new("race", format!("key-{key}"));
            let outcome = client.claim(&again).await.expect("a claim is answered");
            let ClaimOutcome::Completed(completed) = outcome else {
                panic!("key-{key}: {outcome:?}");
            };
            assert_eq!(completed.result, format!("by {number}"));
        }
    }
    let via: usize = winners.iter().filter(|(number, _)| number % 2 == 0).count();
    figure(
        "a race over two servers",
        &format!(
            "{CALLERS} callers, {KEYS} keys, {} claims; {via} won through one server, {} through \
             the other; {:?}",
            CALLERS * KEYS,
            KEYS - via,
            began.elapsed()
        ),
    );
}
