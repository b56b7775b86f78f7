//! A lane's worker: takes what queued, runs it as one round, and again.

use std::{collections::VecDeque, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{
    job::{QueuedJob, payload_len},
    queued::Queued,
    round::Round,
    standing::Standing,
    waiters::Waiters,
};
use crate::{policies::Policies, store::SharedStore, telemetry::Telemetry};

/// Payload bytes after which a round takes no more: one statement should stay a few megabytes.
const ROUND_PAYLOAD_BYTES: usize = 4 * 1024 * 1024;

/// The part of a round that is for newer commands, whatever was left over.
const SHARE_OF_NEW: usize = 8;

/// How often a worker that has something to do lets others go first.
const MOST_YIELDS: usize = 8;

pub(super) struct Worker {
    pub lane: usize,
    pub store: SharedStore,
    pub policies: Arc<Policies>,
    pub waiters: Arc<Waiters>,
    pub standing: Standing,
    pub telemetry: Arc<Telemetry>,
    batch: usize,
}

impl Worker {
    pub fn new(
        lane: usize,
        store: SharedStore,
        policies: Arc<Policies>,
        waiters: Arc<Waiters>,
        batch: usize,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        Self {
            lane,
            store,
            policies,
            waiters,
            standing: Standing::new(),
            telemetry,
            batch,
        }
    }

    pub async fn run(self, mut queues: Queued, closing: CancellationToken) {
        let mut backlog = VecDeque::new();
        let mut taken = Vec::new();
        let mut is_busy = false;
        loop {
            if closing.is_cancelled() {
                queues.close();
            }
            if backlog.is_empty() {
                tokio::select! {
                    biased;
                    () = closing.cancelled(), if !queues.is_closed() => continue,
                    some = queues.next(&mut taken) => if !some { return },
                }
                // On an idle server there is nobody, and to let them go first wakes a thread for it.
                if is_busy || queues.len() > 0 {
                    let_others_send(&queues).await;
                }
            }
            // What is left over from the last round stands before newer commands on the same key. It
            // must not keep out all others, however often its swaps are lost.
            let room = self.batch.saturating_sub(backlog.len());
            if backlog.len() <= self.batch {
                queues.take(&mut taken, room.max(self.batch / SHARE_OF_NEW));
            }
            backlog.extend(taken.drain(..));

            let jobs = self.next_round(&mut backlog);
            is_busy = jobs.len() > 1;
            if !jobs.is_empty() {
                // Left over: lost swaps, and what stood behind them.
                let left = Round::new(&self, jobs).run().await;
                for job in left.into_iter().rev() {
                    backlog.push_front(job);
                }
            }
        }
    }

    fn next_round(&self, backlog: &mut VecDeque<QueuedJob>) -> Vec<QueuedJob> {
        let mut jobs = Vec::with_capacity(backlog.len().min(self.batch));
        let mut bytes = 0;
        let most = self.batch + self.batch / SHARE_OF_NEW;
        while jobs.len() < most && bytes <= ROUND_PAYLOAD_BYTES {
            let Some(job) = backlog.pop_front() else {
                break;
            };
            if job.is_abandoned() {
                continue;
            }
            bytes += payload_len(&job.command);
            jobs.push(job);
        }
        jobs
    }
}

/// Lets whoever is ready to send a command do so before a round, for as long as somebody does: the
/// round costs a statement, and hardly more for many commands than for one.
async fn let_others_send(queues: &Queued) {
    for _ in 0..MOST_YIELDS {
        let before = queues.len();
        tokio::task::yield_now().await;
        if queues.len() == before {
            break;
        }
    }
}
