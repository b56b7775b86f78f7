//! Many completed keys in a store, made by its own statements in large batches, now or at a time that
//! has passed. The rows of a batch have one time, where a server's have one for each round.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use semel_server::{
    key::{AttemptId, Fingerprint, KeyId, NewRecord, Policy, Span, Timestamp, Token},
    store::{
        Clock, Completion, ManualClock, SharedStore,
        postgres::{PostgresOptions, PostgresStore},
        sqlite::{SqliteOptions, SqliteStore},
    },
};
use tokio::runtime::Runtime;

use crate::{Outcome, load::NAMESPACE, postgres::Postgres};

/// Rows of one commit.
const BATCH: u64 = 2_048;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// What to fill in.
#[derive(Debug, Clone)]
pub struct Fill {
    pub keys: u64,
    pub result_bytes: usize,
    /// Completed this long ago, so that with a longer time than the retention they are expired.
    pub age: Duration,
    /// Keys of one seed are those of no other.
    pub seed: u64,
}

/// Older than the built-in retention by a day.
pub fn expired_age() -> Duration {
    Duration::from(Policy::built_in().retention()) + Duration::from_secs(24 * 60 * 60)
}

/// Fills `database`, which gets the schema if it has none; how long it took.
pub fn into_postgres(postgres: &Postgres, database: &str, fill: &Fill) -> Outcome<Duration> {
    let lanes = thread::available_parallelism()
        .map_or(2, usize::from)
        .max(2);
    postgres.runtime().block_on(async {
        let store = PostgresStore::open(&PostgresOptions {
            lanes,
            migrate: true,
            clock: fill.clock(),
            ..PostgresOptions::new(postgres.url(database))
        })
        .await?;
        write(Arc::new(store), fill).await
    })
}

/// Fills the embedded store in `dir`, which no server may have; how long it took.
pub fn into_directory(runtime: &Runtime, dir: &Path, fill: &Fill) -> Outcome<Duration> {
    runtime.block_on(async {
        let options = SqliteOptions {
            clock: fill.clock(),
            ..SqliteOptions::default()
        };
        let store = SqliteStore::open(dir, options).await?;
        write(Arc::new(store), fill).await
    })
}

async fn write(store: SharedStore, fill: &Fill) -> Outcome<Duration> {
    let started = Instant::now();
    let policy = Policy::built_in();
    store
        .put_policy(policy.id(), &policy.canonical_text())
        .await?;
    let lanes = store.lanes();
    let writer = Arc::new(Writer {
        store,
        policy,
        fill: fill.clone(),
        result: Bytes::from(vec![b'r'; fill.result_bytes]),
        next: AtomicU64::new(0),
        started,
    });
    let tasks: Vec<_> = (0..lanes)
        .map(|lane| tokio::spawn(writer.clone().write(lane)))
        .collect();
    for task in tasks {
        task.await??;
    }
    writer.store.close().await;
    Ok(started.elapsed())
}

impl Fill {
    fn clock(&self) -> Clock {
        if self.age.is_zero() {
            Clock::Store
        } else {
            Clock::Manual(ManualClock::at(ago(self.age)))
        }
    }
}

fn ago(age: Duration) -> Timestamp {
    let at = SystemTime::now() - age;
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_micros(Span::from(since).as_micros())
}

struct Writer {
    store: SharedStore,
    policy: Policy,
    fill: Fill,
    result: Bytes,
    next: AtomicU64,
    started: Instant,
}

impl Writer {
    /// Batch after batch on one lane, until none is left.
    async fn write(self: Arc<Self>, lane: usize) -> Outcome<()> {
        let mut told = self.started;
        loop {
            let from = self.next.fetch_add(BATCH, Ordering::Relaxed);
            let to = (from + BATCH).min(self.fill.keys);
            if from >= to {
                return Ok(());
            }
            self.batch(lane, from..to).await?;
            if lane == 0 && told.elapsed() > TELL_EVERY {
                told = Instant::now();
                eprintln!("    {to} of {} keys", self.fill.keys);
            }
        }
    }

    async fn batch(&self, lane: usize, keys: std::ops::Range<u64>) -> Outcome<()> {
        let records = keys.map(|n| self.record(n)).collect::<Outcome<Vec<_>>>()?;
        let borrowed: Vec<_> = records.iter().collect();
        let inserted = self.store.insert_if_absent(lane, &borrowed).await?;
        let tokens = records
            .iter()
            .zip(inserted)
            .map(|(record, inserted)| {
                let inserted = inserted.ok_or("a key was there before the fill")?;
                Ok(Token {
                    fence: inserted.fence,
                    attempt_id: record.attempt_id,
                    policy_id: record.policy_id,
                })
            })
            .collect::<Outcome<Vec<_>>>()?;
        let completions: Vec<_> = records
            .iter()
            .zip(&tokens)
            .map(|(record, token)| Completion {
                id: &record.id,
                token,
                result: &self.result,
                retention: self.policy.retention(),
            })
            .collect();
        let completed = self.store.complete_if_held(lane, &completions).await?;
        match completed.iter().all(Option::is_some) {
            true => Ok(()),
            false => Err("a key of the fill could not be completed".into()),
        }
    }

    fn record(&self, n: u64) -> Outcome<NewRecord> {
        let lease = self.policy.lease(None)?;
        Ok(NewRecord {
            id: KeyId::parse(NAMESPACE, &key(self.fill.seed, n))?,
            attempt_id: attempt_id(n),
            policy_id: self.policy.id(),
            fingerprint: Fingerprint::from_stored(Bytes::new()),
            owner: "bench".into(),
            traceparent: String::new(),
            lease,
            sweep_after: self.policy.retention().plus(lease),
            insert_until: Timestamp::MAX,
            delivery: None,
        })
    }
}

/// 25 bytes, as long as those of the loads, and in no order.
fn key(seed: u64, n: u64) -> String {
    format!("{:08x}-{:016x}", seed as u32, scattered(n))
}

fn attempt_id(n: u64) -> AttemptId {
    let mut bytes = [7; 16];
    bytes[8..].copy_from_slice(&scattered(n).to_be_bytes());
    AttemptId::from_stored(bytes)
}

/// The last step of SplitMix64: each number goes to another one, far from its neighbours'.
fn scattered(n: u64) -> u64 {
    let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use semel_server::key::BUCKETS;

    use super::*;
    use crate::plan::KEY_BYTES;

    #[test]
    fn filled_keys_differ_and_are_spread_over_every_bucket() {
        let keys: HashSet<_> = (0..2_000).flat_map(|n| [key(1, n), key(2, n)]).collect();
        assert_eq!(keys.len(), 4_000);
        let buckets: HashSet<_> = keys
            .iter()
            .map(|key| KeyId::parse(NAMESPACE, key).unwrap().bucket())
            .collect();
        assert_eq!(buckets.len(), BUCKETS as usize);
        assert!(keys.iter().all(|key| key.len() as u64 == KEY_BYTES));
    }
}
