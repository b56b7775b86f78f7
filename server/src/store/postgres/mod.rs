//! Keys in Postgres, or in an engine that speaks its protocol and its SQL.
//!
//! Each lane has a connection of its own, and each call on it is one statement in a transaction of
//! its own: one round trip, one commit. Nothing is ever cancelled. A statement that takes too long
//! is ended by the server; a server that does not even do that is hung up on, and what came of the
//! statement is unknown then.

mod admin;
mod batches;
mod census;
mod connect;
mod fault;
mod novelty;
mod purge;
mod slot;
#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use async_trait::async_trait;

use self::{
    connect::{Connector, Session, hang_up},
    novelty::Novelty,
    slot::Slot,
};
use super::{
    CensusPart, CensusPlace, Clock, Completed, Completion, Connections, Inserted, Loaded,
    NamespaceRow, OpenError, Purged, Store, StoreError, Swap, batch::Sorted, schema,
};
use crate::key::{KeyId, Namespace, NewRecord, PolicyId, Span};

/// How long a database may take to say that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the database is, and how to use it.
#[derive(Clone)]
pub struct PostgresOptions {
    /// The address, `postgres://user@host:5432/database`; its `sslmode` and other parameters count.
    pub url: String,
    /// How many connections write at the same time.
    pub lanes: usize,
    /// Whether opening migrates the schema. If not, it must be there and of this version.
    pub migrate: bool,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long after its retention a record is purged at the earliest. Longer than any statement
    /// can live; see `purge.rs`.
    pub purge_lag: Span,
    /// Where time comes from.
    pub clock: Clock,
}

impl PostgresOptions {
    /// Four lanes, five seconds to connect, a minute of purge lag, the database's clock, and no
    /// migration.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            lanes: 4,
            migrate: false,
            connect_timeout: Duration::from_secs(5),
            purge_lag: Span::from_secs(60),
            clock: Clock::Store,
        }
    }
}

impl fmt::Debug for PostgresOptions {
    /// Without the address, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("lanes", &self.lanes)
            .field("migrate", &self.migrate)
            .field("connect_timeout", &self.connect_timeout)
            .field("purge_lag", &self.purge_lag)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

/// What belongs to one lane.
#[derive(Debug)]
struct Lane {
    slot: Slot,
    novelty: Novelty,
}

/// Keys in Postgres.
#[derive(Debug)]
pub struct PostgresStore {
    connector: Connector,
    clock: Clock,
    purge_lag: Span,
    lanes: Vec<Lane>,
    /// The census's own: it holds a lock by which all servers but one leave the counting to that one.
    census: Slot,
    /// The purge's own, so that it and the lanes do not wait for each other.
    sweep: Slot,
    admin: Slot,
    /// The readiness check's own, so that a slow call does not look like a database that is away.
    probe: Slot,
}

#[derive(Debug, thiserror::Error)]
#[error("the database has not answered within {READY_TIMEOUT:?}")]
struct NotReady;

impl PostgresStore {
    /// Brings the schema up to this binary's version. Several servers may do so at once.
    ///
    /// # Errors
    /// When the database is away, or its schema is newer than this binary, or not ours.
    pub async fn migrate(options: &PostgresOptions) -> Result<(), OpenError> {
        let connector = Connector::new(options)?;
        let mut connection = connector.open(Session::Migration).await?;
        // On failure the connection is dropped, and the lock that migrations take goes with it.
        schema::POSTGRES.migrate(&mut connection).await?;
        hang_up(connection).await;
        Ok(())
    }

    /// Connects, and checks the schema.
    ///
    /// # Errors
    /// When the database is away, a standby, or its schema is not this binary's.
    pub async fn open(options: &PostgresOptions) -> Result<Self, OpenError> {
        if options.migrate {
            Self::migrate(options).await?;
        }
        let connector = Connector::new(options)?;
        let mut connection = connector.open(Session::Admin).await?;
        schema::POSTGRES.check(&mut connection).await?;
        let admin = Slot::with(Session::Admin, connector.count(connection));
        Ok(Self {
            connector,
            clock: options.clock.clone(),
            purge_lag: options.purge_lag,
            lanes: (0..options.lanes.max(1))
                .map(|_| Lane {
                    slot: Slot::new(Session::Lane),
                    novelty: Novelty::default(),
                })
                .collect(),
            sweep: Slot::new(Session::Sweep),
            census: Slot::new(Session::Census),
            admin,
            probe: Slot::new(Session::Admin),
        })
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn engine(&self) -> &'static str {
        "postgres"
    }

    fn lanes(&self) -> usize {
        self.lanes.len()
    }

