//! Events of one order that come in any order and more than once. Semel sees to it that each is handled
//! once, and to nothing else; these are the patterns of docs/webhooks.md for the rest.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, routing::post};
use bytes::Bytes;
use http::StatusCode;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use semel_client::webhook::{
    Preset, Receiver,
    preset::{Fingerprint, KeyError},
    signature::{Scheme, Verifier},
};
use serde_json::{Value, json};
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use tokio::task::JoinSet;

use crate::support::*;

const ORDERS: u32 = 6;
const NEWEST: i64 = 5;

/// An event's id and body.
type Event = (String, String);

fn event(id: &str, order: &str, version: i64) -> Event {
    let body = json!({"event": id, "order": order, "version": version});
    (id.to_owned(), body.to_string())
}

fn order_and_version(body: &[u8]) -> Option<(String, i64)> {
    let event: Value = serde_json::from_slice(body).ok()?;
    Some((
        event["order"].as_str()?.to_owned(),
        event["version"].as_i64()?,
    ))
}

/// Every version of every order under each of these names, twice, in an order that the seed tells.
fn shuffled(names: &[&str]) -> Vec<Event> {
    let seed = rand::rng().next_u64();
    eprintln!("seed {seed}");
    let mut events = Vec::new();
    for (order, version) in (0..ORDERS).flat_map(|order| (1..=NEWEST).map(move |v| (order, v))) {
        for name in names {
            let id = format!("{name}-{order}-{version}");
            events.extend(vec![event(&id, &order.to_string(), version); 2]);
        }
    }
    events.shuffle(&mut StdRng::seed_from_u64(seed));
    events
}

/// Delivers all of them, eight at once and each until its answer is final. Gives back what was answered
/// for each version: the same to all, and to one alone as no replay.
async fn deliver(url: &str, events: Vec<Event>) -> Vec<(u16, Bytes)> {
    let (caller, mut sent, mut answers) = (Caller::new(), JoinSet::new(), Vec::new());
    for (id, body) in events {
        let (caller, url) = (caller.clone(), url.to_owned());
        sent.spawn(async move {
            loop {
                let answer = caller.send(signed(&url, &id, body.clone())).await;
                if answer.status != 409 {
                    return (id, answer);
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        if sent.len() == 8 {
            answers.extend(within(sent.join_next()).await.map(Result::unwrap));
        }
    }
    answers.extend(within(sent.join_all()).await);
    let mut firsts = HashMap::new();
    for replays in [false, true] {
        for (id, answer) in answers.iter().filter(|(_, it)| it.is_replayed() == replays) {
            let version = id.split_once('-').expect("a name before it").1;
            let it = (answer.status, answer.body.clone());
            match replays {
                false => assert_eq!(firsts.insert(version, it), None, "{id}: two are no replay"),
                true => assert_eq!(firsts[version], it, "{id} was answered differently"),
            }
        }
    }
    firsts.into_values().collect()
}

/// The database and the address of a service that writes a version down unless a newer one stands there,
/// and answers `stale` then.
async fn shop(receiver: Receiver, stale: StatusCode) -> (SqlitePool, String) {
    // Another connection would have another memory.
    let pool = SqlitePoolOptions::new().max_connections(1);
    let pool = pool.connect("sqlite::memory:").await.unwrap();
    let table = "CREATE TABLE orders (id TEXT PRIMARY KEY, version INTEGER NOT NULL)";
    sqlx::query(table).execute(&pool).await.unwrap();
    let rows = pool.clone();
    let handle = async move |body: Bytes| {
        let (order, version) = order_and_version(&body).unwrap();
        let newer = "INSERT INTO orders (id, version) VALUES (?, ?) ON CONFLICT (id) DO UPDATE \
                     SET version = excluded.version WHERE orders.version < excluded.version";
        let newer = sqlx::query(newer).bind(order).bind(version);
        match newer.execute(&rows).await.unwrap().rows_affected() {
            0 => (stale, "stale"),
            _ => (StatusCode::OK, "applied"),
        }
    };
    let app = Router::new().route("/", post(handle)).layer(receiver);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (pool, url)
}

async fn every_order_is_the_newest(pool: &SqlitePool) {
    let rows = sqlx::query_as("SELECT version, count(*) FROM orders GROUP BY version");
    let versions: Vec<(i64, u32)> = rows.fetch_all(pool).await.unwrap();
    assert_eq!(versions, [(NEWEST, ORDERS)]);
}

#[tokio::test]
async fn order_is_not_promised_a_later_version_may_be_handled_first_and_each_once() {
    let semel = Semel::start("").await;
    let preset = Preset::standard_webhooks(secret());
    let receiver = Receiver::new(semel.client(), "orders", preset);
    let handled = Arc::new(Mutex::new(Vec::new()));
    let versions = handled.clone();
    let service = Service::start(receiver, move |_, _, body| {
        let (_, version) = order_and_version(&body).unwrap();
        versions.lock().unwrap().push(version);
        say(200, "")
    })
    .await;
    let (first, second) = (event("a", "o", 1), event("b", "o", 2));
    let caller = Caller::new();
    for (id, body) in [&second, &first, &second, &first] {
        let answer = caller.send(signed(&service.url(), id, body.clone()));
        assert_eq!(answer.await.status, 200);
    }
    // Who lets the last one win is left with the first version.
    assert_eq!(*handled.lock().unwrap(), [2, 1]);
}

#[tokio::test]
async fn comparing_in_the_handler_leaves_the_newest_and_acknowledges_each_event_once() {
    let semel = Semel::start("").await;
    let preset = Preset::standard_webhooks(secret());
    let receiver = Receiver::new(semel.client(), "orders", preset);
    // A stale event is done as well: its sender is not to come again.
    let (pool, url) = shop(receiver, StatusCode::OK).await;
    let answers = deliver(&url, shuffled(&["event"])).await;
    every_order_is_the_newest(&pool).await;
    assert!(answers.iter().all(|(status, _)| *status == 200));
}

#[tokio::test]
async fn with_the_version_in_the_key_what_is_told_twice_is_one_and_what_is_stale_is_refused() {
    let semel = Semel::start("").await;
    let preset = Preset::custom(|_, body| {
        let named = order_and_version(body).ok_or_else(|| KeyError::missing("version"));
        named.map(|(order, version)| format!("{order}:{version}"))
    });
    // Told twice it has two ids, so that its bodies differ.
    let preset = preset.fingerprint(Fingerprint::Nothing);
    let preset = preset.verified_by(Verifier::new(Scheme::Standard, secret()));
    let receiver = Receiver::new(semel.client(), "orders", preset);
    let (pool, url) = shop(receiver, StatusCode::PRECONDITION_FAILED).await;
    let answers = deliver(&url, shuffled(&["event", "copy"])).await;
    every_order_is_the_newest(&pool).await;
    let known = [(200, "applied".into()), (412, "stale".into())];
    assert!(answers.iter().all(|answer| known.contains(answer)));
}
