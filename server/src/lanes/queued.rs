//! The worker's end of a lane's queues.

use tokio::sync::mpsc;

use super::job::QueuedJob;

/// What waits for a lane's worker.
#[derive(Debug)]
pub(super) struct Queued {
    /// Of holders, single or in streams: served first, but not alone.
    pub holders: mpsc::Receiver<QueuedJob>,
    /// Single Claims and Lookups.
    pub callers: mpsc::Receiver<QueuedJob>,
    /// Claims and Lookups of streams.
    pub streams: mpsc::Receiver<QueuedJob>,
}

impl Queued {
    /// Takes nothing more in. What is queued is still handed out.
    pub fn close(&mut self) {
        self.holders.close();
        self.callers.close();
        self.streams.close();
    }

    pub fn is_closed(&self) -> bool {
        self.callers.is_closed()
    }

    pub fn len(&self) -> usize {
        self.holders.len() + self.callers.len() + self.streams.len()
    }

    /// Waits for the next command. False when the queues are closed and empty.
    pub async fn next(&mut self, taken: &mut Vec<QueuedJob>) -> bool {
        tokio::select! {
            biased;
            Some(job) = self.holders.recv() => taken.push(job),
            Some(job) = self.callers.recv() => taken.push(job),
            Some(job) = self.streams.recv() => taken.push(job),
            else => return false,
        }
        true
    }

    /// Takes what is queued until `taken` has `most`: what holders say first, up to three quarters,
    /// and then half of the rest each for single calls and for streams, with what the others leave.
    pub fn take(&mut self, taken: &mut Vec<QueuedJob>, most: usize) {
        take(&mut self.holders, taken, most - most / 4);
        let half = taken.len() + most.saturating_sub(taken.len()) / 2;
        take(&mut self.callers, taken, half);
        take(&mut self.streams, taken, most);
        take(&mut self.callers, taken, most);
        take(&mut self.holders, taken, most);
    }
}

fn take(queue: &mut mpsc::Receiver<QueuedJob>, taken: &mut Vec<QueuedJob>, most: usize) {
    while taken.len() < most {
        let Ok(job) = queue.try_recv() else { return };
        taken.push(job);
    }
}
