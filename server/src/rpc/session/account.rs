//! What answers take, of each stream and of all together, from when they are decided until they are
//! written to the socket.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::sync::{Notify, futures::Notified};

/// What every answer takes beside its payload: its key and other names, and our own structures.
pub(super) const ANSWER: usize = 1024;
/// A stream that holds no more than this keeps up with its answers, or holds next to nothing. It is
/// less than half of its part of the budget if every place for a stream is taken.
pub(super) const MODEST: usize = 32 * 1024;
/// Of what is left a stream that holds more may have this part, an eighth.
const SHARE: usize = 8;

/// Bytes that the answers of all streams may take.
///
/// What was not told in advance and cannot be refused goes beyond it; then streams are not read on.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    taken: AtomicUsize,
}

impl Budget {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            taken: AtomicUsize::new(0),
        })
    }

    pub fn left(&self) -> usize {
        self.limit
            .saturating_sub(self.taken.load(Ordering::Relaxed))
    }

    /// Whether so little is left that whoever does not read has to make room.
    pub fn is_crowded(&self) -> bool {
        self.left() < self.limit / 2
    }

    fn try_take(&self, bytes: usize) -> bool {
        let take = |taken: usize| Some(taken + bytes).filter(|taken| *taken <= self.limit);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }
}

/// What one stream's answers take.
#[derive(Debug)]
pub(super) struct Account {
    budget: Arc<Budget>,
    held: AtomicUsize,
    /// Answers that were put into the stream.
    put: AtomicU64,
    /// Answers of these that were written, or thrown away with the stream.
    written: AtomicU64,
    given_back: Notify,
}

impl Account {
    pub fn open(budget: Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            budget,
            held: AtomicUsize::new(0),
            put: AtomicU64::new(0),
            written: AtomicU64::new(0),
            given_back: Notify::new(),
        })
    }

    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Bytes that this stream's answers take.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    /// Answers that were ever put into the stream.
    pub fn put(&self) -> u64 {
        self.put.load(Ordering::Acquire)
    }

    /// How many of them are written.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Ends when something is given back after this call.
    pub fn given_back(&self) -> Notified<'_> {
        self.given_back.notified()
    }

    /// Waits until nothing is held any more.
    pub async fn all_given_back(&self) {
        loop {
            let given_back = self.given_back();
            if self.held() == 0 {
                return;
            }
            given_back.await;
        }
    }

    /// Takes so many bytes, whether they are left or not.
    pub fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        self.budget.taken.fetch_add(bytes, Ordering::Relaxed);
        self.charged(bytes)
    }

    /// Takes so many bytes if they are left, and not too many for one stream.
    pub fn try_charge(self: &Arc<Self>, bytes: usize) -> Option<Charge> {
        let held = self.held();
        let may_have = held <= MODEST || held + bytes <= self.budget.left() / SHARE;
        (may_have && self.budget.try_take(bytes)).then(|| self.charged(bytes))
    }

    fn charged(self: &Arc<Self>, bytes: usize) -> Charge {
        self.held.fetch_add(bytes, Ordering::AcqRel);
        Charge {
            account: self.clone(),
            bytes,
            answers: 0,
        }
    }

    fn give_back(&self, bytes: usize) {
        self.budget.taken.fetch_sub(bytes, Ordering::Relaxed);
        self.held.fetch_sub(bytes, Ordering::AcqRel);
        self.given_back.notify_waiters();
    }
}

/// Bytes that are taken until this is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    account: Arc<Account>,
    bytes: usize,
    /// How many answers it is for; none while it is only reserved.
    answers: u64,
}

impl Charge {
    /// Is for an answer that is put into the stream now.
    pub fn put(&mut self) {
        self.answers += 1;
        self.account.put.fetch_add(1, Ordering::AcqRel);
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back what it has over `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let over = self.bytes.saturating_sub(bytes);
        if over > 0 {
            self.bytes -= over;
            self.account.give_back(over);
        }
    }

    /// Takes over what `other` has, of the same stream.
    pub fn merge(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
        self.answers += std::mem::take(&mut other.answers);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 || self.answers > 0 {
            self.account
                .written
                .fetch_add(self.answers, Ordering::AcqRel);
            self.account.give_back(self.bytes);
        }
    }
}
