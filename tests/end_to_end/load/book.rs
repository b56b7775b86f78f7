//! What callers were told, and what must not be among it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use semel_client::{
    AttemptId, ClaimOutcome, Claimed, Client, FailOutcome, Fence, Record, RecordState, Token,
};
use tokio::sync::watch;

use crate::support::{PATIENCE, within};

/// How far a monotonic clock and the store's may part during a lease.
const CLOCKS: Duration = Duration::from_millis(2);

/// Everything that was told, key by key.
pub struct Book {
    keys: Mutex<HashMap<String, Vec<Entry>>>,
    wrong: Mutex<Vec<String>>,
    told: watch::Sender<Told>,
}

/// How much was told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told {
    /// Calls that were answered.
    pub answers: u64,
    /// Claims that were granted, completions and failures that were acknowledged.
    pub claimed: u64,
    pub completed: u64,
    pub failed: u64,
    /// Tries that brought no answer.
    pub unanswered: u64,
    /// Claims that were asked again, and found what an unanswered try had claimed.
    pub found_claims: u64,
    /// Settlements that were sent again, and had been recorded by an unanswered try.
    pub found_settlements: u64,
    /// Settlements that were refused because somebody had taken over.
    pub lost: u64,
}

/// A call that was answered.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// When it was first sent.
    pub sent: Instant,
    /// When its answer was there.
    pub answered: Instant,
    /// How many tries brought none.
    pub unanswered: u32,
}

#[derive(Debug)]
enum Entry {
    Claimed {
        call: Call,
        attempt_id: AttemptId,
        token: Token,
        fence: Fence,
        attempt: u32,
        /// Certainly held until then, unless it was given up.
        until: Instant,
    },
    /// A settlement is on its way: from here on, the claim may be over.
    Settling {
        token: Token,
        at: Instant,
    },
    Completed {
        call: Call,
        fence: Fence,
        result: Bytes,
    },
    Failed {
        call: Call,
        fence: Fence,
        result: Bytes,
    },
    Released {
        attempt: u32,
    },
    /// A claim, or a lookup, was told that the key is settled.
    Saw {
        call: Call,
        settled: Settled,
    },
    /// Somebody else was at it.
    Busy {
        call: Call,
        fence: Fence,
    },
    /// Somebody else had taken over, and may have settled since.
    Passed {
        fence: Fence,
    },
}

/// How a key is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Settled {
    well: bool,
    fence: Fence,
    result: Bytes,
}

/// What stands under a key.
#[derive(Debug)]
struct Stands {
    settled: Option<Settled>,
    /// Of a key that rests after a failure, it is not shown.
    fence: Option<Fence>,
    attempt: u32,
}

impl From<&Record> for Stands {
    fn from(record: &Record) -> Self {
        Self {
            settled: settled(&record.state),
            fence: fence_of(&record.state),
            attempt: attempt_of(&record.state),
        }
    }
}

impl Book {
    pub fn new() -> Self {
        Self {
            keys: Mutex::default(),
            wrong: Mutex::default(),
            told: watch::Sender::new(Told::default()),
        }
    }

    /// How much was told so far.
    pub fn told(&self) -> Told {
        *self.told.borrow()
    }

    /// Waits until so many calls were answered.
    pub async fn answers(&self, answers: u64) {
        let mut told = self.told.subscribe();
        let enough = told.wait_for(|told| told.answers >= answers);
        let what = format!("{answers} answers, after {:?}", self.told());
        within(PATIENCE, &what, enough).await.expect("we hold it");
    }

    /// Something happened that must not.
    pub fn wrong(&self, text: String) {
        lock(&self.wrong).push(text);
    }

    pub fn count(&self, change: impl FnOnce(&mut Told)) {
        self.told.send_modify(change);
    }

    fn write(&self, key: &str, entry: Entry) {
        lock(&self.keys)
            .entry(key.to_owned())
            .or_default()
            .push(entry);
    }

