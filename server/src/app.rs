//! The composition root: every part of a running server, and how it starts and stops.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use opentelemetry::global;
use semel_proto::v1::{
    self, idempotency_service_server::IdempotencyServiceServer,
    session_service_server::SessionServiceServer,
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::ServiceBuilder;

use crate::{
    config::{Config, StoreConfig},
    key::limits,
    lanes::Lanes,
    net::{AdmissionLayer, DeadlineLayer, Server, malformed_layer},
    policies::{Policies, PolicyError},
    purge::{self, PurgeMetrics},
    rpc::{Admission, IdempotencyRpc, Services, SessionRpc},
    store::{
        OpenError, SharedStore,
        postgres::{PostgresOptions, PostgresStore},
        sqlite::{SqliteOptions, SqliteStore},
    },
};

/// What the health service tells of. The empty name is the server as a whole.
const HEALTH_NAMES: [&str; 3] = ["", "semel.v1.IdempotencyService", "semel.v1.SessionService"];
/// How often the store is asked whether it can be written to, for the health service.
const HEALTH_PROBE: Duration = Duration::from_secs(1);
/// Largest request: the largest result, or a delivery, and the fields around it.
const REQUEST_BYTES: usize = limits::RESULT_BYTES + 64 * 1024;
/// Largest answer: the largest result together with a kept delivery, and the fields around them.
const RESPONSE_BYTES: usize =
    limits::RESULT_BYTES + limits::DELIVERY_BODY_BYTES + limits::DELIVERY_HEADER_BYTES + 64 * 1024;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address could not be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Policies could not be stored or read.
    #[error("cannot set up the namespaces' policies: {0}")]
    Policies(#[from] PolicyError),
    /// The reflection service could not be built from our own descriptors: a bug.
    #[error("cannot set up gRPC reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to stop, and everything under way was finished.
    Drained,
    /// It was asked to stop, and connections were closed at the end of the drain time.
    Cut,
    /// A lane died of a bug; what had not been answered is UNAVAILABLE to its callers.
    Broken,
}

/// A running server.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    ended: JoinHandle<Ended>,
}

impl Running {
    /// The address that it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks it to stop. [`Running::ended`] tells when it has.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> Ended {
        (&mut self.ended).await.unwrap_or(Ended::Broken)
    }
}

/// Opens the store that the configuration names. An embedded one is always brought up to date.
///
/// # Errors
/// When it cannot be opened; the message says what to do.
pub async fn open_store(config: &StoreConfig, migrate: bool) -> Result<SharedStore, OpenError> {
    Ok(match config {
        StoreConfig::Sqlite { data_dir } => {
            Arc::new(SqliteStore::open(data_dir, SqliteOptions::default()).await?)
        }
        StoreConfig::Postgres { url, lanes } => {
            let options = PostgresOptions {
                lanes: *lanes,
                migrate,
                ..PostgresOptions::new(url)
            };
            Arc::new(PostgresStore::open(&options).await?)
        }
    })
}

/// Brings the schema of the store that the configuration names up to date.
///
/// # Errors
/// As [`open_store`].
pub async fn migrate_store(config: &StoreConfig) -> Result<(), OpenError> {
    match config {
        StoreConfig::Sqlite { .. } => {
            open_store(config, true).await?.close().await;
            Ok(())
        }
        StoreConfig::Postgres { url, .. } => {
            PostgresStore::migrate(&PostgresOptions::new(url)).await
        }
    }
}

/// Starts a server on an open store. It owns the store from here on and closes it at its end.
///
/// # Errors
/// When the policies cannot be set up or the address cannot be bound; the store is closed then.
pub async fn start(config: Config, store: SharedStore) -> Result<Running, StartError> {
    let started = assemble(config, store.clone()).await;
    if started.is_err() {
        store.close().await;
    }
    started
}

