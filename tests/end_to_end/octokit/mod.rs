//! Every example webhook of GitHub's, delivered many times to two receivers whose servers are
//! killed in the middle: each has its effect once, and every delivery is given the same answer.

mod payloads;
mod receiver;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::StatusCode;
use rand::RngExt as _;
use semel_client::{Client, RecordState};
use sqlx::{Executor as _, PgPool, Row as _, postgres::PgPoolOptions};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

use crate::support::{
    Engine, PATIENCE, Place, Sender, Server, choices, figure, rounds, seed, shared_cluster,
    skipped, within,
};
use payloads::Payload;
use receiver::{NAMESPACE, Receiver};

/// Deliveries of each payload at the same time.
const DELIVERIES: usize = 4;
/// Payloads that are being delivered at the same time.
const AT_ONCE: usize = 16;
/// For a whole run of deliveries, outages included.
const BOUND: Duration = Duration::from_secs(180);

/// What the senders did so far.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    delivered: usize,
    tries: usize,
    told_to_come_back: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_webhook_has_its_effect_once_while_servers_are_killed() {
    let payloads = match payloads::all() {
        Ok(payloads) => Arc::new(payloads),
        Err(reason) => {
            return skipped(&format!(
                "the test with GitHub's example webhooks: {reason}"
            ));
        }
    };
    let (seed, kills) = (seed(), rounds(2));
    let mut choices = choices(seed, 0);
    let place = Engine::Postgres.place().await;
    let mut servers = [
        Server::start(&place, "").await,
        Server::start(&place, "").await,
    ];
    let ledger = ledger().await;
    let receivers = [
        Receiver::listen(servers[0].client(), ledger.clone()).await,
        Receiver::listen(servers[1].client(), ledger.clone()).await,
    ];
    let uris = receivers
        .each_ref()
        .map(|receiver| format!("http://{}/webhooks", receiver.address));

    let began = Instant::now();
    let progress = watch::Sender::new(Progress::default());
    let deliveries = tokio::spawn(deliver_all(
        payloads.clone(),
        uris.clone(),
        DELIVERIES,
        progress.clone(),
    ));
    let total = payloads.len() * DELIVERIES;
    let mut cut = Vec::new();
    for kill in 0..kills {
        // Spread over the middle of the run, each a little before or after its place.
        let place = total * (kill + 1) / (kills + 1);
        let spread = total / (kills + 1) / 4;
        let target = choices.random_range(place - spread..=place + spread);
        let mut seen = progress.subscribe();
        let reached = seen.wait_for(|now| now.delivered >= target);
        drop(within(BOUND, "deliveries before the kill", reached).await);
        let victim = kill % 2;
        let flights = &receivers[victim].flights;
        let before = flights.now();
        servers[victim].kill().await;
        cut.push(flights.cut(&before));
        servers[victim].restart().await;
    }
    assert!(
        cut.iter().all(|calls| *calls > 0),
        "a kill hit no call: {cut:?}"
    );
    let answers = within(BOUND, "the deliveries", deliveries).await;
    let answers = answers.expect("no panic");
    let progress = *progress.borrow();
    let delivered_in = began.elapsed();

    // Once more when all is over, and each by way of the other server than at first.
    let [first, second] = uris.clone();
    let ignored = watch::Sender::new(Progress::default());
    let late = deliver_all(payloads.clone(), [second, first], 1, ignored);
    let late = within(BOUND, "the late deliveries", late).await;

    let effects = effects(&ledger).await;
    check(&payloads, &answers, &late, &effects, &servers).await;
    refuses_another_body_under_a_used_key(&payloads[0], &uris[0], &ledger).await;
    nothing_is_left_open(&place).await;
    figure(
        "GitHub's webhooks",
        &format!(
            "seed {seed}, {} payloads, {} deliveries in {delivered_in:?} and {} later, {} \
             effects, {kills} kills, calls cut by each {cut:?}, {progress:?}",
            payloads.len(),
            progress.delivered,
            late.len(),
            effects.values().map(Vec::len).sum::<usize>(),
        ),
    );
}

/// One row of the ledger.
#[derive(Debug)]
struct Effect {
    fence: i64,
    attempt: i32,
    nonce: String,
}

/// A database of its own, with a table that takes the same effect as often as it is had.
async fn ledger() -> PgPool {
    let place = Place::database(shared_cluster().await).await;
    let pool = PgPoolOptions::new()
        .max_connections(16)
        .connect(place.url())
        .await
        .expect("the ledger's database is up");
    pool.execute(
        "CREATE TABLE ledger (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            key text NOT NULL,
            fence bigint NOT NULL,
            attempt integer NOT NULL,
            nonce text NOT NULL
        )",
    )
    .await
    .expect("the ledger can be made");
    pool
}

async fn effects(ledger: &PgPool) -> HashMap<String, Vec<Effect>> {
    let rows = sqlx::query("SELECT key, fence, attempt, nonce FROM ledger ORDER BY number")
        .fetch_all(ledger)
        .await
        .expect("the ledger can be read");
    let mut effects: HashMap<String, Vec<Effect>> = HashMap::new();
    for row in rows {
        effects.entry(row.get("key")).or_default().push(Effect {
            fence: row.get("fence"),
            attempt: row.get("attempt"),
            nonce: row.get("nonce"),
        });
    }
    effects
}