    /// A claim was answered.
    pub fn claim(&self, key: &str, attempt_id: AttemptId, call: Call, outcome: &ClaimOutcome) {
        self.count(|told| told.answers += 1);
        match outcome {
            ClaimOutcome::Claimed(claimed) => self.claimed(key, attempt_id, call, claimed),
            ClaimOutcome::InProgress(it) => {
                let fence = it.fence;
                self.write(key, Entry::Busy { call, fence });
            }
            ClaimOutcome::BackingOff(_) => {}
            ClaimOutcome::Completed(it) => {
                let settled = Settled {
                    well: true,
                    fence: it.fence,
                    result: it.result.clone(),
                };
                self.write(key, Entry::Saw { call, settled });
            }
            ClaimOutcome::Failed(it) => {
                let settled = Settled {
                    well: false,
                    fence: it.fence,
                    result: it.result.clone(),
                };
                self.write(key, Entry::Saw { call, settled });
            }
            ClaimOutcome::Dead(_) | ClaimOutcome::Uncertain(_) => {
                self.wrong(format!("{key}: a claim was told {outcome:?}"));
            }
        }
    }

    fn claimed(&self, key: &str, attempt_id: AttemptId, call: Call, claimed: &Claimed) {
        self.count(|told| told.claimed += 1);
        self.write(
            key,
            Entry::Claimed {
                call,
                attempt_id,
                token: claimed.held.token().clone(),
                fence: claimed.fence,
                attempt: claimed.attempt,
                until: claimed.lease.until(),
            },
        );
    }

    /// A settlement is about to be sent.
    pub fn settling(&self, claimed: &Claimed) {
        let (token, at) = (claimed.held.token().clone(), Instant::now());
        self.write(claimed.held.key(), Entry::Settling { token, at });
    }

    /// A completion was acknowledged.
    pub fn completed(&self, claimed: &Claimed, call: Call, result: Bytes, repeat: bool) {
        self.count(|told| {
            told.answers += 1;
            told.completed += 1;
            told.found_settlements += u64::from(repeat);
        });
        let fence = claimed.fence;
        let entry = Entry::Completed {
            call,
            fence,
            result,
        };
        self.write(claimed.held.key(), entry);
    }

    /// A failure was acknowledged.
    pub fn failed(&self, claimed: &Claimed, call: Call, outcome: &FailOutcome, repeat: bool) {
        self.count(|told| {
            told.answers += 1;
            told.failed += 1;
            told.found_settlements += u64::from(repeat);
        });
        let entry = match outcome {
            FailOutcome::Failed(it) => Entry::Failed {
                call,
                fence: it.fence,
                result: it.result.clone(),
            },
            FailOutcome::BackingOff(it) => Entry::Released {
                attempt: it.attempts,
            },
            other => {
                self.wrong(format!("{}: a failure made {other:?}", claimed.held.key()));
                return;
            }
        };
        self.write(claimed.held.key(), entry);
    }

    /// A settlement was refused because somebody took over.
    pub fn lost(&self, claimed: &Claimed, current: Option<Fence>) {
        self.count(|told| {
            told.answers += 1;
            told.lost += 1;
        });
        let key = claimed.held.key();
        match current {
            Some(fence) if fence > claimed.fence => {
                self.write(key, Entry::Passed { fence });
            }
            other => self.wrong(format!(
                "{key}: {} was lost, and what stands is {other:?}",
                claimed.fence
            )),
        }
    }

    /// A lookup was answered.
    pub fn looked_up(&self, key: &str, call: Call, record: Option<&Record>) {
        self.count(|told| told.answers += 1);
        match record.map(Stands::from) {
            Some(stands) => match (stands.settled, stands.fence) {
                (Some(settled), _) => self.write(key, Entry::Saw { call, settled }),
                (None, Some(fence)) => self.write(key, Entry::Busy { call, fence }),
                (None, None) => {}
            },
            // Only known keys are looked up.
            None => self.wrong(format!("{key}: a lookup found nothing")),
        }
    }

