//! A server, or its database, is killed at any moment under load, and nothing that was
//! acknowledged is lost.

use std::time::{Duration, Instant};

use rand::RngExt as _;
use semel_client::Client;
use semel_proto::v1 as wire;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    load::{Load, NAMESPACE},
    support::{
        Engine, Health, PATIENCE, Place, Server, choices, figure, own_cluster, raw, rounds, seed,
        within,
    },
};

/// No key may run out of attempts here.
const CONFIG: &str = "[defaults]\nattempts = 1000000\n";

const CALLERS: u64 = 32;

/// Calls are given up early, so that what happens to unanswered ones shows here and not within the
/// client.
fn impatient(server: &Server) -> Client {
    server.client_with(|client| {
        client
            .deadline(Duration::from_millis(150))
            .try_timeout(Duration::from_millis(120))
            .backoff(Duration::from_millis(5), Duration::from_millis(50))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_server_loses_no_acknowledged_answer_on_sqlite() {
    killing_the_server(Engine::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_server_loses_no_acknowledged_answer_on_postgres() {
    killing_the_server(Engine::Postgres).await;
}

async fn killing_the_server(engine: Engine) {
    let (seed, rounds) = (seed(), rounds(8));
    let mut choices = choices(seed, 0);
    let mut server = Server::start(&engine.place().await, CONFIG).await;
    let began = Instant::now();
    let mut load = Load::start(&[impatient(&server)], CALLERS, seed);
    let (mut cut, mut idle) = (Vec::new(), 0);
    while cut.len() < rounds {
        let answers = load.book.told().answers + choices.random_range(50..400);
        load.book.answers(answers).await;
        // Not only right after an answer.
        let moment = Duration::from_micros(choices.random_range(0..8_000));
        tokio::time::sleep(moment).await;
        let before = load.flights.now();
        server.kill().await;
        match load.flights.cut(&before) {
            // It hit nobody, so it does not count.
            0 => idle += 1,
            calls => cut.push(calls),
        }
        assert!(idle < 10, "the load does not reach the server");
        server.restart().await;
    }
    let answers = load.book.told().answers + 200;
    load.book.answers(answers).await;
    load.finish().await;
    let told = load.book.told();
    let keys = load.book.check(&[server.client()], NAMESPACE).await;
    figure(
        &format!("killing the server on {engine:?}"),
        &format!(
            "seed {seed}, {rounds} kills, calls cut by each {cut:?}, {keys} keys, {told:?}, {:?}",
            began.elapsed()
        ),
    );
}

/// Locks the table until dropped, and waits until a statement of a server's waits for that.
async fn hold_up(url: &str) -> PgConnection {
    let mut locker = PgConnection::connect(url).await.expect("it is up");
    let lock = "BEGIN; LOCK TABLE records IN ACCESS EXCLUSIVE MODE";
    locker.execute(lock).await.expect("a lock in time");
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE wait_event_type = 'Lock' AND application_name = 'semel'";
    within(PATIENCE, "a statement waits for the lock", async {
        loop {
            let count: i64 = sqlx::query_scalar(waiting)
                .fetch_one(&mut locker)
                .await
                .expect("an answer");
            if count > 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    locker
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_postgres_loses_no_acknowledged_answer() {
    let (seed, rounds) = (seed(), rounds(3));
    let mut choices = choices(seed, 0);
    let cluster = own_cluster().await;
    let place = Place::database(cluster).await;
    let servers = [
        Server::start(&place, CONFIG).await,
        Server::start(&place, CONFIG).await,
    ];
    let mut health = Vec::new();
    for server in &servers {
        let mut said = Health::of(&server.address()).await;
        said.until(true).await;
        health.push(said);
    }
    let clients: Vec<_> = servers.iter().map(impatient).collect();
    let began = Instant::now();
    let mut load = Load::start(&clients, CALLERS, seed);
    let (mut cut, mut refused, mut away) = (Vec::new(), 0, Vec::new());
    let mut is_idle = false;
    while cut.len() < rounds {
        let answers = load.book.told().answers + choices.random_range(50..400);
        load.book.answers(answers).await;
        // Statements are short, and a backend whose postmaster is gone ends its own first: a kill may
        // meet none. Then the next one meets some that wait for a lock.
        let held_up = match is_idle {
            true => Some(hold_up(place.url()).await),
            false => None,
        };
        let before = load.flights.now();
        tokio::task::spawn_blocking(|| cluster.kill())
            .await
            .expect("no panic")
            .expect("Postgres can be killed");
        let gone = Instant::now();
        for said in &mut health {
            said.until(false).await;
        }
        let noticed = gone.elapsed();
        let calls = load.flights.cut(&before);
        is_idle = calls == 0;
        if !is_idle {
            cut.push(calls);
        }
        assert!(
            !(is_idle && held_up.is_some()),
            "the load does not reach the database"
        );
        drop(held_up);
        for server in &servers {
            refused += nobody_is_told_to_act(server, cut.len()).await;
        }
        let asked = gone.elapsed();
        tokio::task::spawn_blocking(|| cluster.restart())
            .await
            .expect("no panic")
            .expect("Postgres can be restarted");
        let back = gone.elapsed();
        for said in &mut health {
            said.until(true).await;
        }
        away.push([noticed, asked, back, gone.elapsed()]);
    }
    let answers = load.book.told().answers + 200;
    load.book.answers(answers).await;
    load.finish().await;
    let told = load.book.told();
    let clients: Vec<_> = servers.iter().map(Server::client).collect();
    let keys = load.book.check(&clients, NAMESPACE).await;
    figure(
        "killing Postgres under two servers",
        &format!(
            "seed {seed}, {rounds} kills, calls cut by each {cut:?}, {refused} calls refused \
             meanwhile, noticed, restart, back, serving {away:?}, {keys} keys, {told:?}, {:?}",
            began.elapsed()
        ),
    );
}

/// While the store is away, every call says so. The number of calls.
async fn nobody_is_told_to_act(server: &Server, round: usize) -> usize {
    let mut calls = JoinSet::new();
    for number in 0..20 {
        let mut stub = raw(&server.address());
        calls.spawn(async move {
            // Keys that nobody knows, and keys that stand.
            let key = format!("away-{round}-{number}");
            let keys = [key, format!("own-{number}-1")];
            for key in keys {
                let claim = wire::ClaimRequest {
                    namespace: NAMESPACE.into(),
                    key: key.clone(),
                    attempt_id: rand::random::<[u8; 16]>().to_vec().into(),
                    ..wire::ClaimRequest::default()
                };
                let claim = within(PATIENCE, "a claim", stub.claim(claim)).await;
                assert!(says_so(claim.as_ref().err()), "without a store: {claim:?}");
                let lookup = wire::LookupRequest {
                    namespace: NAMESPACE.into(),
                    key,
                    ..wire::LookupRequest::default()
                };
                let lookup = within(PATIENCE, "a lookup", stub.lookup(lookup)).await;
                assert!(
                    says_so(lookup.as_ref().err()),
                    "without a store: {lookup:?}"
                );
            }
            4
        });
    }
    calls.join_all().await.into_iter().sum()
}

fn says_so(status: Option<&Status>) -> bool {
    let Some(status) = status else { return false };
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| &*info.reason);
    let retry = details.retry_info().and_then(|info| info.retry_delay);
    status.code() == Code::Unavailable && reason == Some("STORE_UNAVAILABLE") && retry.is_some()
}