/// Delivers each payload several times at once, half to each receiver, until all were accepted.
/// The answers, by delivery id.
async fn deliver_all(
    payloads: Arc<Vec<Payload>>,
    uris: [String; 2],
    times: usize,
    progress: watch::Sender<Progress>,
) -> BTreeMap<String, Vec<Bytes>> {
    let sender = Sender::new();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for number in 0..payloads.len() {
        let place = places.clone().acquire_owned().await.expect("never closed");
        let (payloads, uris) = (payloads.clone(), uris.clone());
        let (sender, progress) = (sender.clone(), progress.clone());
        running.spawn(async move {
            let _place = place;
            let payload = &payloads[number];
            let mut deliveries = JoinSet::new();
            for turn in 0..times {
                let (sender, progress) = (sender.clone(), progress.clone());
                let uri = uris[(number + turn) % 2].clone();
                let (delivery, event) = (payload.delivery.clone(), payload.event.clone());
                let body = payload.body.clone();
                deliveries.spawn(async move {
                    until_accepted(&sender, &uri, &delivery, &event, body, &progress).await
                });
            }
            (payload.delivery.clone(), deliveries.join_all().await)
        });
    }
    running.join_all().await.into_iter().collect()
}

/// A sender that does not give up.
async fn until_accepted(
    sender: &Sender,
    uri: &str,
    delivery: &str,
    event: &str,
    body: Bytes,
    progress: &watch::Sender<Progress>,
) -> Bytes {
    let headers = [("x-github-delivery", delivery), ("x-github-event", event)];
    let began = Instant::now();
    loop {
        let answer = sender.post(uri, &headers, body.clone(), BOUND).await;
        progress.send_modify(|now| now.tries += 1);
        match answer {
            Ok(it) if it.status.is_success() => {
                progress.send_modify(|now| now.delivered += 1);
                return it.body;
            }
            Ok(it)
                if matches!(
                    it.status,
                    StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE
                ) =>
            {
                progress.send_modify(|now| now.told_to_come_back += 1);
            }
            Ok(it) => panic!("{delivery}: {}, {:?}", it.status, it.body),
            Err(error) => panic!("{delivery}: the receiver does not answer: {error}"),
        }
        assert!(began.elapsed() < BOUND, "{delivery}: never accepted");
        let wait = rand::random_range(20..200);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
}

/// Compares answers, ledger and Semel, key by key.
async fn check(
    payloads: &[Payload],
    answers: &BTreeMap<String, Vec<Bytes>>,
    late: &BTreeMap<String, Vec<Bytes>>,
    effects: &HashMap<String, Vec<Effect>>,
    servers: &[Server; 2],
) {
    assert_eq!(answers.len(), payloads.len(), "delivery ids repeat");
    assert_eq!(effects.len(), payloads.len(), "effects without a delivery");
    let clients: [Client; 2] = servers.each_ref().map(Server::client);
    for (number, payload) in payloads.iter().enumerate() {
        let key = &payload.delivery;
        let [effect] = &effects[key][..] else {
            panic!("{key}: {:?}", effects[key]);
        };
        let told: Vec<_> = answers[key].iter().chain(&late[key]).collect();
        assert_eq!(told.len(), DELIVERIES + 1);
        let first = told[0];
        assert!(
            told.iter().all(|answer| *answer == first),
            "{key}: {told:?}"
        );
        let answer: serde_json::Value = serde_json::from_slice(first).expect("an answer");
        assert_eq!(answer["delivery"], **key);
        assert_eq!(answer["nonce"], *effect.nonce, "{key}");

        let record = clients[number % 2].lookup(NAMESPACE, key).await;
        let record = record.expect("answered").expect("it stands");
        let RecordState::Completed(completed) = record.state else {
            panic!("{key}: {:?}", record.state);
        };
        assert_eq!(completed.result, *first, "{key}");
        // Nobody took over: else a second effect would be allowed, and this test would prove
        // nothing by finding none.
        assert_eq!((completed.attempt, effect.attempt), (1, 1), "{key}");
        assert_eq!(completed.fence.get(), effect.fence, "{key}");
    }
}

async fn refuses_another_body_under_a_used_key(payload: &Payload, uri: &str, ledger: &PgPool) {
    let headers = [
        ("x-github-delivery", &*payload.delivery),
        ("x-github-event", &*payload.event),
    ];
    let before = effects(ledger).await.len();
    let other = Bytes::from_static(b"{}");
    let answer = Sender::new().post(uri, &headers, other, PATIENCE).await;
    let answer = answer.expect("the receiver answers");
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(effects(ledger).await.len(), before);
}

/// Semel's own table: every record is completed, at its first attempt.
async fn nothing_is_left_open(place: &Place) {
    let pool = PgPool::connect(place.url()).await.expect("it is up");
    let open: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM records WHERE namespace = $1 AND (state <> 2 OR attempt <> 1)",
    )
    .bind(NAMESPACE)
    .fetch_one(&pool)
    .await
    .expect("it can be read");
    assert_eq!(
        open, 0,
        "records that are not completed at the first attempt"
    );
    pool.close().await;
}
