//! The lanes' written policy, tested with signals on a real embedded store behind one that can be
//! told to stop and fail.

mod bursts;
mod changes;
mod faulty;
mod policy;
mod streams;
mod waiting;

use std::sync::Arc;

use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinHandle};

use self::faulty::Faulty;
use super::*;
use crate::{
    key::{
        AttemptId, Fingerprint, Jitter, Memory, Policy, PolicySettings, Span, Timestamp, Token,
        transition::{Claim, ClaimGrant, ClaimReply, Complete, Fail, Failure, Outcome},
    },
    store::{
        Clock, ManualClock, SharedStore,
        sqlite::{SqliteOptions, SqliteStore},
    },
    telemetry::TelemetrySettings,
};

/// Lanes on a store of their own, which ends with them.
pub(super) struct House {
    pub lanes: Arc<Lanes>,
    pub store: Arc<Faulty>,
    pub arrivals: mpsc::UnboundedReceiver<(&'static str, usize)>,
    pub clock: ManualClock,
    pub policy: Arc<Policy>,
    _dir: tempfile::TempDir,
}

pub(super) async fn house(settings: LaneSettings) -> House {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Timestamp::from_micros(1_000_000_000));
    let options = SqliteOptions {
        clock: Clock::Manual(clock.clone()),
        // So few that keys of every test are found in both parts of the index.
        newest_in_memory: 2,
    };
    let sqlite = SqliteStore::open(dir.path(), options).await.unwrap();
    let (store, arrivals) = Faulty::around(Arc::new(sqlite));
    let shared: SharedStore = store.clone();
    let default = Policy::new(PolicySettings::default()).unwrap();
    let policies = Arc::new(
        Policies::seed(&shared, Some(default.clone()), vec![])
            .await
            .unwrap(),
    );
    let lanes = Arc::new(Lanes::start(
        &shared,
        &policies,
        &settings,
        &Telemetry::local(&TelemetrySettings::default()),
    ));
    House {
        lanes,
        store,
        arrivals,
        clock,
        policy: Arc::new(default),
        _dir: dir,
    }
}

pub(super) fn id(key: &str) -> KeyId {
    KeyId::parse("test", key).unwrap()
}

impl House {
    /// A Claim with an attempt id of its own.
    pub fn claim(&self, attempt: u8) -> Claim {
        Claim {
            attempt_id: AttemptId::new(&[attempt; 16]).unwrap(),
            fingerprint: Fingerprint::default(),
            owner: format!("worker {attempt}"),
            traceparent: String::new(),
            lease: Span::from_secs(30),
            event_time: None,
            delivery: None,
            policy: self.policy.clone(),
            memory: Memory::FULL,
        }
    }

    pub async fn claimed(&self, key: &str, attempt: u8) -> ClaimGrant {
        match self.lanes.claim(id(key), self.claim(attempt), None).await {
            Ok(ClaimReply::Claimed(grant)) => grant,
            other => panic!("{key} was not claimed: {other:?}"),
        }
    }

    /// Sends a Claim in the background.
    pub fn claims(&self, key: &str, attempt: u8) -> JoinHandle<Result<ClaimReply, LaneError>> {
        let (lanes, id, claim) = (self.lanes.clone(), id(key), self.claim(attempt));
        tokio::spawn(async move { lanes.claim(id, claim, None).await })
    }

    pub async fn look(&self, key: &str) -> Result<Outcome, LaneError> {
        match self.lanes.call(id(key), Command::Lookup).await? {
            Reply::Lookup { outcome, .. } => Ok(outcome),
            other => panic!("a Lookup was answered with {other:?}"),
        }
    }

    /// The next call that arrives at the store's gate.
    pub async fn arrival(&mut self) -> (&'static str, usize) {
        tokio::time::timeout(std::time::Duration::from_secs(10), self.arrivals.recv())
            .await
            .expect("a store call within ten seconds")
            .expect("the store lives")
    }
}

pub(super) fn complete(token: Token, result: &'static str) -> Command {
    Command::Complete(Complete {
        token,
        result: Bytes::from_static(result.as_bytes()),
    })
}

pub(super) fn release(token: Token) -> Command {
    let failure = Failure::Retryable {
        retry_after: Some(Span::ZERO),
        jitter: Jitter::new(0.5),
    };
    Command::Fail(Fail {
        token,
        error: "later".into(),
        failure,
    })
}

/// Lets the others run until `condition` holds. Bounded.
pub(super) async fn until(condition: impl Fn() -> bool) {
    let bound = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !condition() {
        assert!(
            std::time::Instant::now() < bound,
            "the condition did not come true"
        );
        tokio::task::yield_now().await;
    }
}
