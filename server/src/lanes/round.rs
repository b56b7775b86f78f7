//! One round of a lane: at most one insert, one blind completion, one load and one swap, each a
//! store call of its own and each for many keys.
//!
//! Commands on one key are decided in the order they came, from the record that the round has in
//! hand: a thousand duplicates of one key cost one load, and a thousand changes to one key cost one
//! swap, of what the last of them made. They are answered after its commit.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasherDefault, Hasher},
    pin::Pin,
    sync::Arc,
    time::Instant,
};

use super::{
    group::{Group, Known},
    job::{LaneError, QueuedJob},
    worker::Worker,
};
use crate::{
    key::{
        KeyId, NewRecord, Policy, Record,
        transition::{ClaimGrant, ClaimReply, Command, Reply, Standing},
    },
    store::{Completion, Inserted, Loaded, Store, StoreError, Swap},
    telemetry::{CallSpan, Seen, StoreBatch},
};

pub(super) struct Round<'w> {
    worker: &'w Worker,
    groups: Vec<Group>,
    /// Whether any of the calls is sampled.
    is_traced: bool,
}

/// Takes a key's own hash as it is: it is a part of its SHA-256, which nobody can aim.
type ByDigest = BuildHasherDefault<AsItIs>;

#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not what a `KeyId` does.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type StoreFuture<'a, R> = Pin<Box<dyn Future<Output = Result<Vec<R>, StoreError>> + Send + 'a>>;

impl<'w> Round<'w> {
    pub fn new(worker: &'w Worker, jobs: Vec<QueuedJob>) -> Self {
        let mut groups: Vec<Group> = Vec::with_capacity(jobs.len());
        let mut places: HashMap<KeyId, usize, ByDigest> =
            HashMap::with_capacity_and_hasher(jobs.len(), ByDigest::default());
        let now = Instant::now();
        let mut is_traced = false;
        for mut job in jobs {
            is_traced |= job.span.is_some();
            // What is left over from the last round has waited for that, and not in the queue.
            if !std::mem::replace(&mut job.is_begun, true) {
                let waited = now.saturating_duration_since(job.queued_at);
                if let Some(meters) = worker.telemetry.meters() {
                    meters.waited_in_lane(waited, job.trace());
                }
                if let Some(span) = &job.span {
                    span.waited_in_lane(job.queued_at, now, worker.lane);
                }
            }
            match places.entry(job.id.clone()) {
                Entry::Occupied(place) => groups[*place.get()].rest.push_back(job),
                Entry::Vacant(place) => {
                    place.insert(groups.len());
                    groups.push(Group::of(job));
                }
            }
        }
        Self {
            worker,
            groups,
            is_traced,
        }
    }

    /// Runs the round, and gives back the commands that have to go into the next one.
    pub async fn run(mut self) -> Vec<QueuedJob> {
        self.insert_claims().await;
        self.complete_blindly().await;
        self.load_others().await;
        self.swap().await;
        self.groups
            .into_iter()
            .flat_map(|group| group.first.into_iter().chain(group.rest))
            .collect()
    }

    /// A first Claim is a blind insert.
    async fn insert_claims(&mut self) {
        let mut places = Vec::new();
        let mut records = Vec::new();
        for (place, group) in self.groups.iter().enumerate() {
            if let Some(Command::Claim(claim)) = group.head()
                && !self.worker.standing.has(&group.id)
            {
                places.push(place);
                records.push((claim.new_record(&group.id), claim.policy.clone()));
            }
        }
        let batch: Vec<&NewRecord> = records.iter().map(|(record, _)| record).collect();
        let calls = self.calls(&places, Group::head_span);
        let results: Vec<Result<Option<Inserted>, LaneError>> = self
            .in_one_or_singly("insert_if_absent", calls, &batch, |store, lane, batch| {
                store.insert_if_absent(lane, batch)
            })
            .await;
        for ((place, result), (new, policy)) in places.into_iter().zip(results).zip(records) {
            let group = &mut self.groups[place];
            match result {
                Ok(Some(Inserted { fence, now })) => {
                    // Whoever asks for it again soon need not be tried as an insert.
                    self.worker.standing.note(&group.id);
                    let record = new.inserted(fence, now);
                    let grant = ClaimGrant::of(&record, now);
                    if let Some(span) = group.head_span().next() {
                        span.took_over(Seen::own(&record), None);
                    }
                    // Nearly always nobody else asks, and the record need not be kept for them.
                    if !group.rest.is_empty() {
                        group.known = Some(Known {
                            now,
                            standing: Some(Standing { record, policy }),
                        });
                    }
                    group.answer_head(Ok(Reply::Claim(ClaimReply::Claimed(grant))));
                }
                Ok(None) => {}
                Err(error) => group.answer_head(Err(error)),
            }
        }
    }

