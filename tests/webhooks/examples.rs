//! The client's examples as programs: sent to, killed, and counted.

#[path = "../../client/rust/examples/stock/shelf.rs"]
mod shelf;

use std::{
    collections::HashMap,
    io::Write as _,
    os::unix::process::CommandExt as _,
    process::{ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::Request;
use http_body_util::Full;
use semel_client::{Claim, ClaimOutcome, Claimed};
use semel_test_postgres::{Cluster, tools::target_dir};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::{AnyPool, Row as _};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    sync::{Semaphore, watch},
    task::JoinSet,
};

use crate::support::*;
use shelf::{Decision, Order, Shelf, Undecided};

const GITHUB_SECRET: &str = "It's a Secret to Everybody";
const STRIPE_SECRET: &str = "whsec_test_secret";
/// What `support::signed` signs with.
const ORDERS_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// For what waits for leases that lapse and for everybody's retries.
const BOUND: Duration = Duration::from_secs(120);

type Delivery = Request<Full<Bytes>>;

/// An example that runs, and does not outlive its test.
struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    _watchdog: Watchdog,
}

impl Program {
    fn start(name: &str, semel: &Semel, arguments: &[&str]) -> Self {
        let ours = std::env::current_exe().expect("this program has a path");
        let release = ours.starts_with(target_dir().join("release"));
        let profile = if release { "release" } else { "debug" };
        let program = target_dir().join(profile).join("examples").join(name);
        assert!(
            program.is_file(),
            "no {}: build it with `cargo build -p semel-client --examples`",
            program.display()
        );
        let mut child = Command::new(program)
            .args(["--semel", &format!("http://{}", semel.address())])
            .args(arguments)
            .env("GITHUB_WEBHOOK_SECRET", GITHUB_SECRET)
            .env("STRIPE_WEBHOOK_SECRET", STRIPE_SECRET)
            .env("ORDERS_WEBHOOK_SECRET", ORDERS_SECRET)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let stdout = child.stdout.take().expect("it is piped");
        Self {
            _watchdog: Watchdog::of(&pid(&child)),
            lines: BufReader::new(stdout).lines(),
            child,
        }
    }

    /// Starts one that listens, and says where.
    async fn serving(name: &str, semel: &Semel, arguments: &[&str]) -> (Self, String) {
        let arguments = [&["--listen", "127.0.0.1:0"], arguments].concat();
        let mut program = Self::start(name, semel, &arguments);
        let first = within(program.lines.next_line()).await.expect("UTF-8");
        let first = first.expect("it says where it listens");
        let (_, url) = first.split_once("listens on ").expect("an address");
        (program, url.to_owned())
    }

    async fn kill(mut self) {
        within(self.child.kill()).await.expect("our own process");
    }

    /// Ends it as Ctrl-C does, and gives back what it said.
    async fn interrupt(self) -> Vec<String> {
        let sent = Command::new("sh")
            .args(["-c", "kill -INT \"$1\"", "sh", &pid(&self.child)])
            .status();
        assert!(within(sent).await.expect("sh runs").success());
        let (status, lines) = within(self.ended()).await;
        assert!(status.success(), "{status}: {lines:#?}");
        lines
    }

    async fn ended(mut self) -> (ExitStatus, Vec<String>) {
        let mut lines = Vec::new();
        while let Some(line) = self.lines.next_line().await.expect("UTF-8") {
            lines.push(line);
        }
        (self.child.wait().await.expect("our own process"), lines)
    }
}

fn pid(child: &Child) -> String {
    child.id().expect("it was not waited for").to_string()
}

/// Kills a program whose test was killed itself, which no destructor survives: a shell that waits on a
/// pipe that we hold.
struct Watchdog(std::process::Child);

