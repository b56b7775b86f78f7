//! One database, its clock, and servers on it.

use std::{ops::Deref, sync::Arc};

use semel_server::{
    key::{
        Fingerprint, KeyId, Namespace, Record,
        transition::{Claim, ClaimGrant, Command, Details, Outcome, Reply},
    },
    lanes::{LaneSettings, Lanes, Wait},
    policies::Policies,
    store::{ManualClock, SharedStore},
    telemetry::{Telemetry, TelemetrySettings},
};
use tokio::time::Instant;

use crate::{
    Answer, BOUND, Database, at, attempt, grant_of, hold, large, policy, required, settings, word,
};

/// An empty database with a first server, which the house can be used as.
pub struct House {
    /// The clock of the database, which all servers go by.
    pub clock: ManualClock,
    /// Where it is all kept.
    pub database: Arc<dyn Database>,
    server: Server,
}

/// A server without its network: the lanes, and what they stand on.
#[derive(Clone)]
pub struct Server {
    /// The store.
    pub store: SharedStore,
    /// The policies that it knows.
    pub policies: Arc<Policies>,
    /// The lanes.
    pub lanes: Arc<Lanes>,
}

impl House {
    /// A first server on an empty database.
    pub async fn open(database: Arc<dyn Database>) -> Self {
        let clock = ManualClock::at(at(0));
        let server = Server::start(database.open(&clock).await).await;
        Self {
            clock,
            database,
            server,
        }
    }

    /// One more server on the same database.
    pub async fn another_server(&self) -> Server {
        Server::start(self.database.open(&self.clock).await).await
    }

    /// Ends the first server, closes the store and starts again.
    pub async fn restart(&mut self) {
        self.server.lanes.close().await;
        self.database.close().await;
        self.server = Server::start(self.database.open(&self.clock).await).await;
    }

    /// What `story` comes to, which must not have written anything.
    pub async fn writing_nothing<T>(&self, story: impl Future<Output = T>) -> T {
        let before = self.database.trace().await;
        let told = story.await;
        let after = self.database.trace().await;
        assert_eq!(before, after, "something was written");
        told
    }

    /// Purges until every bucket was swept, and says how many records were deleted.
    pub async fn purge(&self) -> u64 {
        let mut deleted = 0;
        // 64 buckets, and some more passes for those that need several.
        for _ in 0..1_000 {
            let purged = self.store.purge(1_000).await.expect("the purge works");
            deleted += purged.deleted;
            if !purged.swept {
                return deleted;
            }
        }
        panic!("the purge comes to no end");
    }
}

impl Deref for House {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Server {
    /// A server with the tests' namespaces: `orders`, `money`, `strict` and `bulk`.
    pub async fn start(store: SharedStore) -> Self {
        let namespaces = [
            ("orders", settings()),
            ("money", hold()),
            ("strict", required()),
            ("bulk", large()),
        ]
        .map(|(name, settings)| {
            let name = Namespace::new(name).expect("a valid namespace");
            (name, policy(settings))
        });
        let policies = Policies::seed(&store, Some(policy(settings())), namespaces.into())
            .await
            .expect("policies are stored");
        let policies = Arc::new(policies);
        let telemetry = Telemetry::local(&TelemetrySettings::default());
        let lanes = Lanes::start(&store, &policies, &LaneSettings::default(), &telemetry);
        Self {
            store,
            policies,
            lanes: Arc::new(lanes),
        }
    }

    /// Attempt `n`'s Claim as the key's namespace stands now: no fingerprint, default lease.
    pub fn draft(&self, id: &KeyId, n: u128) -> Claim {
        let in_force = self.policies.of(id.namespace());
        Claim {
            attempt_id: attempt(n),
            fingerprint: Fingerprint::default(),
            owner: format!("worker-{n}"),
            traceparent: format!("trace-{n}"),
            lease: in_force.policy.lease(None).expect("a default lease"),
            event_time: None,
            delivery: None,
            memory: in_force.memory,
            policy: in_force.policy,
        }
    }

    /// Sends attempt `n`'s Claim.
    pub async fn claim(&self, id: &KeyId, n: u128) -> Answer {
        self.ask(id, self.draft(id, n)).await
    }

    /// Sends a Claim.
    pub async fn ask(&self, id: &KeyId, claim: Claim) -> Answer {
        self.call(id, Command::Claim(claim)).await
    }

    /// Sends attempt `n`'s Claim, which has to be granted.
    pub async fn claimed(&self, id: &KeyId, n: u128) -> ClaimGrant {
        grant_of(self.claim(id, n).await)
    }

    /// Sends attempt `n`'s Claim on its way, to wait while the key is in progress. No case is
    /// waited for longer than this waits.
    pub fn waits(&self, id: &KeyId, n: u128) -> tokio::task::JoinHandle<Answer> {
        let (server, id, claim) = (self.clone(), id.clone(), self.draft(id, n));
        let wait = Wait {
            until: Instant::now() + BOUND,
        };
        tokio::spawn(async move {
            let reply = server.lanes.claim(id, claim, Some(wait)).await;
            reply.map(Reply::Claim)
        })
    }

    /// Sends a command.
    pub async fn call(&self, id: &KeyId, command: Command) -> Answer {
        self.lanes.call(id.clone(), command).await
    }

    /// The answer to a command, in a word.
    pub async fn word(&self, id: &KeyId, command: Command) -> &'static str {
        word(&self.call(id, command).await)
    }

    /// The answer to attempt `n`'s Claim, in a word.
    pub async fn claim_word(&self, id: &KeyId, n: u128) -> &'static str {
        word(&self.claim(id, n).await)
    }

    /// What a Lookup answers, in a word.
    pub async fn lookup_word(&self, id: &KeyId) -> &'static str {
        self.word(id, Command::Lookup).await
    }

    /// What stands, as a Lookup shows it.
    pub async fn look(&self, id: &KeyId) -> (Outcome, Details) {
        match self.call(id, Command::Lookup).await {
            Ok(Reply::Lookup { outcome, details }) => (outcome, details),
            other => panic!("nothing to look up: {other:?}"),
        }
    }

    /// What is stored under a key, forgotten or not.
    pub async fn record(&self, id: &KeyId) -> Option<Record> {
        let loaded = self.store.load(0, &[id]).await.expect("the store loads");
        loaded
            .records
            .into_iter()
            .next()
            .expect("one answer for one key")
    }

    /// What is stored under a key; there has to be something.
    pub async fn standing(&self, id: &KeyId) -> Record {
        self.record(id).await.expect("something stands")
    }
}
