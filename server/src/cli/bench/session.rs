//! A worker on a session: one task that sends and receives, and no other per operation.
//!
//! It sends all that is due, waits until answers have come, handles all of them, and sends again:
//! the busier the server, the larger the batches. What is under way has a place in a table, and
//! the place's number is the command's id.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use tokio::time::sleep;
use tonic::Status;
use tonic::transport::Channel;

use super::keys::attempt_id;
use super::load::Load;
use super::mix::{Kind, Operation};
use super::outcome::Verdict;
use super::pacer::Bell;
use super::recorder::{Recorder, Shared};
use super::source::{Next, Source};
use super::stream::Stream;
use super::wire::{self, Answer};

/// How often a worker opens its stream again, and how long it waits before that.
const REOPENINGS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// A connection and the stream on it.
#[derive(Debug)]
pub(super) struct Link {
    channel: Channel,
    stream: Stream,
}

impl Link {
    pub async fn open(channel: Channel) -> Result<Self, Status> {
        let stream = Stream::open(&channel).await?;
        Ok(Self { channel, stream })
    }

    /// How many commands the server takes on.
    pub fn window(&self) -> usize {
        self.stream.window
    }
}

/// Sends one worker's operations over one link.
#[derive(Debug)]
pub(super) struct Worker {
    load: Arc<Load>,
    link: Link,
    source: Source,
    places: Places,
    attempts: SmallRng,
    bell: Arc<Bell>,
    recorder: Shared,
    reopenings: u32,
    /// What the load was told last of this worker.
    told_under_way: u64,
    told_backlog: u64,
}

impl Worker {
    /// Up to `callers` operations are under way at a time, if the server takes on so many.
    pub fn new(
        load: Arc<Load>,
        link: Link,
        source: Source,
        callers: usize,
        bell: Arc<Bell>,
        recorder: Shared,
    ) -> Self {
        let places = Places::new(callers.min(link.window()));
        Self {
            load,
            link,
            source,
            places,
            attempts: SmallRng::seed_from_u64(rand::random()),
            bell,
            recorder,
            reopenings: REOPENINGS,
            told_under_way: 0,
            told_backlog: 0,
        }
    }

    /// Works until there is nothing more to send and all was answered.
    ///
    /// # Errors
    /// The stream broke too often.
    pub async fn run(mut self) -> Result<Link, Status> {
        loop {
            let may_send_more = self.send();
            if !may_send_more && self.places.under_way() == 0 {
                return Ok(self.link);
            }
            tokio::select! {
                biased;
                received = self.link.stream.receive() => {
                    if let Err(status) = received.and_then(|()| self.take_answers()) {
                        self.mend(status).await?;
                    }
                }
                () = self.bell.rung() => {}
            }
        }
    }

    /// Sends all that is due and has a place. Whether there may be more later.
    fn send(&mut self) -> bool {
        let window = &self.load.window;
        let (now, end) = (window.now(), window.end());
        let mut may_send_more = true;
        while may_send_more && !self.places.is_full() {
            match self.source.next(now, end) {
                Next::Start(operation) => {
                    let id = self.places.take(operation);
                    wire::put_claim(
                        &mut self.link.stream.out,
                        id,
                        &self.load.namespace,
                        (&self.load.keys, operation.number),
                        &attempt_id(&mut self.attempts),
                    );
                }
                Next::Later => break,
                Next::Never => may_send_more = false,
            }
        }
        self.link.stream.flush();
        let is_full = self.places.is_full();
        self.bell.need(if is_full {
            // Answers are what it waits for.
            u64::MAX
        } else {
            self.source.taken()
        });
        let backlog = if is_full {
            self.source.backlog(now, end)
        } else {
            0
        };
        self.tell(backlog);
        may_send_more
    }

    fn tell(&mut self, backlog: u64) {
        let under_way = self.places.under_way() as u64;
        let load = &self.load;
        load.under_way.change(self.told_under_way, under_way);
        load.change_backlog(self.told_backlog, backlog);
        self.told_under_way = under_way;
        self.told_backlog = backlog;
    }