    async fn insert_if_absent(
        &self,
        lane: usize,
        records: &[&NewRecord],
    ) -> Result<Vec<Option<Inserted>>, StoreError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let claims = || -> Result<_, StoreError> {
            Ok(batches::Claims {
                now_us: self.clock.injected_us(),
                records,
                sorted: Sorted::new(records.iter().map(|record| &record.id))?,
            })
        };
        let Lane { slot, novelty } = &self.lanes[lane];
        if let [record] = records {
            let now_us = self.clock.injected_us();
            let statement = batches::InsertOne { now_us, record };
            let inserted = slot.call(&self.connector, &statement).await?;
            return Ok(vec![inserted]);
        }
        if novelty.is_likely(records.len()) {
            let statement = batches::InsertAll(claims()?);
            match slot.call(&self.connector, &statement).await {
                Ok(Some(inserted)) => {
                    novelty.was(true);
                    return Ok(inserted);
                }
                Ok(None) => {}
                // One of them is bad, or the function may not be called: the other way tells.
                Err(StoreError::Rejected(cause)) => {
                    tracing::debug!(%cause, "a batch could not be inserted as a whole");
                    novelty.refused();
                }
                Err(error) => return Err(error),
            }
        }
        let statement = batches::InsertIfAbsent(claims()?);
        let inserted = slot.call(&self.connector, &statement).await?;
        novelty.was(inserted.iter().all(Option::is_some));
        Ok(inserted)
    }

    async fn load(&self, lane: usize, keys: &[&KeyId]) -> Result<Loaded, StoreError> {
        let statement = batches::Load {
            now_us: self.clock.injected_us(),
            sorted: Sorted::new(keys.iter().copied())?,
        };
        self.lanes[lane]
            .slot
            .call(&self.connector, &statement)
            .await
    }

    async fn complete_if_held(
        &self,
        lane: usize,
        completions: &[Completion<'_>],
    ) -> Result<Vec<Option<Completed>>, StoreError> {
        if completions.is_empty() {
            return Ok(Vec::new());
        }
        let statement = batches::CompleteIfHeld {
            now_us: self.clock.injected_us(),
            completions,
            sorted: Sorted::new(completions.iter().map(|completion| completion.id))?,
        };
        self.lanes[lane]
            .slot
            .call(&self.connector, &statement)
            .await
    }

    async fn compare_and_swap(
        &self,
        lane: usize,
        swaps: &[Swap<'_>],
    ) -> Result<Vec<bool>, StoreError> {
        if swaps.is_empty() {
            return Ok(Vec::new());
        }
        let statement = batches::CompareAndSwap {
            swaps,
            sorted: Sorted::new(swaps.iter().map(|swap| swap.id))?,
        };
        self.lanes[lane]
            .slot
            .call(&self.connector, &statement)
            .await
    }

    async fn purge(&self, limit: u32) -> Result<Purged, StoreError> {
        let statement = purge::Purge {
            now_us: self.clock.injected_us(),
            lag: self.purge_lag,
            limit,
            start_at: rand::random_range(0..64),
        };
        self.sweep.call(&self.connector, &statement).await
    }

    async fn census(&self, from: CensusPlace) -> Result<Option<CensusPart>, StoreError> {
        let statement = census::Census {
            now_us: self.clock.injected_us(),
            from,
        };
        self.census.call(&self.connector, &statement).await
    }

    fn connections(&self) -> Connections {
        self.connector.connections()
    }

    async fn ready(&self) -> Result<(), StoreError> {
        let asked = async {
            self.probe.call(&self.connector, &admin::Ready).await?;
            // A database that lets the probe in and no lane is of no use. Those that have a connection
            // tell by their calls.
            for lane in self.lanes.iter().filter(|lane| lane.slot.has_none()) {
                lane.slot.call(&self.connector, &admin::Ready).await?;
            }
            Ok(())
        };
        tokio::time::timeout(READY_TIMEOUT, asked)
            .await
            .map_err(|_| StoreError::unavailable(NotReady))?
    }

    async fn policies(&self) -> Result<Vec<(PolicyId, String)>, StoreError> {
        self.admin.call(&self.connector, &admin::Policies).await
    }

    async fn namespaces(&self) -> Result<Vec<NamespaceRow>, StoreError> {
        self.admin.call(&self.connector, &admin::Namespaces).await
    }

    async fn put_policy(&self, id: PolicyId, text: &str) -> Result<(), StoreError> {
        let statement = admin::PutPolicy { id, text };
        self.admin.call(&self.connector, &statement).await
    }

    async fn put_namespace(
        &self,
        namespace: &Namespace,
        policy: PolicyId,
        remembered_until_now: Option<Span>,
    ) -> Result<(), StoreError> {
        let statement = admin::PutNamespace {
            now_us: self.clock.injected_us(),
            namespace,
            policy,
            remembered_until_now,
        };
        self.admin.call(&self.connector, &statement).await
    }

    async fn close(&self) {
        self.connector.close();
        let own = [&self.census, &self.sweep, &self.admin, &self.probe];
        let lanes = self.lanes.iter().map(|lane| &lane.slot);
        for slot in lanes.chain(own) {
            slot.close().await;
        }
    }
}
