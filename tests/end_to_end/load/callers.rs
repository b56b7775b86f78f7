//! Callers that claim, settle, let claims lapse, and never give a call up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use rand::{RngExt as _, rngs::StdRng};
use semel_client::{
    Claim, ClaimOutcome, Claimed, Client, Completion, Error, FailOutcome, Failure, RecordedFailure,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, sleep_until},
};

use super::book::{Book, Call};
use crate::support::{Flights, PATIENCE, choices, within};

/// The namespace of the load's keys.
pub const NAMESPACE: &str = "load";

/// Keys that nobody else asks for are held for as long as a test can take.
const LONG: Duration = Duration::from_secs(600);
/// And those that many ask for lapse often.
const SHORT: Duration = Duration::from_millis(150);
/// How many keys many ask for at a time.
const SHARED: u64 = 6;
/// Questions after which the next of these keys comes in.
const QUESTIONS: u64 = 12;

/// Callers at work.
pub struct Load {
    /// What they were told.
    pub book: Arc<Book>,
    /// Their calls under way.
    pub flights: Flights,
    stop: watch::Sender<bool>,
    callers: JoinSet<()>,
}

struct Caller {
    number: u64,
    clients: Vec<Client>,
    book: Arc<Book>,
    flights: Flights,
    questions: Arc<AtomicU64>,
    stop: watch::Receiver<bool>,
    choices: StdRng,
}

impl Load {
    /// Starts so many callers. Each asks the servers in turn.
    pub fn start(clients: &[Client], callers: u64, seed: u64) -> Self {
        let stop = watch::Sender::new(false);
        let mut load = Self {
            book: Arc::new(Book::new()),
            flights: Flights::default(),
            stop,
            callers: JoinSet::new(),
        };
        let questions = Arc::new(AtomicU64::new(0));
        for number in 0..callers {
            let caller = Caller {
                number,
                clients: clients.to_vec(),
                book: load.book.clone(),
                flights: load.flights.clone(),
                questions: questions.clone(),
                stop: load.stop.subscribe(),
                choices: choices(seed, number + 1),
            };
            load.callers.spawn(caller.run());
        }
        load
    }

    /// Lets every caller finish what it is at.
    pub async fn finish(&mut self) {
        self.stop.send_replace(true);
        within(PATIENCE, "the callers' end", async {
            while let Some(ended) = self.callers.join_next().await {
                ended.expect("a caller ends well");
            }
        })
        .await;
    }
}

impl Caller {
    async fn run(mut self) {
        let mut own = 0u64;
        while !*self.stop.borrow() {
            if self.choices.random_bool(0.5) {
                own += 1;
                self.alone(format!("own-{}-{own}", self.number)).await;
            } else {
                let question = self.questions.fetch_add(1, Ordering::Relaxed);
                let key = question / QUESTIONS + self.choices.random_range(0..SHARED);
                self.among_others(format!("shared-{key}")).await;
            }
        }
    }

    /// A key of one's own: whatever happens to calls and servers, the first attempt gets it, and
    /// its settlement counts.
    async fn alone(&mut self, key: String) {
        let Some(claimed) = self.claim(&key, LONG).await else {
            return self
                .book
                .wrong(format!("{key}: only asked for here, and not granted"));
        };
        if claimed.attempt != 1 {
            self.book
                .wrong(format!("{key}: granted as attempt {}", claimed.attempt));
        }
        let kept = if self.choices.random_bool(0.8) {
            self.complete(&claimed).await
        } else {
            self.fail(&claimed, true).await
        };
        if !kept {
            self.book.wrong(format!("{key}: only held here, and lost"));
        }
        if self.choices.random_bool(0.2) {
            self.look_up(&key).await;
        }
        if self.choices.random_bool(0.2) && self.claim(&key, LONG).await.is_some() {
            self.book
                .wrong(format!("{key}: granted after it was settled"));
        }
    }

    /// A key that others ask for at the same time.
    async fn among_others(&mut self, key: String) {
        let Some(claimed) = self.claim(&key, SHORT).await else {
            return;
        };
        match self.choices.random_range(0..10) {
            0..4 => drop(self.complete(&claimed).await),
            4..7 => drop(self.fail(&claimed, false).await),
            7 => drop(self.fail(&claimed, true).await),
            // It comes too late, perhaps.
            8 => {
                let late = self.choices.random_range(0..100);
                let until = claimed.lease.until() + Duration::from_millis(late);
                sleep_until(until.into()).await;
                self.complete(&claimed).await;
            }
            // It never comes.
            _ => {}
        }
    }