    fn take_answers(&mut self) -> Result<(), Status> {
        let Self {
            load,
            link,
            source,
            places,
            recorder,
            ..
        } = self;
        let now = load.window.now();
        let mut recorder = recorder.lock();
        link.stream.handle(|id, answer, out| {
            let Some(place) = places.of(id) else {
                return Err(Status::internal("an answer to a command that was not sent"));
            };
            let operation = place.operation;
            let Operation {
                kind,
                number,
                started,
                ..
            } = operation;
            let recorder: &mut Recorder = &mut recorder;
            match (place.is_claimed, answer) {
                (false, Answer::Claim(outcome)) => {
                    let result = load.results.of(number);
                    match outcome.judge(&operation, now, result) {
                        Verdict::Done => recorder.done(&load.window, kind, started, now),
                        Verdict::Claimed(lease) => {
                            source.draw.claimed(&operation, lease);
                            recorder.done(&load.window, kind, started, now);
                        }
                        Verdict::Complete(grant) => {
                            recorder.called(&load.window, now);
                            place.is_claimed = true;
                            place.recent = source.draw.claimed(&operation, grant.lease);
                            let key = (&*load.keys, number);
                            let token = grant.token;
                            wire::put_complete(out, id, &load.namespace, key, token, result);
                            return Ok(());
                        }
                        Verdict::Unexpected(reason) => recorder.seen.errors.unexpected(reason),
                    }
                    recorder.called(&load.window, now);
                }
                (true, Answer::Complete) => {
                    source.draw.completed(place.recent);
                    recorder.called(&load.window, now);
                    recorder.done(&load.window, Kind::Pair, started, now);
                }
                (_, Answer::Error(status)) => recorder.seen.errors.status(&status),
                _ => recorder.seen.errors.unexpected("WRONG_ANSWER"),
            }
            places.free(id);
            Ok(())
        })
    }

    /// Counts what was under way as failed, and opens another stream.
    async fn mend(&mut self, status: Status) -> Result<(), Status> {
        let lost = self.places.clear() as u64;
        self.recorder.lock().seen.errors.statuses(&status, lost);
        self.tell(0);
        let mut last = status;
        while self.reopenings > 0 {
            self.reopenings -= 1;
            sleep(PAUSE).await;
            match Stream::open(&self.link.channel).await {
                Ok(stream) => {
                    self.link.stream = stream;
                    return Ok(());
                }
                Err(status) => last = status,
            }
        }
        Err(last)
    }
}

/// What is under way, by the number of its place.
#[derive(Debug)]
struct Places {
    places: Vec<Option<Place>>,
    free: Vec<u64>,
}

#[derive(Debug, Clone)]
struct Place {
    operation: Operation,
    /// Its Claim was answered, and its Complete is under way.
    is_claimed: bool,
    /// Where its key is among those that were claimed lately.
    recent: u64,
}

impl Places {
    fn new(count: usize) -> Self {
        Self {
            places: vec![None; count],
            free: Self::all(count),
        }
    }

    /// Not 0, which is no id. The lowest ones first: they are short on the wire.
    fn all(count: usize) -> Vec<u64> {
        (1..=count as u64).rev().collect()
    }

    fn under_way(&self) -> usize {
        self.places.len() - self.free.len()
    }

    fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// A place for the operation; there is one unless it is full.
    fn take(&mut self, operation: Operation) -> u64 {
        let id = self
            .free
            .pop()
            .expect("the caller looked whether it is full");
        self.places[id as usize - 1] = Some(Place {
            operation,
            is_claimed: false,
            recent: 0,
        });
        id
    }

    fn of(&mut self, id: u64) -> Option<&mut Place> {
        let index = usize::try_from(id).ok()?.checked_sub(1)?;
        self.places.get_mut(index)?.as_mut()
    }

    fn free(&mut self, id: u64) {
        self.places[id as usize - 1] = None;
        self.free.push(id);
    }

    /// Frees all; how many were taken.
    fn clear(&mut self) -> usize {
        let count = self.under_way();
        self.free = Self::all(self.places.len());
        self.places.fill(None);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(number: u64) -> Operation {
        Operation {
            kind: Kind::New,
            number,
            started: 0,
            earlier: None,
        }
    }

    #[test]
    fn a_place_is_taken_once_and_known_by_its_id() {
        let mut places = Places::new(2);
        let (a, b) = (places.take(operation(7)), places.take(operation(8)));
        assert!(places.is_full() && a != b && a > 0 && b > 0);
        assert_eq!(places.of(b).unwrap().operation.number, 8);
        places.free(a);
        assert_eq!(places.under_way(), 1);
        for id in [0, a, 3, u64::MAX] {
            assert!(places.of(id).is_none(), "{id}");
        }
        assert_eq!(places.take(operation(9)), a);
        assert_eq!(places.clear(), 2);
        assert!(places.of(a).is_none() && places.of(b).is_none());
    }
}
