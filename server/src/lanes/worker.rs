//! A lane's worker: takes what queued, runs it as one round, and again.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    job::{Job, payload_len},
    round::Round,
    waiters::Waiters,
};
use crate::{policies::Policies, store::SharedStore};

/// Payload bytes after which a round takes no more: one statement should stay a few megabytes.
const ROUND_PAYLOAD_BYTES: usize = 4 * 1024 * 1024;

pub(super) struct Worker {
    pub lane: usize,
    pub store: SharedStore,
    pub policies: Arc<Policies>,
    pub waiters: Arc<Waiters>,
    batch: usize,
}

impl Worker {
    pub fn new(
        lane: usize,
        store: SharedStore,
        policies: Arc<Policies>,
        waiters: Arc<Waiters>,
        batch: usize,
    ) -> Self {
        Self {
            lane,
            store,
            policies,
            waiters,
            batch,
        }
    }

    pub async fn run(
        self,
        mut holders: mpsc::Receiver<Job>,
        mut callers: mpsc::Receiver<Job>,
        closing: CancellationToken,
    ) {
        let mut backlog = VecDeque::new();
        let mut taken = Vec::new();
        loop {
            if closing.is_cancelled() {
                // A closed queue still hands out what it holds.
                holders.close();
                callers.close();
            }
            if backlog.is_empty() {
                tokio::select! {
                    biased;
                    () = closing.cancelled(), if !callers.is_closed() => continue,
                    Some(job) = holders.recv() => taken.push(job),
                    Some(job) = callers.recv() => taken.push(job),
                    else => return,
                }
                // Let whoever is ready to send a command do so first: the round that follows costs
                // a commit, and costs hardly more for many. Returns at once on an idle server.
                tokio::task::yield_now().await;
            }
            // What a holder says goes first; what is left over from the last round stands before
            // newer commands on the same key.
            while backlog.len() + taken.len() < self.batch {
                let Ok(job) = holders.try_recv() else { break };
                taken.push(job);
            }
            while backlog.len() + taken.len() < self.batch {
                let Ok(job) = callers.try_recv() else { break };
                taken.push(job);
            }
            backlog.extend(taken.drain(..));

            let jobs = self.next_round(&mut backlog);
            if !jobs.is_empty() {
                // Left over: lost swaps, and further changes to a key that was just changed.
                let left = Round::new(&self, jobs).run().await;
                for job in left.into_iter().rev() {
                    backlog.push_front(job);
                }
            }
        }
    }

    fn next_round(&self, backlog: &mut VecDeque<Job>) -> Vec<Job> {
        let mut jobs = Vec::with_capacity(backlog.len().min(self.batch));
        let mut bytes = 0;
        while jobs.len() < self.batch && bytes <= ROUND_PAYLOAD_BYTES {
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