    /// Looks every key up and compares it with what was told. The number of keys.
    pub async fn check(&self, clients: &[Client], namespace: &str) -> usize {
        let keys = std::mem::take(&mut *lock(&self.keys));
        let total = keys.len();
        for (number, (key, entries)) in keys.into_iter().enumerate() {
            let client = &clients[number % clients.len()];
            let record = client.lookup(namespace, &key).await;
            let record = record.unwrap_or_else(|error| panic!("{key}: {error}"));
            self.check_key(&key, &entries, record.as_ref().map(Stands::from).as_ref());
        }
        let wrong = lock(&self.wrong);
        let shown: Vec<_> = wrong.iter().take(20).cloned().collect();
        assert!(
            wrong.is_empty(),
            "{} violations, among them:\n{}",
            wrong.len(),
            shown.join("\n")
        );
        total
    }

    fn check_key(&self, key: &str, entries: &[Entry], stands: Option<&Stands>) {
        let found_before = lock(&self.wrong).len();
        self.check_claims(key, entries);
        self.check_settled(key, entries, stands);
        self.check_standing(key, entries, stands);
        if lock(&self.wrong).len() > found_before {
            self.wrong(format!("{key}: stands {stands:?}, told {entries:#?}"));
        }
    }

    /// Fences are one token's, rise, and never let two hold at once.
    fn check_claims(&self, key: &str, entries: &[Entry]) {
        let mut by_fence: BTreeMap<Fence, Hold> = BTreeMap::new();
        for entry in entries {
            let Entry::Claimed {
                call,
                attempt_id,
                token,
                fence,
                attempt,
                until,
            } = entry
            else {
                continue;
            };
            let hold = Hold {
                sent: call.sent,
                answered: call.answered,
                until: *until,
                token: token.clone(),
                attempt_id: *attempt_id,
                attempt: *attempt,
            };
            if let Some(other) = by_fence.insert(*fence, hold)
                && (other.token != *token || other.attempt_id != *attempt_id)
            {
                self.wrong(format!("{key}: two tokens with the fence {fence}"));
            }
        }
        for entry in entries {
            if let Entry::Settling { token, at } = entry {
                for hold in by_fence.values_mut().filter(|hold| hold.token == *token) {
                    hold.until = hold.until.min(*at);
                }
            }
        }
        let holds: Vec<_> = by_fence.into_iter().collect();
        for (place, (fence, hold)) in holds.iter().enumerate() {
            for (later_fence, later) in &holds[place + 1..] {
                if later.answered < hold.sent {
                    self.wrong(format!(
                        "{key}: {later_fence} was granted before {fence} was asked for"
                    ));
                }
                if later.answered + CLOCKS < hold.until {
                    self.wrong(format!(
                        "{key}: {later_fence} was granted {:?} before the lease of {fence} ended",
                        hold.until - later.answered
                    ));
                }
                if later.attempt <= hold.attempt {
                    self.wrong(format!(
                        "{key}: {later_fence} is attempt {}, {fence} was {}",
                        later.attempt, hold.attempt
                    ));
                }
            }
        }
    }

