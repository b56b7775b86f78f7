//! A store that stops, fails and refuses when a test says so. Everything else is the real store
//! inside.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use tokio::sync::{Semaphore, mpsc};

use crate::{
    key::{KeyId, Namespace, NewRecord, PolicyId, Span},
    store::{
        CensusPart, CensusPlace, Completed, Completion, Connections, Inserted, Loaded,
        NamespaceRow, Purged, SharedStore, Store, StoreError, Swap,
    },
};

/// See the module.
pub struct Faulty {
    inner: SharedStore,
    /// Every writing or loading call takes a permit; none left means that it stands still.
    gate: Semaphore,
    /// Tells of each call when it arrives at the gate: its name and its number of items.
    arrivals: mpsc::UnboundedSender<(&'static str, usize)>,
    /// What the next calls answer instead of asking the store, and whether they ask it first.
    faults: Mutex<Vec<Fault>>,
    calls: AtomicUsize,
}

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// The store is away: nothing is applied.
    LostBefore,
    /// The connection breaks after the commit: all is applied and the answer is lost.
    LostAfter,
    /// Refused as a whole while the batch holds this key.
    Poisoned(&'static str),
    /// Every swap misses, as if another server had been faster.
    Misses,
    /// The next swap misses.
    MissesOnce,
    /// As [`Fault::LostAfter`], of the next swap.
    LostAfterSwap,
    /// A bug in the store.
    Panics,
}

type Arrivals = mpsc::UnboundedReceiver<(&'static str, usize)>;

impl Faulty {
    pub fn around(inner: SharedStore) -> (Arc<Self>, Arrivals) {
        let (arrivals, arrived) = mpsc::unbounded_channel();
        let gate = Semaphore::new(Semaphore::MAX_PERMITS);
        let faulty = Self {
            inner,
            gate,
            arrivals,
            faults: Mutex::default(),
            calls: AtomicUsize::new(0),
        };
        (Arc::new(faulty), arrived)
    }

    /// Calls stand still from now on.
    pub fn shut(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Calls go on.
    pub fn reopen(&self) {
        self.gate.add_permits(1 << 20);
    }

    /// The next call that a fault concerns meets it; it stays for [`Fault::Poisoned`] and
    /// [`Fault::Misses`].
    pub fn plan(&self, fault: Fault) {
        self.faults.lock().unwrap().push(fault);
    }

    /// Calls that reached the store.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    async fn pass(&self, name: &'static str, keys: &[&KeyId]) -> Result<bool, StoreError> {
        let _ = self.arrivals.send((name, keys.len()));
        self.gate.acquire().await.expect("never closed").forget();
        self.gate.add_permits(1);
        self.calls.fetch_add(1, Ordering::SeqCst);
        let mut faults = self.faults.lock().unwrap();
        if let Some(Fault::Poisoned(poison)) = faults.first() {
            return match keys.iter().any(|id| id.key().as_str() == *poison) {
                true => Err(StoreError::Rejected("poisoned".into())),
                false => Ok(false),
            };
        }
        match faults.first() {
            Some(Fault::LostBefore) => {
                faults.remove(0);
                Err(StoreError::Unavailable("away".into()))
            }
            Some(Fault::LostAfter) => {
                faults.remove(0);
                Ok(true)
            }
            Some(Fault::Panics) => panic!("a planned bug in the store"),
            _ => Ok(false),
        }
    }

    fn misses(&self) -> bool {
        self.faults.lock().unwrap().first() == Some(&Fault::Misses) || self.meets(Fault::MissesOnce)
    }

    /// Whether this fault comes next; then it is over.
    fn meets(&self, fault: Fault) -> bool {
        let mut faults = self.faults.lock().unwrap();
        let is_next = faults.first() == Some(&fault);
        if is_next {
            faults.remove(0);
        }
        is_next
    }
}

fn lost<R>(_: R) -> Result<R, StoreError> {
    Err(StoreError::Unavailable(
        "the connection broke after the commit".into(),
    ))
}

#[async_trait]
impl Store for Faulty {
    fn engine(&self) -> &'static str {
        self.inner.engine()
    }

    fn lanes(&self) -> usize {
        self.inner.lanes()
    }

    async fn insert_if_absent(
        &self,
        lane: usize,
        records: &[&NewRecord],
    ) -> Result<Vec<Option<Inserted>>, StoreError> {
        let keys: Vec<_> = records.iter().map(|record| &record.id).collect();
        let lose = self.pass("insert", &keys).await?;
        let inserted = self.inner.insert_if_absent(lane, records).await?;
        if lose { lost(inserted) } else { Ok(inserted) }
    }

    async fn load(&self, lane: usize, keys: &[&KeyId]) -> Result<Loaded, StoreError> {
        let lose = self.pass("load", keys).await?;
        let loaded = self.inner.load(lane, keys).await?;
        if lose { lost(loaded) } else { Ok(loaded) }
    }

    async fn complete_if_held(
        &self,
        lane: usize,
        completions: &[Completion<'_>],
    ) -> Result<Vec<Option<Completed>>, StoreError> {
        let keys: Vec<_> = completions.iter().map(|completion| completion.id).collect();
        let lose = self.pass("complete", &keys).await?;
        let completed = self.inner.complete_if_held(lane, completions).await?;
        if lose { lost(completed) } else { Ok(completed) }
    }

    async fn compare_and_swap(
        &self,
        lane: usize,
        swaps: &[Swap<'_>],
    ) -> Result<Vec<bool>, StoreError> {
        let keys: Vec<_> = swaps.iter().map(|swap| swap.id).collect();
        let lose = self.pass("swap", &keys).await?;
        if self.misses() {
            return Ok(vec![false; swaps.len()]);
        }
        let lose = lose || self.meets(Fault::LostAfterSwap);
        let swapped = self.inner.compare_and_swap(lane, swaps).await?;
        if lose { lost(swapped) } else { Ok(swapped) }
    }

    async fn purge(&self, limit: u32) -> Result<Purged, StoreError> {
        self.inner.purge(limit).await
    }

    async fn census(&self, from: CensusPlace) -> Result<Option<CensusPart>, StoreError> {
        self.inner.census(from).await
    }

    fn connections(&self) -> Connections {
        self.inner.connections()
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.inner.ready().await
    }

    async fn policies(&self) -> Result<Vec<(PolicyId, String)>, StoreError> {
        self.inner.policies().await
    }

    async fn namespaces(&self) -> Result<Vec<NamespaceRow>, StoreError> {
        self.inner.namespaces().await
    }

    async fn put_policy(&self, id: PolicyId, text: &str) -> Result<(), StoreError> {
        self.inner.put_policy(id, text).await
    }

    async fn put_namespace(
        &self,
        namespace: &Namespace,
        policy: PolicyId,
        remembered_until_now: Option<Span>,
    ) -> Result<(), StoreError> {
        self.inner
            .put_namespace(namespace, policy, remembered_until_now)
            .await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