    /// A Complete by the holder is a blind compare-and-swap.
    async fn complete_blindly(&mut self) {
        let mut places = Vec::new();
        let mut batch = Vec::new();
        for (place, group) in self.groups.iter().enumerate() {
            let Some(Command::Complete(complete)) = group.head() else {
                continue;
            };
            // A policy not known here, or a result over its limit, is for the rules to judge.
            let Some(policy) = self.worker.policies.by_id(complete.token.policy_id) else {
                continue;
            };
            if group.known.is_some() || policy.check_result(complete.result.len()).is_err() {
                continue;
            }
            places.push(place);
            batch.push(Completion {
                id: &group.id,
                token: &complete.token,
                result: &complete.result,
                retention: policy.retention(),
            });
        }
        let calls = self.calls(&places, Group::head_span);
        let results = self
            .in_one_or_singly("complete_if_held", calls, &batch, |store, lane, batch| {
                store.complete_if_held(lane, batch)
            })
            .await;
        for (place, result) in places.into_iter().zip(results) {
            let group = &mut self.groups[place];
            match result {
                Ok(Some(completed)) => {
                    self.worker.waiters.wake(&group.id);
                    group.tell_of_completion(&self.worker.telemetry, &completed);
                    group.answer_head(Ok(Reply::Complete {
                        repeat: false,
                        completed_at: completed.at,
                    }));
                }
                Ok(None) => {}
                Err(error) => group.answer_head(Err(error)),
            }
        }
    }

    async fn load_others(&mut self) {
        let mut places = Vec::new();
        let mut batch = Vec::new();
        for (place, group) in self.groups.iter().enumerate() {
            if group.head().is_some() && group.known.is_none() {
                places.push(place);
                batch.push(&group.id);
            }
        }
        let mut policies_renewed = false;
        let calls = self.calls(&places, Group::spans);
        let results = self
            .in_one_or_singly("load", calls, &batch, |store, lane, batch| {
                Box::pin(async move {
                    let Loaded { now, records } = store.load(lane, batch).await?;
                    Ok(records.into_iter().map(|record| (now, record)).collect())
                })
            })
            .await;
        for (place, result) in places.into_iter().zip(results) {
            let known = match result {
                Ok((now, None)) => {
                    self.worker.standing.forget(&self.groups[place].id);
                    Ok(Known {
                        now,
                        standing: None,
                    })
                }
                Ok((now, Some(record))) => {
                    self.worker.standing.note(&self.groups[place].id);
                    self.policy_of(&record, &mut policies_renewed)
                        .await
                        .map(|policy| Known {
                            now,
                            standing: Some(Standing { record, policy }),
                        })
                }
                Err(error) => Err(error),
            };
            let group = &mut self.groups[place];
            match known {
                Ok(known) => group.known = Some(known),
                // It is the same for all, and a store that hangs is not asked for each.
                Err(error) => group.answer_all(&error),
            }
        }
    }

