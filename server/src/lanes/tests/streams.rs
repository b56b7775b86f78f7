//! Commands of a stream: they wait for room instead of being refused, and each ticket comes back.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore, oneshot},
    time::{Instant, timeout},
};

use super::{faulty::Fault, *};

const SOON: Duration = Duration::from_secs(10);
const PLACES: usize = 100;

/// A stream that keeps what it is told.
#[derive(Debug)]
struct Stream {
    window: Arc<Semaphore>,
    told: Mutex<HashMap<u64, Told>>,
    more: Notify,
    is_closed: AtomicBool,
}

/// An answer, or `None` of a ticket that came back as lost.
type Told = Option<Result<Reply, LaneError>>;

impl Stream {
    fn open() -> Arc<Self> {
        Arc::new(Self {
            window: Arc::new(Semaphore::new(PLACES)),
            told: Mutex::default(),
            more: Notify::new(),
            is_closed: AtomicBool::new(false),
        })
    }

    fn ticket(&self, number: u64) -> Ticket {
        let place = || self.window.clone().try_acquire_owned().expect("a place");
        Ticket {
            about: crate::telemetry::About::default(),
            number,
            window: place(),
            budget: place(),
        }
    }

    fn keep(&self, ticket: Ticket, told: Told) {
        let before = self.told.lock().unwrap().insert(ticket.number, told);
        assert!(before.is_none(), "answered twice: {before:?}");
        drop(ticket);
        self.more.notify_one();
    }

    /// What command `number` was told.
    async fn told(&self, number: u64) -> Told {
        let waiting = async {
            loop {
                if let Some(told) = self.told.lock().unwrap().remove(&number) {
                    return told;
                }
                self.more.notified().await;
            }
        };
        timeout(SOON, waiting).await.expect("an answer")
    }
}

impl Answers for Stream {
    fn take(&self, ticket: Ticket, _: KeyId, answer: Result<Reply, LaneError>) {
        self.keep(ticket, Some(answer));
    }

    fn lost(&self, ticket: Ticket) {
        self.keep(ticket, None);
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }
}

impl House {
    /// Submits a Claim of its own key, in the background.
    fn submits(&self, stream: &Arc<Stream>, number: u64) -> JoinHandle<()> {
        let command = Command::Claim(self.claim(number as u8));
        let (lanes, answers) = (self.lanes.clone(), stream.clone() as Arc<dyn Answers>);
        let ticket = stream.ticket(number);
        let id = id(&number.to_string());
        tokio::spawn(async move { lanes.submit(id, command, &answers, ticket).await })
    }
}

#[track_caller]
fn is_claimed(told: &Told) {
    let claimed = matches!(told, Some(Ok(Reply::Claim(ClaimReply::Claimed(_)))));
    assert!(claimed, "{told:?}");
}

#[tokio::test]
async fn a_streams_claim_waits_for_room_and_leaves_single_ones_theirs() {
    let mut house = house(LaneSettings {
        queue: 1,
        ..LaneSettings::default()
    })
    .await;
    let stream = Stream::open();
    house.store.shut();
    let mut submitted = Vec::new();
    for number in 1..=6 {
        submitted.push(house.submits(&stream, number));
        if number == 1 {
            assert_eq!(house.arrival().await, ("insert", 1));
        }
    }
    until(|| house.lanes.queues[0].streams.capacity() == 0).await;
    // The single claims' queue has its own one place, and the next of them is refused.
    let first = house.claims("first", 8);
    until(|| house.lanes.queues[0].callers.capacity() == 0).await;
    let second = house.lanes.claim(id("second"), house.claim(9), None).await;
    assert_eq!(second, Err(LaneError::QueueFull));
    let in_turn = {
        let lanes = house.lanes.clone();
        tokio::spawn(async move { lanes.call_in_turn(id("1"), Command::Lookup).await })
    };
    assert!(!submitted[5].is_finished());
    house.store.reopen();
    for number in 1..=6 {
        is_claimed(&stream.told(number).await);
    }
    let first = timeout(SOON, first).await.unwrap().unwrap();
    assert!(matches!(first, Ok(ClaimReply::Claimed(_))), "{first:?}");
    let looked = timeout(SOON, in_turn).await.unwrap().unwrap();
    assert!(matches!(looked, Ok(Reply::Lookup { .. })), "{looked:?}");
    assert_eq!(stream.window.available_permits(), PLACES);
}

#[tokio::test]
async fn claims_of_a_stream_that_nobody_reads_any_more_are_dropped_and_settlements_are_not() {
    let mut house = house(LaneSettings::default()).await;
    let grant = house.claimed("paid", 1).await;
    house.arrival().await;
    let stream = Stream::open();
    let answers = stream.clone() as Arc<dyn Answers>;
    house.store.shut();
    let blocker = house.claims("blocker", 2);
    house.arrival().await;
    for number in 1..=3 {
        house.submits(&stream, number).await.unwrap();
    }
    let (command, ticket) = (complete(grant.token, "once"), stream.ticket(9));
    let paid = id("paid");
    house.lanes.submit(paid, command, &answers, ticket).await;
    stream.is_closed.store(true, Ordering::SeqCst);
    house.store.reopen();
    blocker.await.unwrap().unwrap();
    let settled = Some(house.lanes.call(id("paid"), Command::Lookup).await);
    let Some(Ok(Reply::Lookup { outcome, .. })) = settled else {
        panic!("{settled:?}")
    };
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    for number in 1..=3 {
        let absent = crate::key::transition::Refusal::KeyNotFound;
        let looked = house.look(&number.to_string()).await;
        assert_eq!(looked, Err(LaneError::Refused(absent)));
    }
    until(|| stream.window.available_permits() == PLACES).await;
}

