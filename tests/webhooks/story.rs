//! Ten thousand deliveries with everything that goes wrong between a sender and a receiver.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use semel_client::webhook::{Preset, Receiver};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::support::*;

const DELIVERIES: usize = 10_000;
const EVENTS: usize = 2_500;
const AT_ONCE: usize = 64;
const BOUND: Duration = Duration::from_secs(120);

#[derive(Clone, Copy)]
enum Kind {
    Genuine,
    /// The client goes away before it is answered.
    HungUp,
    Forged,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_deliveries_have_each_effect_once_and_identical_answers() {
    let seed = rand::rng().next_u64();
    eprintln!("seed {seed}");
    let mut choices = StdRng::seed_from_u64(seed);
    let mut semel = Semel::start("[namespaces.hooks]\nbackoff_initial = \"1ms\"\n").await;
    let effects = Effects::default();
    // Two of them, which know of each other by Semel alone.
    let services = [
        service(&semel, "first", &effects).await,
        service(&semel, "second", &effects).await,
    ];

    // Every event genuinely at least once, the rest at random, all in any order.
    let mut deliveries: Vec<_> = (0..EVENTS).map(|event| (event, Kind::Genuine)).collect();
    while deliveries.len() < DELIVERIES {
        let kind = match choices.random_range(0..10) {
            0 => Kind::Forged,
            1 => Kind::HungUp,
            _ => Kind::Genuine,
        };
        deliveries.push((choices.random_range(0..EVENTS), kind));
    }
    deliveries.shuffle(&mut choices);

    let answers = Arc::new(Mutex::new(HashMap::<usize, Given>::new()));
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let caller = Caller::new();
    let mut tasks = JoinSet::new();
    for (n, (event, kind)) in deliveries.into_iter().enumerate() {
        if n == DELIVERIES / 2 {
            tokio::time::timeout(BOUND, semel.restart())
                .await
                .expect("it restarts");
        }
        let place = places.clone().acquire_owned().await.unwrap();
        let url = services[choices.random_range(0..2)].url();
        let (caller, answers) = (caller.clone(), answers.clone());
        let patience = Duration::from_micros(choices.random_range(0..3_000));
        tasks.spawn(async move {
            let _place = place;
            deliver(&caller, &url, event, kind, patience, &answers).await;
        });
    }
    let all = async {
        while let Some(task) = tasks.join_next().await {
            task.unwrap()
        }
    };
    tokio::time::timeout(BOUND, all)
        .await
        .expect("all are delivered");
    for service in &services {
        within(service.receiver.drain()).await;
    }

    let effects = effects.lock().unwrap();
    assert_eq!(effects.len(), EVENTS, "every event had its effect");
    let repeated: Vec<_> = effects.iter().filter(|(_, times)| **times != 1).collect();
    assert!(repeated.is_empty(), "more than once: {repeated:?}");
    assert_eq!(answers.lock().unwrap().len(), EVENTS);
}

/// A header and the body of an answer.
type Given = (Option<String>, Bytes);
type Effects = Arc<Mutex<HashMap<String, usize>>>;

async fn service(semel: &Semel, name: &'static str, effects: &Effects) -> Service {
    let preset = Preset::standard_webhooks(secret());
    let receiver = Receiver::new(semel.client(), "hooks", preset).wait(Duration::from_secs(5));
    let effects = effects.clone();
    Service::start(receiver, move |n, headers, body| {
        // Some fail before they have done anything.
        if n % 50 == 7 {
            return say(503, "not now");
        }
        let id = headers["webhook-id"].to_str().unwrap().to_owned();
        *effects.lock().unwrap().entry(id.clone()).or_default() += 1;
        Told {
            headers: vec![("location", name)],
            // So that hang-ups and the restart meet handlers half way.
            takes: Duration::from_millis((n % 7) as u64),
            ..say(201, format!("{id} did {n} with {} bytes", body.len()))
        }
    })
    .await
}

async fn deliver(
    caller: &Caller,
    url: &str,
    event: usize,
    kind: Kind,
    patience: Duration,
    answers: &Mutex<HashMap<usize, Given>>,
) {
    let id = format!("msg_{event}");
    let body = format!("{{\"event\":{event}}}");
    match kind {
        Kind::Forged => {
            let mut request = signed(url, &id, body);
            *request.body_mut() = Full::new("{\"event\":\"forged\"}".into());
            assert_eq!(caller.send(request).await.status, 401);
        }
        Kind::HungUp => {
            let exchange = caller.try_send(signed(url, &id, body));
            let _ = tokio::time::timeout(patience, exchange).await;
        }
        // As a sender does: again and again until it is taken.
        Kind::Genuine => {
            let delivered = async {
                loop {
                    let answer = caller.try_send(signed(url, &id, body.clone())).await;
                    match answer {
                        Ok(answer) if answer.status == 201 => return answer,
                        Ok(answer) => assert!([409, 503].contains(&answer.status), "{answer:?}"),
                        Err(_) => {}
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let answer = tokio::time::timeout(BOUND, delivered)
                .await
                .expect("it is taken");
            let given = (answer.header("location").map(str::to_owned), answer.body);
            let mut answers = answers.lock().unwrap();
            let first = answers.entry(event).or_insert_with(|| given.clone());
            assert_eq!(*first, given, "{id} was answered differently");
        }
    }
}
