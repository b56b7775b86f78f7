//! The connection on a thread of its own, which carries out one call after the other.
//!
//! SQLite blocks, on the disk above all, so no thread of the runtime may call it. A call is sent
//! whole, runs to its end and is answered once: whoever asked may be gone by then, and leaves nothing
//! half done. Few calls wait in the channel, the others for room in it, and those that stop waiting
//! leave nothing behind.

use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use rusqlite::{Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::{connection::Opened, directory::Directory, fault::CallError, key_index::Keys};
use crate::store::{Connections, StoreError};

/// The thread's handle.
#[derive(Debug)]
pub(super) struct Slot {
    calls: mpsc::Sender<Call>,
    counts: Arc<Counts>,
}

/// What became of the connections.
#[derive(Debug, Default)]
struct Counts {
    open: AtomicU64,
    opened: AtomicU64,
    failed: AtomicU64,
}

type Call = Box<dyn FnOnce(&mut Place) + Send>;

/// What a call came to: also a panic, which goes on where the answer is awaited.
type Outcome<T> = Result<Result<T, StoreError>, Box<dyn Any + Send>>;

/// What the thread has. The connection goes before the directory, and the lock on that with it.
struct Place {
    /// `None` until the first call, after a failed one, and after one that panicked.
    connection: Option<Opened>,
    /// `None` once the slot is closed.
    directory: Option<Arc<Directory>>,
    /// How many digests the index keeps in memory.
    kept: usize,
    counts: Arc<Counts>,
}

#[derive(Debug, thiserror::Error)]
#[error("the store is closed")]
struct Closed;

impl Slot {
    /// Starts the thread. It ends with the slot, after the call under way.
    pub(super) fn start(directory: Arc<Directory>, kept: usize) -> io::Result<Self> {
        let (calls, mut to_do) = mpsc::channel::<Call>(1);
        let counts = Arc::<Counts>::default();
        let mut place = Place {
            connection: None,
            directory: Some(directory),
            kept,
            counts: counts.clone(),
        };
        thread::Builder::new()
            .name("semel-sqlite".into())
            .spawn(move || {
                while let Some(call) = to_do.blocking_recv() {
                    call(&mut place);
                }
            })?;
        Ok(Self { calls, counts })
    }

    /// Runs `work` in one transaction.
    pub(super) async fn run<T, F>(
        &self,
        behavior: TransactionBehavior,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>, &mut Keys<'_>) -> Result<T, CallError> + Send + 'static,
    {
        self.call(move |place| place.run(behavior, work)).await
    }

    /// Opens the connection, so that the first call need not.
    pub(super) async fn open(&self) -> Result<(), StoreError> {
        self.run(TransactionBehavior::Deferred, |_, _| Ok(())).await
    }

    /// What became of the connections so far.
    pub(super) fn connections(&self) -> Connections {
        let Counts {
            open,
            opened,
            failed,
        } = &*self.counts;
        Connections {
            open: open.load(Ordering::Relaxed),
            opened: opened.load(Ordering::Relaxed),
            failed: failed.load(Ordering::Relaxed),
        }
    }

    /// Closes the connection after the calls under way, for good.
    pub(super) async fn close(&self) {
        let closing = self.call(|place| {
            place.close();
            Ok(())
        });
        // A panic of the driver's is all that could go wrong, and would go on.
        let _ = closing.await;
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Place) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel::<Outcome<T>>();
        let call: Call = Box::new(move |place| {
            let outcome = catch_unwind(AssertUnwindSafe(|| work(place)));
            // Whoever asked may be gone; what was done stands all the same.
            drop(answer.send(outcome));
        });
        self.calls
            .send(call)
            .await
            .map_err(|_| StoreError::unavailable(Closed))?;
        match answered.await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(gone) => Err(StoreError::unavailable(gone)),
        }
    }
}

impl Place {
    /// Runs `work`, on a connection that is replaced after it failed.
    fn run<T>(
        &mut self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>, &mut Keys<'_>) -> Result<T, CallError>,
    ) -> Result<T, StoreError> {
        let Some(directory) = &self.directory else {
            return Err(StoreError::unavailable(Closed));
        };
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.counts.open.store(0, Ordering::Relaxed);
                let opened = Opened::open(directory, self.kept).inspect_err(|_| {
                    self.counts.failed.fetch_add(1, Ordering::Relaxed);
                });
                let opened = opened.map_err(CallError::judge)?;
                self.counts.opened.fetch_add(1, Ordering::Relaxed);
                self.counts.open.store(1, Ordering::Relaxed);
                opened
            }
        };
        // Should the call panic, the connection goes with it, and what it had begun is rolled back.
        let outcome = connection
            .transact(behavior, work)
            .map_err(CallError::judge);
        // After a failure it may be in the middle of something. Closing rolls that back, and the
        // next call opens another.
        if matches!(outcome, Err(StoreError::Unavailable(_))) {
            self.counts.open.store(0, Ordering::Relaxed);
        } else {
            self.connection = Some(connection);
        }
        outcome
    }

    fn close(&mut self) {
        self.counts.open.store(0, Ordering::Relaxed);
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close()
        {
            // Every commit was synced; the WAL is taken up at the next start.
            tracing::warn!(%error, "the database could not be closed tidily");
        }
        self.directory = None;
    }
}