impl Watchdog {
    fn of(pid: &str) -> Self {
        let mut shell = std::process::Command::new("sh");
        shell
            .args(["-c", "read -r line || kill -KILL \"$1\"", "sh", pid])
            .stdin(Stdio::piped())
            // Ctrl-C is for us.
            .process_group(0);
        Self(shell.spawn().expect("sh runs"))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some(mut pipe) = self.0.stdin.take() {
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.0.wait();
    }
}

/// Delivers as a sender does: again and again until it is taken.
async fn deliver(caller: &Caller, delivery: impl Fn() -> Delivery) -> Answer {
    let delivered = async {
        loop {
            match caller.try_send(delivery()).await {
                Ok(answer) if answer.status == 200 => return answer,
                Ok(answer) => assert!([409, 503].contains(&answer.status), "{answer:?}"),
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let delivered = tokio::time::timeout(BOUND, delivered);
    delivered.await.expect("it is taken")
}

fn hmac_hex(secret: &str, content: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(content.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

fn from_github(url: &str, delivery: &str, body: &str) -> Delivery {
    let signature = format!("sha256={}", hmac_hex(GITHUB_SECRET, body));
    let headers = [
        ("x-github-event", "star"),
        ("x-github-delivery", delivery),
        ("x-hub-signature-256", &signature),
    ];
    post(&format!("{url}/github"), &headers, body.to_owned())
}

fn from_stripe(url: &str, body: &str) -> Delivery {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let time = now.expect("after 1970").as_secs();
    let signature = hmac_hex(STRIPE_SECRET, &format!("{time}.{body}"));
    let header = format!("t={time},v1={signature}");
    let headers = [("stripe-signature", header.as_str())];
    post(&format!("{url}/stripe"), &headers, body.to_owned())
}

/// Stripe counts down the endpoints that it has not reached, so that no two deliveries need be the same.
fn payment(pending: usize) -> String {
    let session = json!({"client_reference_id": "o-1", "payment_status": "paid"});
    json!({
        "id": "evt_1",
        "type": "checkout.session.completed",
        "pending_webhooks": pending,
        "data": {"object": session},
    })
    .to_string()
}

#[tokio::test]
async fn the_example_webhooks_counts_each_star_and_each_payment_once() {
    const STAR: &str = r#"{"action":"created","repository":{"full_name":"octo/cat"}}"#;
    let semel = Semel::start("").await;
    let (program, url) = Program::serving("webhooks", &semel, &[]).await;
    let caller = Caller::new();

    let mut tasks = JoinSet::new();
    for n in 0..8 {
        let (caller, url) = (caller.clone(), url.clone());
        tasks.spawn(async move {
            let star = deliver(&caller, || from_github(&url, "star-1", STAR)).await;
            let paid = deliver(&caller, || from_stripe(&url, &payment(n))).await;
            (star, paid)
        });
    }
    let answers = within(tasks.join_all()).await;
    let (stars, paid): (Vec<_>, Vec<_>) = answers.into_iter().unzip();
    for (answers, body) in [
        (stars, "octo/cat: 1 stars\n"),
        (paid, "order o-1 is paid\n"),
    ] {
        assert!(answers.iter().all(|answer| answer.body == body));
        let first = answers.iter().filter(|answer| !answer.is_replayed());
        assert_eq!(first.count(), 1);
    }
    let second = deliver(&caller, || from_github(&url, "star-2", STAR)).await;
    assert_eq!(second.body, "octo/cat: 2 stars\n");
    for mut forged in [
        from_github(&url, "star-3", STAR),
        from_stripe(&url, &payment(0)),
    ] {
        *forged.body_mut() = "{}".into();
        assert_eq!(caller.send(forged).await.status, 401);
    }
    let said = |line: &String| line.starts_with("github:") || line.starts_with("stripe:");
    let mut lines = program.interrupt().await;
    lines.retain(said);
    lines.sort();
    let expected = [
        "github: octo/cat: 1 stars",
        "github: octo/cat: 2 stars",
        "stripe: order o-1 is paid, 1 in all",
    ];
    assert_eq!(lines, expected);

    // A new process, which knows of nothing, says the same as the old one, and does nothing.
    let (program, url) = Program::serving("webhooks", &semel, &[]).await;
    let star = deliver(&caller, || from_github(&url, "star-1", STAR)).await;
    assert_eq!(star.body, "octo/cat: 1 stars\n");
    let paid = deliver(&caller, || from_stripe(&url, &payment(9))).await;
    assert_eq!(paid.body, "order o-1 is paid\n");
    assert!(star.is_replayed() && paid.is_replayed());
    assert!(!program.interrupt().await.iter().any(said));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_stock_takes_each_order_once_though_it_is_killed_on_sqlite() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("stock.db");
    stock_is_taken_once(&format!("sqlite:{}?mode=rwc", file.display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_stock_takes_each_order_once_though_it_is_killed_on_postgres() {
    let url = tokio::task::spawn_blocking(|| {
        let cluster = Cluster::shared().expect("a private Postgres");
        cluster.create_database("example_stock").expect("it is new");
        cluster.url("example_stock")
    });
    stock_is_taken_once(&url.await.expect("no panic")).await;
}

const ORDERS: usize = 60;
const DELIVERIES: usize = 3;
/// Of two each, for fewer orders than there are.
const MUGS: i64 = 100;

fn order(number: impl std::fmt::Display) -> (String, String) {
    let data = json!({"order": format!("o-{number}"), "sku": "mug", "quantity": 2});
    let body = json!({"type": "order.paid", "data": data}).to_string();
    (format!("evt_{number}"), body)
}

async fn stock_is_taken_once(database: &str) {
    // A holder that was killed is in nobody's way for long.
    let semel = Semel::start(
        "[namespaces.orders]\ndefault_lease = \"1s\"\nbackoff_initial = \"1ms\"\nattempts = 100\n",
    )
    .await;
    let arguments = ["--database", database];
    let (program, url) = Program::serving("stock", &semel, &arguments).await;
    let shelf = Shelf::open(database).await.unwrap();
    let sql = AnyPool::connect(database).await.unwrap();
    let put_on_shelf = async |mugs: i64| {
        let put = sqlx::query("UPDATE stock SET quantity = $1 WHERE sku = 'mug'").bind(mugs);
        put.execute(&sql).await.unwrap();
    };
    put_on_shelf(MUGS).await;

    let url = watch::Sender::new(url);
    let caller = Caller::new();
    let answered = Arc::new(AtomicUsize::new(0));
    let places = Arc::new(Semaphore::new(16));
    let mut tasks = JoinSet::new();
    for n in 0..ORDERS * DELIVERIES {
        let (caller, url, places) = (caller.clone(), url.subscribe(), places.clone());
        let answered = answered.clone();
        tasks.spawn(async move {
            let _place = places.acquire_owned().await;
            // Duplicates together and one after the other.
            let (event, body) = order(n / 2 % ORDERS);
            let request = || signed(&format!("{}/orders", *url.borrow()), &event, body.clone());
            let answer = deliver(&caller, request).await;
            answered.fetch_add(1, Ordering::SeqCst);
            (event, answer)
        });
    }
    until("a fifth is taken", || {
        answered.load(Ordering::SeqCst) >= ORDERS * DELIVERIES / 5
    })
    .await;
    program.kill().await;
    let (program, address) = Program::serving("stock", &semel, &arguments).await;
    url.send_replace(address);
    let all = tokio::time::timeout(BOUND, tasks.join_all()).await;

    let mut answers = HashMap::new();
    for (event, answer) in all.expect("all are taken") {
        let first = answers.entry(event).or_insert_with(|| answer.body.clone());
        assert_eq!(*first, answer.body);
    }
    assert_eq!(answers.len(), ORDERS);
    let taken = |answer: &Bytes| {
        let answer: Value = serde_json::from_slice(answer).expect("JSON");
        answer["status"] == "taken"
    };
    let taken = answers.values().filter(|answer| taken(answer)).count();
    assert_eq!(taken as i64, MUGS / 2);
    let level = async || shelf.levels().await.unwrap()[0].clone();
    assert_eq!(level().await, ("mug".to_owned(), 0));
    let count = "SELECT COUNT(*) FROM orders WHERE is_taken = 1";
    let rows: i64 = sqlx::query(count).fetch_one(&sql).await.unwrap().get(0);
    assert_eq!(rows, MUGS / 2);

    // An order that was told no is not filled by chance later.
    put_on_shelf(10).await;
    let url = url.borrow().clone();
    two_unlucky_holders(&semel, &shelf, &caller, &format!("{url}/orders")).await;
    assert_eq!(level().await, ("mug".to_owned(), 6));
    program.interrupt().await;
    sql.close().await;
    shelf.close().await;
}

/// A holder dies, and another one is paused, each at its worst moment.
async fn two_unlucky_holders(semel: &Semel, shelf: &Shelf, caller: &Caller, url: &str) {
    // It has taken stock, and nobody hears of it. The next holder finds that out.
    let (event, body) = order("dead");
    let dead = claim(semel, &event, &body).await;
    let two = two_mugs("o-dead");
    let done = shelf.take(&event, dead.fence.get(), &two).await.unwrap();
    let expected = Decision {
        is_taken: true,
        remaining: 8,
    };
    assert_eq!(done, expected);
    let answer = deliver(caller, || signed(url, &event, body.clone())).await;
    let said: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        (&said["status"], &said["remaining"]),
        (&json!("taken"), &json!(8))
    );

    // It goes on when another one has long been there.
    let (event, body) = order("paused");
    let paused = claim(semel, &event, &body).await;
    deliver(caller, || signed(url, &event, body.clone())).await;
    let late = shelf
        .take(&event, paused.fence.get(), &two_mugs("o-paused"))
        .await;
    assert!(matches!(late, Err(Undecided::LaterHolder)), "{late:?}");
}

fn two_mugs(order: &str) -> Order {
    Order {
        order: order.to_owned(),
        sku: "mug".to_owned(),
        quantity: 2,
    }
}

/// The claim of a delivery, as the example's receiver would have made it.
async fn claim(semel: &Semel, event: &str, body: &str) -> Claimed {
    let claim = Claim::new("orders", event).fingerprint(Sha256::digest(body).to_vec());
    match within(semel.client().claim(&claim)).await {
        Ok(ClaimOutcome::Claimed(claimed)) => claimed,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_example_send_has_each_event_done_once_or_a_dead_letter() {
    let semel = Semel::start("").await;
    let program = Program::start("send", &semel, &["--events", "21"]);
    let ended = tokio::time::timeout(BOUND, program.ended());
    let (status, lines) = ended.await.expect("it ends by itself");
    assert!(status.success(), "{status}: {lines:#?}");
    let count = |start: &str, end: &str| {
        let is_one = |line: &&String| line.starts_with(start) && line.ends_with(end);
        lines.iter().filter(is_one).count()
    };
    assert_eq!(count("/works ", " taken at attempt 1"), 3);
    assert_eq!(count("/drops-the-request ", " taken at attempt 2"), 3);
    // Done at the first attempt, whose answer was lost, and not again.
    let replayed = " taken at attempt 2, a replayed answer";
    assert_eq!(count("/drops-the-answer ", replayed), 3);
    assert_eq!(count("dead letter: ", "410 Gone"), 3);
    assert_eq!(count("dead letter: ", "502 Bad Gateway"), 3);
    let sum = "21 events: 15 taken, 6 dead letters; 15 done once, 0 more than once";
    assert_eq!(lines.last().map(String::as_str), Some(sum), "{lines:#?}");
}