#[tokio::test]
async fn a_store_that_is_away_is_told_to_every_command_of_a_stream() {
    let mut house = house(LaneSettings::default()).await;
    let stream = Stream::open();
    house.store.shut();
    house.submits(&stream, 1).await.unwrap();
    house.arrival().await;
    for number in 2..=5 {
        house.submits(&stream, number).await.unwrap();
    }
    // Of the first one, and of the others together.
    house.store.plan(Fault::LostBefore);
    house.store.plan(Fault::LostAfter);
    house.store.reopen();
    for number in 1..=5 {
        let told = stream.told(number).await;
        let away = matches!(told, Some(Err(LaneError::StoreUnavailable(_))));
        assert!(away, "{told:?}");
    }
    for number in 1..=5 {
        house.submits(&stream, number).await.unwrap();
        is_claimed(&stream.told(number).await);
    }
}

#[tokio::test]
async fn what_a_worker_that_dies_had_taken_comes_back_as_lost() {
    let mut house = house(LaneSettings::default()).await;
    let stream = Stream::open();
    house.store.shut();
    house.store.plan(Fault::Panics);
    house.submits(&stream, 1).await.unwrap();
    house.arrival().await;
    // In the queue by then.
    for number in 2..=4 {
        house.submits(&stream, number).await.unwrap();
    }
    house.store.reopen();
    for number in 1..=4 {
        assert_eq!(stream.told(number).await, None);
    }
    timeout(SOON, house.lanes.broken()).await.unwrap();
    house.submits(&stream, 5).await.unwrap();
    let late = Some(Err(LaneError::ShuttingDown));
    assert_eq!(stream.told(5).await, late);
    assert_eq!(stream.window.available_permits(), PLACES);
}

#[tokio::test]
async fn lanes_that_are_closed_tell_a_stream_so() {
    let house = house(LaneSettings::default()).await;
    let stream = Stream::open();
    house.lanes.close().await;
    house.submits(&stream, 1).await.unwrap();
    let late = Some(Err(LaneError::ShuttingDown));
    assert_eq!(stream.told(1).await, late);
}

/// Waits beside, until `cancel` says so.
fn wait_unless(
    house: &House,
    attempt: u8,
) -> (
    oneshot::Sender<()>,
    JoinHandle<Result<Option<ClaimReply>, LaneError>>,
) {
    let (cancel, cancelled) = oneshot::channel();
    let (lanes, claim) = (house.lanes.clone(), house.claim(attempt));
    let until = Instant::now() + Duration::from_secs(60);
    let waits = tokio::spawn(async move {
        let cancelled = async { cancelled.await.expect("it is not dropped") };
        lanes
            .claim_unless(cancelled, id("k"), claim, Wait { until })
            .await
    });
    (cancel, waits)
}

#[tokio::test]
async fn a_wait_that_is_cancelled_has_not_claimed_and_gives_its_place_back() {
    let house = house(LaneSettings::default()).await;
    let grant = house.claimed("k", 1).await;
    let (cancel, waits) = wait_unless(&house, 2);
    until(|| house.lanes.waiters.count() == 1).await;
    cancel.send(()).unwrap();
    assert_eq!(timeout(SOON, waits).await.unwrap().unwrap(), Ok(None));
    assert_eq!(house.lanes.waiters.count(), 0);
    let released = house.lanes.call(id("k"), release(grant.token)).await;
    assert!(released.is_ok(), "{released:?}");
    assert_eq!(house.claimed("k", 3).await.attempt, 2);
}

#[tokio::test]
async fn a_wait_that_is_cancelled_when_its_key_comes_free_looks_no_more() {
    // Often, for what must not be left to chance.
    for _ in 0..20 {
        let house = house(LaneSettings::default()).await;
        house.claimed("k", 1).await;
        let looks = house.store.calls() + 1;
        let (cancel, waits) = wait_unless(&house, 2);
        until(|| house.lanes.waiters.count() == 1 && house.store.calls() == looks).await;
        // What the lane answers after it; then it waits.
        house.look("k").await.unwrap();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        cancel.send(()).unwrap();
        house.clock.advance(Span::from_secs(31));
        house.lanes.waiters.wake(&id("k"));
        assert_eq!(timeout(SOON, waits).await.unwrap().unwrap(), Ok(None));
    }
}

#[tokio::test]
async fn a_wait_that_is_cancelled_while_it_claims_says_that_it_has() {
    let mut house = house(LaneSettings::default()).await;
    house.claimed("k", 1).await;
    assert_eq!(house.arrival().await, ("insert", 1));
    house.store.shut();
    let (cancel, waits) = wait_unless(&house, 2);
    assert_eq!(house.arrival().await, ("load", 1));
    // It looks, and by the time that it sees the key, the lease has lapsed.
    cancel.send(()).unwrap();
    tokio::task::yield_now().await;
    house.clock.advance(Span::from_secs(31));
    house.store.reopen();
    let answer = timeout(SOON, waits).await.unwrap().unwrap().unwrap();
    let Some(ClaimReply::Claimed(granted)) = answer else {
        panic!("claimed in secret: {answer:?}")
    };
    assert_eq!(granted.attempt, 2);
}
