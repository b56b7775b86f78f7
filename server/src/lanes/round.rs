//! One round of a lane: at most one insert, one blind completion, one load and one swap, each a
//! store call of its own and each for many keys.
//!
//! Commands on one key are decided in the order they came, from the record that the round has in
//! hand: a thousand duplicates of one key cost one load, and a thousand changes to one key cost one
//! swap, of what the last of them made. They are answered after its commit.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    hash::{BuildHasherDefault, Hasher},
    pin::Pin,
    sync::Arc,
};

use super::{
    job::{LaneError, QueuedJob},
    worker::Worker,
};
use crate::{
    key::{
        Fence, KeyId, NewRecord, Policy, Record, State, Timestamp,
        transition::{ClaimGrant, ClaimReply, Command, Decision, Reply, Standing, decide},
    },
    store::{Completion, Inserted, Loaded, Store, StoreError, Swap},
};

/// How often one command may find that others changed its key meanwhile.
pub(super) const MOST_TRIES: u32 = 16;

pub(super) struct Round<'w> {
    worker: &'w Worker,
    groups: Vec<Group>,
}

/// The commands on one key, in the order they came.
struct Group {
    id: KeyId,
    first: Option<QueuedJob>,
    /// Behind the first. Nearly always there is none, and so nothing to allocate.
    rest: VecDeque<QueuedJob>,
    known: Option<Known>,
    change: Option<Change>,
}

/// What the round knows of a key: read or written in it.
struct Known {
    /// When, by the store's clock.
    now: Timestamp,
    standing: Option<Standing>,
}

/// What a round makes of a record, before it is written.
struct Change {
    /// What the swap must find.
    expected_fence: Fence,
    expected_revision: i32,
    /// Whether those who wait for the key have to look.
    is_settled: bool,
    /// From the first command that changed it: those that only looked have seen the change.
    decided: Vec<(QueuedJob, Result<Reply, LaneError>)>,
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
        for job in jobs {
            match places.entry(job.id.clone()) {
                Entry::Occupied(place) => groups[*place.get()].rest.push_back(job),
                Entry::Vacant(place) => {
                    place.insert(groups.len());
                    groups.push(Group {
                        id: job.id.clone(),
                        first: Some(job),
                        rest: VecDeque::new(),
                        known: None,
                        change: None,
                    });
                }
            }
        }
        Self { worker, groups }
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
        let results: Vec<Result<Option<Inserted>, LaneError>> = self
            .in_one_or_singly(&batch, |store, lane, batch| {
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
        let results = self
            .in_one_or_singly(&batch, |store, lane, batch| {
                store.complete_if_held(lane, batch)
            })
            .await;
        for (place, result) in places.into_iter().zip(results) {
            let group = &mut self.groups[place];
            match result {
                Ok(Some(completed_at)) => {
                    self.worker.waiters.wake(&group.id);
                    group.answer_head(Ok(Reply::Complete {
                        repeat: false,
                        completed_at,
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
        let results = self
            .in_one_or_singly(&batch, |store, lane, batch| {
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
            group.decide_all();
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
        let results = self
            .in_one_or_singly(&batch, |store, lane, batch| {
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

    /// One store call for all items; one for each if the store refused them together.
    async fn in_one_or_singly<T: Sync, R>(
        &self,
        items: &[T],
        call: for<'a> fn(&'a dyn Store, usize, &'a [T]) -> StoreFuture<'a, R>,
    ) -> Vec<Result<R, LaneError>> {
        if items.is_empty() {
            return Vec::new();
        }
        let (store, lane) = (self.worker.store.as_ref(), self.worker.lane);
        match call(store, lane, items).await {
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

impl Group {
    fn head(&self) -> Option<&Command> {
        self.first.as_ref().map(|job| &job.command)
    }

    fn take_head(&mut self) -> Option<QueuedJob> {
        let next = self.rest.pop_front();
        std::mem::replace(&mut self.first, next)
    }

    fn answer_head(&mut self, answer: Result<Reply, LaneError>) {
        if let Some(job) = self.take_head() {
            job.answer(answer);
        }
    }

    fn answer_all(&mut self, error: &LaneError) {
        while self.first.is_some() {
            self.answer_head(Err(error.clone()));
        }
    }

    /// Decides one command after the other. What is decided before the first change is answered at
    /// once, the rest when the change is written.
    fn decide_all(&mut self) {
        while let (Some(job), Some(Known { now, standing })) = (&self.first, &mut self.known) {
            match decide(&self.id, &job.command, standing.as_ref(), *now) {
                Decision::Answer(answer) => self.put_down(answer.map_err(LaneError::Refused)),
                Decision::Replace { record, reply } => {
                    let Some(standing) = standing else {
                        unreachable!("there is nothing to replace");
                    };
                    let change = self.change.get_or_insert_with(|| Change::of(standing));
                    change.is_settled |= !matches!(record.state, State::InProgress { .. });
                    standing.record = *record;
                    if let (Command::Claim(claim), Reply::Claim(ClaimReply::Claimed(_))) =
                        (&job.command, &reply)
                    {
                        // A claim brings the namespace's policy of now.
                        standing.policy = claim.policy.clone();
                    }
                    self.put_down(Ok(reply));
                }
                // It stood a moment ago and is gone, or was never there: the next round inserts.
                Decision::Insert(_) => return self.retry_head(),
            }
        }
    }

    /// Answers the head, or keeps its answer until the change that it has seen is written.
    fn put_down(&mut self, answer: Result<Reply, LaneError>) {
        match &mut self.change {
            None => self.answer_head(answer),
            Some(change) => {
                let next = self.rest.pop_front();
                let job = std::mem::replace(&mut self.first, next);
                change.decided.extend(job.map(|job| (job, answer)));
            }
        }
    }

    fn swap(&self) -> Option<Swap<'_>> {
        let change = self.change.as_ref()?;
        Some(Swap {
            id: &self.id,
            expected_fence: change.expected_fence,
            expected_revision: change.expected_revision,
            record: &self.known.as_ref()?.standing.as_ref()?.record,
        })
    }

    /// Somebody else changed the record meanwhile: all that was decided is decided again.
    fn lost_swap(&mut self, change: Change) {
        self.known = None;
        if let Some(undecided) = self.first.take() {
            self.rest.push_front(undecided);
        }
        for (job, _) in change.decided.into_iter().rev() {
            self.rest.push_front(job);
        }
        self.first = self.rest.pop_front();
        self.retry_head();
    }

    fn retry_head(&mut self) {
        let Some(job) = &mut self.first else {
            return;
        };
        job.tries += 1;
        if job.tries >= MOST_TRIES {
            self.answer_head(Err(LaneError::Contention));
        }
    }
}

impl Change {
    fn of(standing: &Standing) -> Self {
        Self {
            expected_fence: standing.record.fence,
            expected_revision: standing.record.revision,
            is_settled: false,
            decided: Vec::new(),
        }
    }
}
