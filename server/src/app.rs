//! The composition root: every part of a running server, and how it starts and stops.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use opentelemetry::KeyValue;
use semel_proto::v1::{
    self, idempotency_service_server::IdempotencyServiceServer,
    session_service_server::SessionServiceServer,
};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::ServiceBuilder;

use crate::{
    census::{self, Census},
    config::{Config, StoreConfig},
    health::Health,
    http::{HttpServer, Pages},
    key::{Namespace, Span, limits},
    lanes::Lanes,
    net::{AdmissionLayer, DeadlineLayer, ObservedLayer, Server, malformed_layer},
    policies::{Policies, PolicyError},
    purge::{self, PurgeMetrics},
    rpc::{Admission, IdempotencyRpc, Services, SessionRpc},
    store::{
        Observed, OpenError, SharedStore,
        postgres::{PostgresOptions, PostgresStore},
        sqlite::{SqliteOptions, SqliteStore},
    },
    telemetry::Telemetry,
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
    #[error("cannot listen on {address}: {source}; choose another address with {option}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What it was asked for with.
        option: &'static str,
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
    http_address: Option<SocketAddr>,
    stop: CancellationToken,
    ended: JoinHandle<Ended>,
}

impl Running {
    /// The address that it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of metrics and health, if they are served.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http_address
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
pub async fn start(
    config: Config,
    store: SharedStore,
    telemetry: Arc<Telemetry>,
) -> Result<Running, StartError> {
    let started = assemble(config, store.clone(), telemetry).await;
    if started.is_err() {
        store.close().await;
    }
    started
}

async fn assemble(
    config: Config,
    own_store: SharedStore,
    telemetry: Arc<Telemetry>,
) -> Result<Running, StartError> {
    let store: SharedStore = Arc::new(Observed::new(own_store.clone(), telemetry.clone()));
    let listen = |address, option| {
        move |source| StartError::Listen {
            address,
            option,
            source,
        }
    };
    let of_grpc = listen(config.listen, "--listen");
    let server = Server::bind(config.listen, config.net).await;
    let server = server.map_err(of_grpc)?;
    let address = server.local_addr().map_err(of_grpc)?;
    let http = match config.http_listen {
        Some(asked) => {
            let of_http = listen(
                asked,
                "--http-listen, or turn it off with `--http-listen off`",
            );
            let bound = HttpServer::bind(asked).await.map_err(of_http)?;
            let address = bound.local_addr().map_err(of_http)?;
            Some((bound, address))
        }
        None => None,
    };

    // After the port: a server that cannot start must not have changed the others' policies.
    let policies = Policies::seed(&store, config.default_policy, config.namespaces).await?;
    let policies = Arc::new(policies);

    let lanes = Arc::new(Lanes::start(&store, &policies, &config.lanes, &telemetry));
    let (health, health_service) = tonic_health::server::health_reporter();
    let stop = CancellationToken::new();
    // Budgets for all connections together. Streams have their own: they wait for a place, where a
    // single call is refused, and would otherwise always be first to get it.
    let of_calls = Admission::new(config.calls);
    let of_streams = Admission::new(config.calls);
    let calls = IdempotencyRpc::new(lanes.clone(), policies.clone(), telemetry.clone());
    let streams = SessionRpc::new(
        lanes.clone(),
        policies.clone(),
        of_streams,
        telemetry.clone(),
        stop.clone(),
    );
    let state = Arc::new(Health::new(store.engine()));
    let census = Arc::<Census>::default();
    census.observe(&telemetry, config.census_interval);
    observe(&telemetry, &own_store, &lanes, &streams, &policies, &state);
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
        // Outermost: what any of the others answers is measured too.
        .layer(ObservedLayer(telemetry.clone()))
        // Next, so that time spent waiting for admission counts.
        .layer(DeadlineLayer)
        // Tonic's own refusals of messages it cannot read.
        .layer(malformed_layer())
        .layer(AdmissionLayer(of_calls))
        .service(Services::new(calls, others));

    // All names, before anybody can ask: the store has been opened and read a moment ago.
    set_health(&health, true).await;
    // The lanes' connections before those of what works beside them, where there may not be enough.
    if let Err(error) = store.ready().await {
        tracing::warn!(%error, "the store was there a moment ago and is not ready");
    }
    // In the background, until everything else has ended.
    let background = TaskTracker::new();
    let background_stop = CancellationToken::new();
    background.spawn(report_health(
        health.clone(),
        state.clone(),
        store.clone(),
        stop.clone(),
    ));
    // Where nothing is measured nobody could see what it has counted.
    if telemetry.meters().is_some() {
        background.spawn(census::run(
            store.clone(),
            policies.clone(),
            census,
            config.census_interval,
            background_stop.clone(),
        ));
    }
    let http_address = http.as_ref().map(|(_, address)| *address);
    if let Some((http, _)) = http {
        // To the very end: whoever asks during a drain is told that it is one.
        let pages = Arc::new(Pages::new(telemetry.clone(), state.clone()));
        background.spawn(http.serve(pages, background_stop.clone()));
    }
    background.spawn(policies.keep_renewed(store.clone(), background_stop.clone()));
    background.spawn(purge::run(
        store.clone(),
        config.purge,
        telemetry
            .meters()
            .map(|meters| PurgeMetrics::new(meters.meter())),
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
            state.stops();
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
        http_address,
        stop,
        ended,
    })
}

/// The gauges of what is held in memory, read when somebody asks. None of what they hold may hold the
/// telemetry, which has them: so the store is the one that is not observed.
fn observe(
    telemetry: &Arc<Telemetry>,
    store: &SharedStore,
    lanes: &Arc<Lanes>,
    streams: &SessionRpc,
    policies: &Arc<Policies>,
    health: &Arc<Health>,
) {
    let Some(meters) = telemetry.meters() else {
        return;
    };
    let waiting = lanes.clone();
    meters.gauge(
        "semel.waiters",
        "{claim}",
        "Claims that wait for their key",
        move || waiting.waiting() as u64,
    );
    let open = streams.open_streams();
    meters.gauge(
        "semel.sessions",
        "{stream}",
        "Streams of commands that are open",
        move || open() as u64,
    );
    let ready = health.clone();
    meters.gauge(
        "semel.store.ready",
        "",
        "Whether the store can be written to",
        move || u64::from(ready.has_store()),
    );
    let connections = store.clone();
    meters.gauge(
        "semel.store.connections",
        "{connection}",
        "Connections of the store",
        move || connections.connections().open,
    );
    let connections = store.clone();
    meters.counter(
        "semel.store.connections.opened",
        "{connection}",
        "Connections of the store that were ever made; more than there are were lost",
        move || connections.connections().opened,
    );
    let connections = store.clone();
    meters.counter(
        "semel.store.connections.failed",
        "{connection}",
        "Connections of the store that could not be made",
        move || connections.connections().failed,
    );
    let queued = lanes.clone();
    meters.gauges(
        "semel.lane.queued",
        "{command}",
        "Commands that wait in a lane's queue",
        move || {
            let of_lane =
                |(lane, queued)| (vec![KeyValue::new("lane", lane as i64)], queued as f64);
            queued.queued().enumerate().map(of_lane).collect()
        },
    );
    // The configured ones first, and in an order that all servers have: who comes later may find no room.
    let mut configured: Vec<_> = policies.retentions().into_iter().map(|it| it.0).collect();
    configured.sort();
    for namespace in configured {
        if namespace != Namespace::unconfigured() {
            meters.of(&namespace);
        }
    }
    let (policies, names) = (policies.clone(), Arc::downgrade(telemetry));
    meters.gauges(
        "semel.retention",
        "s",
        "How long outcomes are kept, by namespace; of those that nobody configured under *",
        move || {
            let telemetry = names.upgrade();
            let Some(meters) = telemetry.as_deref().and_then(Telemetry::meters) else {
                return Vec::new();
            };
            let labelled = |(namespace, retention): (Namespace, Span)| {
                let name = namespace.as_str();
                // Those that share a label have no retention in common.
                let has_label =
                    namespace == Namespace::unconfigured() || meters.label(&namespace) == name;
                let label = KeyValue::new("namespace", name.to_owned());
                has_label.then(|| (vec![label], Duration::from(retention).as_secs_f64()))
            };
            policies
                .retentions()
                .into_iter()
                .filter_map(labelled)
                .collect()
        },
    );
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Tells the health service whether the store can be written to, whenever that changes.
async fn report_health(
    health: HealthReporter,
    state: Arc<Health>,
    store: SharedStore,
    stop: CancellationToken,
) {
    loop {
        let probe = store.ready().await;
        // A server that stops has said "not serving", and means it.
        if stop.is_cancelled() {
            return;
        }
        if state.store_answered(probe.as_ref().err().map(ToString::to_string)) {
            match &probe {
                Err(error) => tracing::error!(%error, "the store is away: not serving"),
                Ok(()) => tracing::info!("the store is back: serving"),
            }
            set_health(&health, probe.is_ok()).await;
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
