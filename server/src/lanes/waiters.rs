//! Claims that wait for a key to be settled.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::key::KeyId;

/// Everybody who waits, by key.
#[derive(Debug)]
pub(super) struct Waiters {
    by_key: Mutex<HashMap<KeyId, Entry>>,
    /// How many wait. Read without the lock, so that settling costs nothing while nobody does.
    count: AtomicUsize,
    limit: usize,
    released: CancellationToken,
}

#[derive(Debug)]
struct Entry {
    settled: Arc<Notify>,
    waiting: usize,
}

/// A place among those who wait for one key. Given back when dropped.
#[derive(Debug)]
pub(super) struct Waiter {
    waiters: Arc<Waiters>,
    id: KeyId,
    /// Told whenever the key is settled through this server.
    pub settled: Arc<Notify>,
}

impl Waiters {
    pub fn new(limit: usize) -> Self {
        Self {
            by_key: Mutex::default(),
            count: AtomicUsize::new(0),
            limit,
            released: CancellationToken::new(),
        }
    }

    /// A place to wait for `id`, unless all are taken or the server is stopping.
    pub fn register(self: &Arc<Self>, id: &KeyId) -> Option<Waiter> {
        let mut by_key = self.lock();
        if self.count.load(Ordering::SeqCst) >= self.limit || self.released.is_cancelled() {
            return None;
        }
        self.count.fetch_add(1, Ordering::SeqCst);
        let entry = by_key.entry(id.clone()).or_insert_with(|| Entry {
            settled: Arc::default(),
            waiting: 0,
        });
        entry.waiting += 1;
        Some(Waiter {
            waiters: self.clone(),
            id: id.clone(),
            settled: entry.settled.clone(),
        })
    }

    /// Wakes everybody who waits for `id`.
    ///
    /// A waiter registers before it asks what stands. So one that this call does not see asks
    /// after the settlement was durable, and is answered with it.
    pub fn wake(&self, id: &KeyId) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        if let Some(entry) = self.lock().get(id) {
            entry.settled.notify_waiters();
        }
    }

    /// Ends all waits, now and from now on.
    pub fn release_all(&self) {
        self.released.cancel();
    }

    pub async fn released(&self) {
        self.released.cancelled().await;
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<KeyId, Entry>> {
        self.by_key
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut by_key = self.waiters.lock();
        self.waiters.count.fetch_sub(1, Ordering::SeqCst);
        if let Some(entry) = by_key.get_mut(&self.id) {
            entry.waiting -= 1;
            if entry.waiting == 0 {
                by_key.remove(&self.id);
            }
        }
    }
}
