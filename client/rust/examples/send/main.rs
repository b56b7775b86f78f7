//! Sends events to a receiver in the same process that goes wrong in every way, and counts what came
//! of them.
//!
//! `cargo run -p semel-client --example send -- --semel http://127.0.0.1:7420 --events 14`

mod flaky;

use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, Mutex},
    time::Duration,
};

use clap::Parser;
use semel_client::{
    Client,
    webhook::{
        Preset, Receiver, Sender,
        receiver::IDEMPOTENT_REPLAYED,
        sender::{Event, Schedule, http_client},
        signature::Secret,
    },
};
use tracing_subscriber::filter::LevelFilter;

/// Sends events to a flaky receiver.
#[derive(Parser)]
struct Arguments {
    /// Where Semel listens.
    #[arg(long, default_value = "http://127.0.0.1:7420")]
    semel: String,
    /// How many events to send.
    #[arg(long, default_value_t = 14)]
    events: usize,
}

/// Short, so that nobody has to wait. The default one is right for others' receivers.
fn schedule() -> Schedule {
    Schedule::new([100, 200, 400, 800].map(Duration::from_millis))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(LevelFilter::ERROR)
        .init();
    let arguments = Arguments::parse();
    let semel = Client::connect(arguments.semel.as_str())?;
    // Both ends are here, so nobody else has to know it.
    let secret = Secret::raw(rand::random::<[u8; 24]>())?;
    let receiver = Receiver::new(semel, "flaky", Preset::standard_webhooks(secret.clone()));
    let (address, done) = flaky::start(receiver).await?;

    let dead_letters = Arc::new(Mutex::new(Vec::new()));
    let sender = Sender::new(http_client())
        .secret(secret)
        .schedule(schedule())
        .timeout(Duration::from_secs(5))
        .on_dead_letter({
            let dead_letters = dead_letters.clone();
            // A program would write it down, to send it again when somebody has looked at it.
            move |letter| {
                dead_letters.lock().expect("nobody panics").push(letter);
                async {}
            }
        });

    let mut sent = Vec::new();
    for number in 0..arguments.events {
        let path = flaky::PATHS[number % flaky::PATHS.len()];
        let to = format!("http://{address}{path}").parse()?;
        let event = Event::new(format!(
            r#"{{"type":"order.paid","data":{{"order":{number}}}}}"#
        ));
        sent.push((path, event.id().to_owned(), sender.spawn(to, event).await));
    }
    let mut taken = Vec::new();
    for (path, id, delivery) in sent {
        match delivery.await? {
            Ok(delivered) => {
                let is_replayed = delivered.answer.headers.contains_key(IDEMPOTENT_REPLAYED);
                let replayed = if is_replayed {
                    ", a replayed answer"
                } else {
                    ""
                };
                println!(
                    "{path:18} taken at attempt {}{replayed}",
                    delivered.attempts
                );
                taken.push(id);
            }
            Err(letter) => println!("{path:18} given up after attempt {}", letter.attempts),
        }
    }
    sender.stop().await;

    let dead_letters = dead_letters.lock().expect("nobody panics");
    for letter in dead_letters.iter() {
        println!("dead letter: {letter}");
    }
    sum_up(
        &taken,
        dead_letters.len(),
        &done.lock().expect("nobody panics"),
    )
}

/// Every event that was taken has to be done once, and no other.
fn sum_up(
    taken: &[String],
    dead: usize,
    done: &HashMap<String, u32>,
) -> Result<(), Box<dyn Error>> {
    let once = done.values().filter(|times| **times == 1).count();
    let more = done.len() - once;
    println!(
        "{} events: {} taken, {dead} dead letters; {once} done once, {more} more than once",
        taken.len() + dead,
        taken.len(),
    );
    match more == 0 && once == taken.len() && taken.iter().all(|id| done.contains_key(id)) {
        true => Ok(()),
        false => Err("what was taken is not what was done".into()),
    }
}