    async fn claim(&mut self, key: &str, lease: Duration) -> Option<Claimed> {
        let claim = Arc::new(Claim::new(NAMESPACE, key).lease(lease));
        let (outcome, call) = self
            .until_answered(key, |client| {
                let claim = claim.clone();
                async move { client.claim(&claim).await }
            })
            .await?;
        self.book.claim(key, claim.attempt_id(), call, &outcome);
        let ClaimOutcome::Claimed(claimed) = outcome else {
            return None;
        };
        // Of a claim that is found, the time since it was made is missing.
        let left = claimed.lease.until() - call.answered.min(claimed.lease.until());
        if call.unanswered > 0 && left + (call.answered - call.sent) / 2 < lease {
            self.book.count(|told| told.found_claims += 1);
        }
        Some(claimed)
    }

    async fn complete(&mut self, claimed: &Claimed) -> bool {
        let result = self.some_bytes();
        self.book.settling(claimed);
        let answer = self
            .settle(claimed, |client| {
                let (held, result) = (claimed.held.clone(), result.clone());
                async move { client.complete(&held, result).await }
            })
            .await;
        let Some((Completion { repeat, .. }, call)) = answer else {
            return false;
        };
        self.book.completed(claimed, call, result, repeat);
        true
    }

    async fn fail(&mut self, claimed: &Claimed, for_good: bool) -> bool {
        let result = self.some_bytes();
        let failure = if for_good {
            Failure::terminal("no", result.clone())
        } else {
            Failure::retryable_after("not now", Duration::from_millis(5))
        };
        self.book.settling(claimed);
        let answer = self
            .settle(claimed, |client| {
                let (held, failure) = (claimed.held.clone(), failure.clone());
                async move { client.fail(&held, &failure).await }
            })
            .await;
        let Some((
            RecordedFailure {
                repeat, outcome, ..
            },
            call,
        )) = answer
        else {
            return false;
        };
        match &outcome {
            FailOutcome::Failed(it) if for_good && it.result == result => {}
            FailOutcome::BackingOff(_) if !for_good => {}
            other => {
                let key = claimed.held.key();
                self.book
                    .wrong(format!("{key}: {failure:?} made {other:?}"));
            }
        }
        self.book.failed(claimed, call, &outcome, repeat);
        true
    }

    async fn look_up(&mut self, key: &str) {
        let answer = self
            .until_answered(key, |client| {
                let key = key.to_owned();
                async move { client.lookup(NAMESPACE, &key).await }
            })
            .await;
        if let Some((record, call)) = answer {
            self.book.looked_up(key, call, record.as_ref());
        }
    }

    async fn settle<T, F>(
        &mut self,
        claimed: &Claimed,
        send: impl Fn(Client) -> F + Send + Sync,
    ) -> Option<(T, Call)>
    where
        F: Future<Output = Result<T, Error>> + Send,
        T: Send,
    {
        let send = |client| {
            let answer = send(client);
            async move {
                match answer.await {
                    Err(Error::LeaseLost { current_fence }) => Ok(Err(current_fence)),
                    other => other.map(Ok),
                }
            }
        };
        match self.until_answered(claimed.held.key(), send).await? {
            (Ok(answer), call) => Some((answer, call)),
            (Err(current_fence), _) => {
                self.book.lost(claimed, current_fence);
                None
            }
        }
    }

    /// Sends a call, again and again and to each server in turn, until it is answered. `None` when
    /// it is answered with what no call of ours may be.
    async fn until_answered<T, F>(
        &mut self,
        key: &str,
        send: impl Fn(Client) -> F + Send + Sync,
    ) -> Option<(T, Call)>
    where
        F: Future<Output = Result<T, Error>> + Send,
        T: Send,
    {
        let first = self.choices.random_range(0..self.clients.len());
        let sent = Instant::now();
        let mut unanswered = 0;
        loop {
            let turn = (first + unanswered as usize) % self.clients.len();
            let client = self.clients[turn].clone();
            let flight = self.flights.begin();
            let answer = send(client).await;
            match &answer {
                Err(error) if error.is_unavailable() => flight.unanswered(),
                _ => drop(flight),
            }
            let answered = Instant::now();
            match answer {
                Ok(answer) => {
                    let call = Call {
                        sent,
                        answered,
                        unanswered,
                    };
                    return Some((answer, call));
                }
                Err(error) if error.is_unavailable() && sent.elapsed() < PATIENCE => {
                    unanswered += 1;
                    self.book.count(|told| told.unanswered += 1);
                    let least = Duration::from_millis(20);
                    sleep(error.retry_after().unwrap_or(least)).await;
                }
                Err(error) => {
                    self.book.wrong(format!("{key}: {error:?}"));
                    return None;
                }
            }
        }
    }

    /// Empty ones are results, too.
    fn some_bytes(&mut self) -> Bytes {
        let len = self.choices.random_range(0..64);
        (0..len).map(|_| self.choices.random::<u8>()).collect()
    }
}
