//! The senders: they deliver what the plan says and hold every answer against the first.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::connection::{Connection, Reply, send_and_hang_up};
use super::plan::{Manner, Order, Plan, Step, Trouble};
use super::receiver::{Fault, Faults};

/// How many senders there are.
const SENDERS: usize = 32;
/// A sender gives a delivery up after this long; nothing in the demo takes nearly that long.
const GIVE_UP: Duration = Duration::from_secs(60);
/// How long a sender rests where nobody told it when to come back.
const PAUSE: Duration = Duration::from_millis(150);
/// How long a slow handler takes: longer than a duplicate waits, so that some are told to come
/// back later.
const SLOW: Duration = Duration::from_millis(400);
/// More problems than this are counted, but not kept.
const PROBLEMS_KEPT: usize = 10;

/// What the senders sent and what they were answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Requests sent, repetitions included. Each of them is counted below, too.
    pub requests: u64,
    /// Final answers that were nobody's repetition.
    pub firsts: u64,
    /// Final answers that were said to be a repetition.
    pub replays: u64,
    /// Told to come back later.
    pub come_back: u64,
    /// Told that the handler died.
    pub crashed: u64,
    /// Refused: the key stands for another body.
    pub other_body: u64,
    /// Refused: no key.
    pub no_key: u64,
    /// Not read: the sender had hung up.
    pub lost: u64,
    /// Connections that broke without an answer.
    pub broken: u64,
    /// What must not happen, and how often it did.
    pub problems: Vec<String>,
    /// Problems beyond those kept.
    pub more_problems: u64,
}

impl Tally {
    fn problem(&mut self, problem: String) {
        if self.problems.len() < PROBLEMS_KEPT {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }
}

/// What the senders share.
pub(super) struct Senders {
    plan: Arc<Plan>,
    shop: SocketAddr,
    faults: Faults,
    next: AtomicUsize,
    delivered: AtomicUsize,
    tally: Mutex<Tally>,
    /// Per order, its first final answer.
    answers: Vec<watch::Sender<Option<Reply>>>,
}

impl Senders {
    pub fn new(plan: Arc<Plan>, shop: SocketAddr, faults: Faults) -> Self {
        let answers = plan
            .orders
            .iter()
            .map(|_| watch::Sender::new(None))
            .collect();
        Self {
            plan,
            shop,
            faults,
            next: AtomicUsize::new(0),
            delivered: AtomicUsize::new(0),
            tally: Mutex::default(),
            answers,
        }
    }

    /// Deliveries that were answered for good.
    pub fn delivered(&self) -> usize {
        self.delivered.load(Ordering::Relaxed)
    }

    pub fn tally(&self) -> Tally {
        self.lock().clone()
    }

    /// Starts them all; the set is empty when the plan is carried out.
    pub fn start(self: &Arc<Self>) -> JoinSet<()> {
        (0..SENDERS).map(|_| self.clone().work()).collect()
    }

    async fn work(self: Arc<Self>) {
        let mut connection = None;
        while let Some(step) = self
            .plan
            .steps
            .get(self.next.fetch_add(1, Ordering::Relaxed))
        {
            self.carry_out(step, &mut connection).await;
            self.delivered
                .fetch_add(step.deliveries() as usize, Ordering::Relaxed);
        }
    }

    async fn carry_out(self: &Arc<Self>, step: &Step, connection: &mut Option<Connection>) {
        match step.trouble {
            Some(Trouble::Crash) => self.faults.inject(Fault::CrashBeforeEffect),
            Some(Trouble::Slow) => self.faults.inject(Fault::Delay(SLOW)),
            None => {}
        }
        let order = &self.plan.orders[step.order];
        match step.manner {
            Manner::Plain => self.deliver(step.order, connection).await,
            Manner::Race(copies) => {
                let racing = (0..copies).map(|_| {
                    let (senders, order) = (self.clone(), step.order);
                    async move { senders.deliver(order, &mut None).await }
                });
                racing.collect::<JoinSet<()>>().join_all().await;
            }
            Manner::HangUpAfterSending | Manner::HangUpBeforeReading => {
                let waits = step.manner == Manner::HangUpBeforeReading;
                self.count(|tally| {
                    tally.requests += 1;
                    tally.lost += 1;
                });
                // Whatever became of it: the sender does not know, and delivers it again.
                let _ = send_and_hang_up(self.shop, &order.key, &order.body(), waits).await;
                self.deliver(step.order, connection).await;
            }
            Manner::OtherBody => {
                // Only then is it the other one. Its order was taken on before, so this ends.
                let mut answered = self.answers[step.order].subscribe();
                let _ = answered.wait_for(Option::is_some).await;
                let body = order.other_body();
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                self.be_refused(Some(&order.key), body, status, connection)
                    .await;
            }
            Manner::NoKey => {
                let status = StatusCode::BAD_REQUEST;
                self.be_refused(None, order.body(), status, connection)
                    .await;
            }
        }
    }