    /// One outcome, for everybody who was told one, and nothing after it.
    fn check_settled(&self, key: &str, entries: &[Entry], stands: Option<&Stands>) {
        let mut outcomes: Vec<(Call, Settled)> = Vec::new();
        for entry in entries {
            let (call, well, fence, result) = match entry {
                Entry::Completed {
                    call,
                    fence,
                    result,
                } => (call, true, fence, result),
                Entry::Failed {
                    call,
                    fence,
                    result,
                } => (call, false, fence, result),
                Entry::Saw { call, settled } => {
                    outcomes.push((*call, settled.clone()));
                    continue;
                }
                _ => continue,
            };
            let settled = Settled {
                well,
                fence: *fence,
                result: result.clone(),
            };
            outcomes.push((*call, settled));
        }
        let Some((_, first)) = outcomes.first() else {
            return;
        };
        for (_, other) in &outcomes[1..] {
            if other != first {
                self.wrong(format!("{key}: told {first:?} and {other:?}"));
            }
        }
        let standing = stands.and_then(|stands| stands.settled.as_ref());
        if standing != Some(first) {
            self.wrong(format!("{key}: told {first:?}, but {standing:?} stands"));
        }
        let known = outcomes.iter().map(|(call, _)| call.answered).min();
        for entry in entries {
            let (call, fence) = match entry {
                Entry::Claimed { call, fence, .. } | Entry::Busy { call, fence } => {
                    (Some(call), *fence)
                }
                Entry::Passed { fence } => (None, *fence),
                _ => continue,
            };
            if fence > first.fence {
                self.wrong(format!("{key}: the fence {fence} came after {first:?}"));
            }
            if call.is_some_and(|call| known.is_some_and(|known| call.sent > known)) {
                self.wrong(format!("{key}: in progress after {first:?} was known"));
            }
        }
    }

    /// What stands is not older than anything that was told.
    fn check_standing(&self, key: &str, entries: &[Entry], stands: Option<&Stands>) {
        let (mut fence, mut attempt) = (None, 0);
        for entry in entries {
            match entry {
                Entry::Claimed {
                    fence: told,
                    attempt: number,
                    ..
                } => {
                    fence = fence.max(Some(*told));
                    attempt = attempt.max(*number);
                }
                Entry::Completed { fence: told, .. }
                | Entry::Failed { fence: told, .. }
                | Entry::Busy { fence: told, .. }
                | Entry::Passed { fence: told } => fence = fence.max(Some(*told)),
                Entry::Released { attempt: number } => attempt = attempt.max(*number),
                Entry::Settling { .. } | Entry::Saw { .. } => {}
            }
        }
        let Some(stands) = stands else {
            if fence.is_some() {
                self.wrong(format!("{key}: claimed with {fence:?}, and gone"));
            }
            return;
        };
        if stands.fence.is_some() && stands.fence < fence {
            self.wrong(format!(
                "{key}: told the fence {fence:?}, and an older one stands"
            ));
        }
        if stands.attempt < attempt {
            self.wrong(format!(
                "{key}: told of attempt {attempt}, and an older one stands"
            ));
        }
    }
}

struct Hold {
    sent: Instant,
    answered: Instant,
    until: Instant,
    token: Token,
    attempt_id: AttemptId,
    attempt: u32,
}

fn settled(state: &RecordState) -> Option<Settled> {
    match state {
        RecordState::Completed(it) => Some(Settled {
            well: true,
            fence: it.fence,
            result: it.result.clone(),
        }),
        RecordState::Failed(it) => Some(Settled {
            well: false,
            fence: it.fence,
            result: it.result.clone(),
        }),
        _ => None,
    }
}

fn fence_of(state: &RecordState) -> Option<Fence> {
    match state {
        RecordState::InProgress(it) => Some(it.fence),
        RecordState::BackingOff(_) => None,
        RecordState::Completed(it) => Some(it.fence),
        RecordState::Failed(it) => Some(it.fence),
        RecordState::Dead(it) => Some(it.fence),
        RecordState::Uncertain(it) => Some(it.fence),
    }
}