    /// Decides what is left, and swaps in what each key's changes come to.
    async fn swap(&mut self) {
        let mut changed = Vec::new();
        for (place, group) in self.groups.iter_mut().enumerate() {
            group.decide_all(&self.worker.telemetry);
            if group.change.is_some() {
                changed.push(place);
            }
        }
        let batch: Vec<Swap<'_>> = changed
            .iter()
            .filter_map(|place| self.groups[*place].swap())
            .collect();
        debug_assert_eq!(
            batch.len(),
            changed.len(),
            "a change replaces what was looked at"
        );
        let calls = self.calls(&changed, Group::changing_spans);
        let results = self
            .in_one_or_singly("compare_and_swap", calls, &batch, |store, lane, batch| {
                store.compare_and_swap(lane, batch)
            })
            .await;
        for (place, result) in changed.into_iter().zip(results) {
            let group = &mut self.groups[place];
            let Some(change) = group.change.take() else {
                continue;
            };
            match result {
                Ok(true) => {
                    if change.is_settled {
                        self.worker.waiters.wake(&group.id);
                    }
                    for (event, source) in change.events {
                        event.tell(&self.worker.telemetry, &group.id, source);
                    }
                    for (job, answer) in change.decided {
                        job.answer(answer);
                    }
                }
                Ok(false) => group.lost_swap(change),
                Err(error) => {
                    for (job, _) in change.decided {
                        job.answer(Err(error.clone()));
                    }
                }
            }
        }
    }

    /// The policy that a loaded record names. One that another server stored is read once.
    async fn policy_of(
        &self,
        record: &Record,
        renewed: &mut bool,
    ) -> Result<Arc<Policy>, LaneError> {
        let Worker {
            policies, store, ..
        } = self.worker;
        if let Some(policy) = policies.by_id(record.policy_id) {
            return Ok(policy);
        }
        let unavailable = |problem: String| LaneError::StoreUnavailable(problem.into());
        if !*renewed {
            *renewed = true;
            policies
                .renew(store)
                .await
                .map_err(|error| unavailable(error.to_string()))?;
        }
        policies.by_id(record.policy_id).ok_or_else(|| {
            let id = record.policy_id.as_i64();
            tracing::error!(
                policy = id,
                "a record names a policy that the store does not have"
            );
            unavailable(format!("policy {id} of the record is not in the store"))
        })
    }

    /// The sampled calls that a store call is made for.
    fn calls<'g, I: Iterator<Item = &'g Arc<CallSpan>>>(
        &'g self,
        places: &[usize],
        of: fn(&'g Group) -> I,
    ) -> Vec<Arc<CallSpan>> {
        if !self.is_traced {
            return Vec::new();
        }
        let groups = places.iter().map(|place| &self.groups[*place]);
        groups.flat_map(of).cloned().collect()
    }

    /// One store call for all items; one for each if the store refused them together.
    async fn in_one_or_singly<T: Sync, R>(
        &self,
        operation: &'static str,
        calls: Vec<Arc<CallSpan>>,
        items: &[T],
        call: for<'a> fn(&'a dyn Store, usize, &'a [T]) -> StoreFuture<'a, R>,
    ) -> Vec<Result<R, LaneError>> {
        if items.is_empty() {
            return Vec::new();
        }
        let (store, lane) = (self.worker.store.as_ref(), self.worker.lane);
        let from = Instant::now();
        let called = call(store, lane, items).await;
        if !calls.is_empty() {
            let batch = StoreBatch {
                operation,
                engine: store.engine(),
                lane,
                items: items.len(),
                from,
                until: Instant::now(),
                error: called.as_ref().err().map(StoreError::word),
                calls: &calls,
            };
            batch.show();
        }
        match called {
            Ok(results) => {
                assert_eq!(results.len(), items.len(), "a store answers every item");
                results.into_iter().map(Ok).collect()
            }
            Err(StoreError::Rejected(_)) if items.len() > 1 => {
                let mut results = Vec::with_capacity(items.len());
                for item in items.chunks(1) {
                    let one = call(store, lane, item).await;
                    results.push(one.map_err(failure).and_then(|mut results| {
                        results
                            .pop()
                            .ok_or_else(|| LaneError::StoreRejected("no answer".into()))
                    }));
                }
                results
            }
            Err(error) => {
                tracing::warn!(lane, items = items.len(), %error, "a store call failed");
                let failure = failure(error);
                items.iter().map(|_| Err(failure.clone())).collect()
            }
        }
    }
}

fn failure(error: StoreError) -> LaneError {
    match error {
        StoreError::Unavailable(cause) => LaneError::StoreUnavailable(cause.to_string().into()),
        StoreError::Rejected(cause) => LaneError::StoreRejected(cause.to_string().into()),
    }
}