async fn assemble(config: Config, store: SharedStore) -> Result<Running, StartError> {
    let server = Server::bind(config.listen, config.net)
        .await
        .map_err(|source| StartError::Listen {
            address: config.listen,
            source,
        })?;
    let address = server.local_addr().map_err(|source| StartError::Listen {
        address: config.listen,
        source,
    })?;

    // After the port: a server that cannot start must not have changed the others' policies.
    let policies = Policies::seed(&store, config.default_policy, config.namespaces).await?;
    let policies = Arc::new(policies);

    let lanes = Arc::new(Lanes::start(&store, &policies, &config.lanes));
    let (health, health_service) = tonic_health::server::health_reporter();
    let stop = CancellationToken::new();
    // Budgets for all connections together. Streams have their own: they wait for a place, where a
    // single call is refused, and would otherwise always be first to get it.
    let of_calls = Admission::new(config.calls);
    let of_streams = Admission::new(config.calls);
    let calls = IdempotencyRpc::new(lanes.clone(), policies.clone());
    let streams = SessionRpc::new(lanes.clone(), policies.clone(), of_streams, stop.clone());
    let calls = IdempotencyServiceServer::new(calls)
        .max_decoding_message_size(REQUEST_BYTES)
        .max_encoding_message_size(RESPONSE_BYTES);
    let others = tonic::service::Routes::new(
        SessionServiceServer::new(streams)
            .max_decoding_message_size(REQUEST_BYTES)
            .max_encoding_message_size(RESPONSE_BYTES),
    )
    .add_service(health_service)
    // Two versions: grpcurl and its like ask for the older one.
    .add_service(reflection().build_v1()?)
    .add_service(reflection().build_v1alpha()?);
    let service = ServiceBuilder::new()
        // Outermost, so that time spent waiting for admission counts.
        .layer(DeadlineLayer)
        // Tonic's own refusals of messages it cannot read.
        .layer(malformed_layer())
        .layer(AdmissionLayer(of_calls))
        .service(Services::new(calls, others));

    // All names, before anybody can ask: the store has been opened and read a moment ago.
    set_health(&health, true).await;
    // In the background, until everything else has ended.
    let background = TaskTracker::new();
    let background_stop = CancellationToken::new();
    background.spawn(report_health(health.clone(), store.clone(), stop.clone()));
    background.spawn(policies.keep_renewed(store.clone(), background_stop.clone()));
    background.spawn(purge::run(
        store.clone(),
        config.purge,
        PurgeMetrics::new(&global::meter("semel")),
        background_stop.clone(),
    ));
    background.close();

    let drain = config.drain;
    let serving = tokio::spawn(server.serve(service, stop.clone(), drain));
    let ended = {
        let stop = stop.clone();
        tokio::spawn(async move {
            let broken = tokio::select! {
                () = stop.cancelled() => false,
                () = lanes.broken() => true,
            };
            // Load balancers look elsewhere, waits end, connections finish what is under way.
            stop.cancel();
            end_health(&health).await;
            lanes.release_waiters();
            let drained = serving.await.unwrap_or(false);
            // What was accepted is carried out, also for callers that are gone; but not for ever
            // where the store does not answer. Nobody was told that any of it succeeded.
            let carried_out = timeout(drain, lanes.close()).await.is_ok();
            if !carried_out {
                tracing::error!(
                    "the store did not take all that was accepted within the drain time"
                );
            }
            background_stop.cancel();
            let closed = async {
                background.wait().await;
                store.close().await;
            };
            if timeout(drain, closed).await.is_err() {
                tracing::warn!("the store's connections did not close within the drain time");
            }
            let drained = drained && carried_out;
            match (broken, drained) {
                (true, _) => Ended::Broken,
                (false, true) => Ended::Drained,
                (false, false) => Ended::Cut,
            }
        })
    };
    Ok(Running {
        address,
        stop,
        ended,
    })
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Tells the health service whether the store can be written to, whenever that changes.
async fn report_health(health: HealthReporter, store: SharedStore, stop: CancellationToken) {
    let mut last = None;
    loop {
        let probe = store.ready().await;
        // A server that stops has said "not serving", and means it.
        if stop.is_cancelled() {
            return;
        }
        let ready = probe.is_ok();
        if last != Some(ready) {
            match &probe {
                Err(error) => tracing::error!(%error, "the store is away: not serving"),
                Ok(()) if last.is_some() => tracing::info!("the store is back: serving"),
                Ok(()) => {}
            }
            set_health(&health, ready).await;
            last = Some(ready);
            // The stop may have come while this was being set.
            if stop.is_cancelled() {
                return end_health(&health).await;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(HEALTH_PROBE) => {}
        }
    }
}

/// "Not serving", for good, and the end of every watch: one that stayed open would hold up the drain.
async fn end_health(health: &HealthReporter) {
    set_health(health, false).await;
    for service in HEALTH_NAMES {
        health.clone().clear_service_status(service).await;
    }
}

async fn set_health(health: &HealthReporter, ready: bool) {
    let status = if ready {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    };
    for service in HEALTH_NAMES {
        health.set_service_status(service, status).await;
    }
}