fn attempt_of(state: &RecordState) -> u32 {
    match state {
        RecordState::InProgress(it) => it.attempt,
        RecordState::BackingOff(it) => it.attempts,
        RecordState::Completed(it) => it.attempt,
        RecordState::Failed(it) => it.attempt,
        RecordState::Dead(it) => it.attempts,
        RecordState::Uncertain(it) => it.attempts,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The check has to find what it is for.
#[cfg(test)]
mod tests {
    use semel_client::Claim;

    use super::*;

    struct Story {
        began: Instant,
        entries: Vec<Entry>,
    }

    impl Story {
        fn new() -> Self {
            Self {
                began: Instant::now(),
                entries: Vec::new(),
            }
        }

        fn at(&self, ms: u64) -> Instant {
            self.began + Duration::from_millis(ms)
        }

        /// A call from one millisecond to another.
        fn call(&self, sent: u64, answered: u64) -> Call {
            Call {
                sent: self.at(sent),
                answered: self.at(answered),
                unanswered: 0,
            }
        }

        fn claimed(mut self, fence: i64, attempt: u32, (sent, answered): (u64, u64)) -> Self {
            self.entries.push(Entry::Claimed {
                call: self.call(sent, answered),
                attempt_id: Claim::new("story", "key").attempt_id(),
                token: Token::new(format!("{fence} {attempt} {sent}")),
                fence: Fence::new(fence),
                attempt,
                until: self.at(sent + 100),
            });
            self
        }

        fn completed(mut self, fence: i64, result: &'static str, sent: u64) -> Self {
            self.entries.push(Entry::Completed {
                call: self.call(sent, sent + 10),
                fence: Fence::new(fence),
                result: result.into(),
            });
            self
        }

        fn busy(mut self, fence: i64, sent: u64) -> Self {
            self.entries.push(Entry::Busy {
                call: self.call(sent, sent + 10),
                fence: Fence::new(fence),
            });
            self
        }

        /// What the check says when this stands.
        fn stands(self, stands: Option<Stands>) -> Vec<String> {
            let book = Book::new();
            book.check_key("key", &self.entries, stands.as_ref());
            std::mem::take(&mut *lock(&book.wrong))
        }
    }

    fn done(fence: i64, result: &'static str) -> Option<Stands> {
        Some(Stands {
            settled: Some(Settled {
                well: true,
                fence: Fence::new(fence),
                result: result.into(),
            }),
            fence: Some(Fence::new(fence)),
            attempt: 2,
        })
    }

    fn in_progress(fence: i64) -> Option<Stands> {
        Some(Stands {
            settled: None,
            fence: Some(Fence::new(fence)),
            attempt: 2,
        })
    }

    /// Two attempts, the second after the first's lease; it completes.
    fn good() -> Story {
        Story::new()
            .claimed(7, 1, (0, 10))
            .busy(7, 20)
            .claimed(9, 2, (105, 115))
            .completed(9, "done", 120)
    }

    #[test]
    fn a_good_story_is_fine() {
        assert_eq!(good().stands(done(9, "done")), Vec::<String>::new());
    }

    #[test]
    fn what_was_acknowledged_and_is_lost_is_found() {
        for stands in [None, done(9, "other"), done(8, "done"), in_progress(9)] {
            assert!(!good().stands(stands).is_empty());
        }
        let claim = || Story::new().claimed(9, 1, (0, 10));
        assert_eq!(claim().stands(in_progress(9)), Vec::<String>::new());
        assert!(!claim().stands(in_progress(8)).is_empty());
        assert!(!claim().stands(None).is_empty());
    }

    #[test]
    fn two_holders_and_fences_that_fall_are_found() {
        let first = || Story::new().claimed(7, 1, (0, 10));
        let found = |story: Story, stands| !story.stands(in_progress(stands)).is_empty();
        // The same fence for two; during the lease; a smaller one later; the same attempt twice.
        assert!(found(first().claimed(7, 2, (105, 115)), 7));
        assert!(found(first().claimed(9, 2, (20, 30)), 9));
        assert!(found(first().claimed(6, 2, (105, 115)), 7));
        assert!(found(first().claimed(9, 1, (105, 115)), 9));
        assert!(!found(first().claimed(9, 2, (105, 115)), 9));
    }

    #[test]
    fn a_settled_key_that_comes_to_life_is_found() {
        for story in [
            good().busy(9, 150),
            good().claimed(10, 3, (250, 260)),
            good().completed(9, "another", 150),
        ] {
            assert!(!story.stands(done(9, "done")).is_empty());
        }
    }
}