    /// Sends the order again and again until the answer is final.
    async fn deliver(&self, index: usize, connection: &mut Option<Connection>) {
        let order = &self.plan.orders[index];
        let reply = self
            .until_final(Some(&order.key), order.body().into(), connection)
            .await;
        match reply {
            Some(reply) => self.take_answer(index, order, reply),
            None => self.count(|tally| {
                tally.problem(format!("{} was not answered within {GIVE_UP:?}", order.id));
            }),
        }
        if self.answers[index].borrow().is_none() {
            // A problem by now; whoever waits for the answer must not wait for ever.
            self.answers[index].send_replace(Some(Reply::none()));
        }
    }

    fn take_answer(&self, index: usize, order: &Order, reply: Reply) {
        let expected = if order.is_sold_out() {
            StatusCode::CONFLICT
        } else {
            StatusCode::OK
        };
        let mut first = None;
        self.answers[index].send_if_modified(|answer| {
            first.clone_from(answer);
            let is_first = answer.is_none();
            if is_first {
                *answer = Some(reply.clone());
            }
            is_first
        });
        self.count(|tally| {
            if reply.is_replay {
                tally.replays += 1;
            } else {
                tally.firsts += 1;
            }
            if reply.status != expected {
                tally.problem(format!("{} was answered {}", order.id, reply.status));
            }
            if let Some(first) = first
                && !first.says_the_same(&reply)
            {
                tally.problem(format!("{} was answered in two ways", order.id));
            }
        });
    }

    /// Sends what has to be refused.
    async fn be_refused(
        &self,
        key: Option<&str>,
        body: String,
        expected: StatusCode,
        connection: &mut Option<Connection>,
    ) {
        let reply = self.until_final(key, body.into(), connection).await;
        self.count(|tally| match reply {
            Some(reply) if reply.status == expected && key.is_some() => tally.other_body += 1,
            Some(reply) if reply.status == expected => tally.no_key += 1,
            Some(reply) => {
                tally.problem(format!(
                    "{} instead of being refused ({expected})",
                    reply.status
                ));
            }
            None => tally.problem(format!("no answer within {GIVE_UP:?}")),
        });
    }

    async fn until_final(
        &self,
        key: Option<&str>,
        body: Bytes,
        connection: &mut Option<Connection>,
    ) -> Option<Reply> {
        let started = Instant::now();
        while started.elapsed() < GIVE_UP {
            self.count(|tally| tally.requests += 1);
            let pause = match self.post(key, body.clone(), connection).await {
                Ok(reply) => match reply.retry_after {
                    Some(pause) => {
                        self.count(|tally| tally.come_back += 1);
                        pause
                    }
                    None if reply.status == StatusCode::INTERNAL_SERVER_ERROR => {
                        self.count(|tally| tally.crashed += 1);
                        PAUSE
                    }
                    None => return Some(reply),
                },
                Err(_) => {
                    *connection = None;
                    self.count(|tally| tally.broken += 1);
                    PAUSE
                }
            };
            sleep(pause).await;
        }
        None
    }

    async fn post(
        &self,
        key: Option<&str>,
        body: Bytes,
        connection: &mut Option<Connection>,
    ) -> std::io::Result<Reply> {
        let open = match connection {
            Some(open) => open,
            None => connection.insert(Connection::open(self.shop).await?),
        };
        open.post(key, body).await
    }

    fn count(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reply {
    /// Stands for an answer that never came.
    fn none() -> Self {
        Self {
            status: StatusCode::REQUEST_TIMEOUT,
            content_type: Bytes::new(),
            body: Bytes::new(),
            is_replay: false,
            retry_after: None,
        }
    }

    /// Byte for byte, but for the mark of a repetition.
    fn says_the_same(&self, other: &Self) -> bool {
        (self.status, &self.content_type, &self.body)
            == (other.status, &other.content_type, &other.body)
    }
}
