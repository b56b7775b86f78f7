//! A store whose calls are measured. Everything else is the store inside.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;

use super::{
    CensusPart, CensusPlace, Completed, Completion, Connections, Inserted, Loaded, NamespaceRow,
    Purged, SharedStore, Store, StoreError, Swap,
};
use crate::{
    key::{KeyId, Namespace, NewRecord, PolicyId, Span},
    telemetry::{StoreCall, Telemetry},
};

/// See the module.
pub struct Observed {
    store: SharedStore,
    telemetry: Arc<Telemetry>,
}

impl Observed {
    /// Measures the calls of `store`.
    pub fn new(store: SharedStore, telemetry: Arc<Telemetry>) -> Self {
        Self { store, telemetry }
    }

    async fn measured<T>(
        &self,
        operation: &'static str,
        items: Option<usize>,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let Some(meters) = self.telemetry.meters() else {
            return call.await;
        };
        let started = Instant::now();
        let outcome = call.await;
        meters.store_called(&StoreCall {
            engine: self.store.engine(),
            operation,
            result: outcome.as_ref().err().map_or("ok", StoreError::word),
            took: started.elapsed(),
            items,
        });
        outcome
    }
}

#[async_trait]
impl Store for Observed {
    fn engine(&self) -> &'static str {
        self.store.engine()
    }

    fn lanes(&self) -> usize {
        self.store.lanes()
    }

    async fn insert_if_absent(
        &self,
        lane: usize,
        records: &[&NewRecord],
    ) -> Result<Vec<Option<Inserted>>, StoreError> {
        let call = self.store.insert_if_absent(lane, records);
        self.measured("insert_if_absent", Some(records.len()), call)
            .await
    }

    async fn load(&self, lane: usize, keys: &[&KeyId]) -> Result<Loaded, StoreError> {
        let call = self.store.load(lane, keys);
        self.measured("load", Some(keys.len()), call).await
    }

    async fn complete_if_held(
        &self,
        lane: usize,
        completions: &[Completion<'_>],
    ) -> Result<Vec<Option<Completed>>, StoreError> {
        let call = self.store.complete_if_held(lane, completions);
        self.measured("complete_if_held", Some(completions.len()), call)
            .await
    }

    async fn compare_and_swap(
        &self,
        lane: usize,
        swaps: &[Swap<'_>],
    ) -> Result<Vec<bool>, StoreError> {
        let call = self.store.compare_and_swap(lane, swaps);
        self.measured("compare_and_swap", Some(swaps.len()), call)
            .await
    }

    async fn purge(&self, limit: u32) -> Result<Purged, StoreError> {
        self.measured("purge", None, self.store.purge(limit)).await
    }

    async fn census(&self, from: CensusPlace) -> Result<Option<CensusPart>, StoreError> {
        self.measured("census", None, self.store.census(from)).await
    }

    fn connections(&self) -> Connections {
        self.store.connections()
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.measured("ready", None, self.store.ready()).await
    }

    async fn policies(&self) -> Result<Vec<(PolicyId, String)>, StoreError> {
        self.measured("policies", None, self.store.policies()).await
    }

    async fn namespaces(&self) -> Result<Vec<NamespaceRow>, StoreError> {
        self.measured("namespaces", None, self.store.namespaces())
            .await
    }

    async fn put_policy(&self, id: PolicyId, text: &str) -> Result<(), StoreError> {
        let call = self.store.put_policy(id, text);
        self.measured("put_policy", None, call).await
    }

    async fn put_namespace(
        &self,
        namespace: &Namespace,
        policy: PolicyId,
        remembered_until_now: Option<Span>,
    ) -> Result<(), StoreError> {
        let call = self
            .store
            .put_namespace(namespace, policy, remembered_until_now);
        self.measured("put_namespace", None, call).await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
