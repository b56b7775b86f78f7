//! A caller of single calls: a task that has one operation under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use semel_proto::v1::idempotency_service_client::IdempotencyServiceClient;
use semel_proto::v1::{ClaimRequest, CompleteRequest};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tonic::Status;
use tonic::transport::Channel;

use super::keys::attempt_id;
use super::load::Load;
use super::mix::Operation;
use super::outcome::{Outcome, Verdict};
use super::recorder::Shared;
use super::schedule::{Nanos, Schedule};
use super::source::Draw;
use super::wire::OWNER;

/// After an error a caller pauses, or a server that is away would be called all the time.
const PAUSE: Duration = Duration::from_millis(100);
/// Larger than the largest result.
const LARGEST_ANSWER: usize = 8 * 1024 * 1024;

/// The calls of one connection.
pub(super) type Client = IdempotencyServiceClient<Channel>;

pub(super) fn client(channel: Channel) -> Client {
    Client::new(channel).max_decoding_message_size(LARGEST_ANSWER)
}

/// When callers may start operations.
#[derive(Debug, Clone)]
pub(super) enum Turns {
    /// As soon as the last was answered: a closed loop.
    AtOnce,
    /// At their times: an open loop.
    Scheduled(Arc<Tickets>),
}

/// Scheduled operations, for whichever caller is free. The pacer hands out what is due.
#[derive(Debug)]
pub(super) struct Tickets {
    schedule: Schedule,
    due: Semaphore,
    next: AtomicU64,
}

impl Tickets {
    pub fn new(schedule: Schedule) -> Self {
        Self {
            schedule,
            due: Semaphore::new(0),
            next: AtomicU64::new(0),
        }
    }

    /// Lets `count` operations start.
    pub fn release(&self, count: u64) {
        self.due.add_permits(count as usize);
    }

    /// How many could have started and have not.
    pub fn backlog(&self) -> u64 {
        self.due.available_permits() as u64
    }

    /// How many of those before `end` have not started.
    pub fn unstarted(&self, end: Nanos) -> u64 {
        let started = self.next.load(Ordering::Relaxed);
        let all = self.schedule.due(end.saturating_sub(1));
        all.saturating_sub(started)
    }

    async fn take(&self) -> Option<Nanos> {
        self.due.acquire().await.ok()?.forget();
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        Some(self.schedule.at(n))
    }
}

impl Turns {
    /// From when the next operation counts; `None` once there is none.
    async fn next(&self, load: &Load) -> Option<Nanos> {
        let started = match self {
            Self::AtOnce => load.window.now(),
            Self::Scheduled(tickets) => tickets.take().await?,
        };
        (started < load.window.end()).then_some(started)
    }
}

/// Makes calls, one after the other.
#[derive(Debug)]
pub(super) struct Caller {
    load: Arc<Load>,
    client: Client,
    draw: Draw,
    turns: Turns,
    attempts: SmallRng,
    recorder: Shared,
}

impl Caller {
    pub fn new(
        load: Arc<Load>,
        client: Client,
        draw: Draw,
        turns: Turns,
        recorder: Shared,
    ) -> Self {
        Self {
            load,
            client,
            draw,
            turns,
            attempts: SmallRng::seed_from_u64(rand::random()),
            recorder,
        }
    }

    /// Works until there is nothing more to call.
    pub async fn run(mut self) {
        while let Some(started) = self.turns.next(&self.load).await {
            let Some(operation) = self.draw.next(started) else {
                return;
            };
            self.load.under_way.change(0, 1);
            let carried_out = self.carry_out(operation).await;
            self.load.under_way.change(1, 0);
            if let Err(status) = carried_out {
                self.recorder.lock().seen.errors.status(&status);
                sleep(PAUSE).await;
            }
        }
    }

    async fn carry_out(&mut self, operation: Operation) -> Result<(), Status> {
        let Operation {
            kind,
            number,
            started,
            ..
        } = operation;
        let key = self.load.keys.of(number);
        let request = ClaimRequest {
            namespace: self.load.namespace.clone(),
            key: key.clone(),
            attempt_id: Bytes::copy_from_slice(&attempt_id(&mut self.attempts)),
            owner: OWNER.into(),
            ..ClaimRequest::default()
        };
        let response = self.client.claim(request).await?.into_inner();
        let result = self.load.results.of(number);
        let (token, recent) = {
            let window = &self.load.window;
            let now = window.now();
            let mut recorder = self.recorder.lock();
            recorder.called(window, now);
            match Outcome::of(&response).judge(&operation, now, result) {
                Verdict::Complete(grant) => {
                    let recent = self.draw.claimed(&operation, grant.lease);
                    (Bytes::copy_from_slice(grant.token), recent)
                }
                Verdict::Claimed(lease) => {
                    self.draw.claimed(&operation, lease);
                    recorder.done(window, kind, started, now);
                    return Ok(());
                }
                Verdict::Done => {
                    recorder.done(window, kind, started, now);
                    return Ok(());
                }
                Verdict::Unexpected(reason) => {
                    recorder.seen.errors.unexpected(reason);
                    return Ok(());
                }
            }
        };
        let request = CompleteRequest {
            namespace: self.load.namespace.clone(),
            key,
            token,
            result: self.load.results.shared(number),
        };
        self.client.complete(request).await?;
        self.draw.completed(recent);
        let window = &self.load.window;
        let now = window.now();
        let mut recorder = self.recorder.lock();
        recorder.called(window, now);
        recorder.done(window, kind, started, now);
        Ok(())
    }
}
