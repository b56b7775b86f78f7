//! `semel serve`: runs the server until it is told to stop.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

use super::Exit;
use crate::{
    app::{self, Ended, StartError},
    config::{Config, Overrides},
    logging::{self, LogFormat},
    store::OpenError,
    telemetry::{Environment, EnvironmentProblem, Telemetry},
};

/// How long a stop waits for a collector to take what is left.
const LAST_EXPORT: Duration = Duration::from_secs(2);

/// Run the server.
///
/// Without arguments it keeps keys in an embedded SQLite file in ./semel-data and serves gRPC on
/// 127.0.0.1:7420, and metrics and health over HTTP on 127.0.0.1:7421. Traces go to the collector that
/// OTEL_EXPORTER_OTLP_ENDPOINT names, such as http://127.0.0.1:4317. Ctrl-C or SIGTERM stops it: calls under way are finished first, up to the drain
/// time of the configuration (20 s); a second signal stops it at once.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,

    /// Address to listen on [default: 127.0.0.1:7420]
    #[arg(long, env = "SEMEL_LISTEN", value_name = "IP:PORT")]
    listen: Option<String>,

    /// Address of /metrics, /livez and /readyz, or off [default: 127.0.0.1:7421]
    #[arg(long, env = "SEMEL_HTTP_LISTEN", value_name = "IP:PORT")]
    http_listen: Option<String>,

    /// Show keys as they are in traces and logs, instead of a hash of them
    #[arg(long, env = "SEMEL_SHOW_KEYS")]
    show_keys: bool,

    /// Allow an address that other machines can reach. Semel serves plaintext and asks for no
    /// credentials, so do this on networks that are yours alone
    #[arg(long, env = "SEMEL_ALLOW_PLAINTEXT")]
    allow_plaintext: bool,

    /// Do not bring a Postgres database's schema up to date; fail if it is not. (The embedded store's
    /// always is)
    #[arg(long, env = "SEMEL_NO_MIGRATE")]
    no_migrate: bool,

    /// How log lines look
    #[arg(long, env = "SEMEL_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
}

/// Where keys are kept. Shared by the commands that open the store themselves.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// Configuration file (TOML)
    #[arg(long, env = "SEMEL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Directory of the embedded store [default: ./semel-data]
    #[arg(long, env = "SEMEL_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Keep keys in this Postgres database instead, such as postgres://user@host/semel
    #[arg(
        long,
        env = "SEMEL_DATABASE_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    database_url: Option<String>,
}

impl Place {
    pub fn overrides(self) -> Overrides {
        Overrides {
            config: self.config,
            data_dir: self.data_dir,
            database_url: self.database_url,
            ..Overrides::default()
        }
    }
}

pub(super) async fn run(args: Args) -> Exit {
    let overrides = Overrides {
        listen: args.listen,
        http_listen: args.http_listen,
        show_keys: args.show_keys,
        allow_plaintext: args.allow_plaintext,
        no_migrate: args.no_migrate,
        ..args.place.overrides()
    };
    let config = match Config::load(&overrides) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("semel: {problems}");
            return Exit::Config;
        }
    };
    let environment = match Environment::read() {
        Ok(environment) => environment,
        Err(problems) => {
            for EnvironmentProblem { variable, problem } in problems {
                eprintln!("semel: {variable}: {problem}");
            }
            return Exit::Config;
        }
    };
    let telemetry = match Telemetry::start(&config.telemetry, &environment) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("semel: {error}");
            return Exit::Config;
        }
    };
    let _lines = logging::init_server(args.log_format, telemetry.tracer());
    let exit = serve(config, telemetry.clone()).await;
    telemetry.close(LAST_EXPORT).await;
    exit
}

async fn serve(config: Config, telemetry: Arc<Telemetry>) -> Exit {
    // Before the port: a signal that comes while starting must not be lost.
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        eprintln!("semel: cannot listen for signals");
        return Exit::Failure;
    };
    let store = match app::open_store(&config.store, config.migrate).await {
        Ok(store) => store,
        Err(error) => return open_failed(&error),
    };
    let (engine, kept_in) = (store.engine(), format!("{:?}", config.store));
    let mut running = match app::start(config, store, telemetry).await {
        Ok(running) => running,
        Err(error) => {
            eprintln!("semel: {error}");
            return match error {
                StartError::Listen { .. } => Exit::Listen,
                StartError::Policies(_) => Exit::Store,
                StartError::Reflection(_) => Exit::Failure,
            };
        }
    };
    let http = running.http_address().map(tracing::field::display);
    tracing::info!(address = %running.address(), http, engine, store = kept_in, "serving");

    let ended = tokio::select! {
        ended = running.ended() => ended,
        () = first(&mut terminate, &mut interrupt) => {
            tracing::info!("stopping: calls under way are finished first");
            running.stop();
            tokio::select! {
                ended = running.ended() => ended,
                () = first(&mut terminate, &mut interrupt) => {
                    tracing::warn!("stopped at once by a second signal");
                    return Exit::Failure;
                }
            }
        }
    };
    match ended {
        Ended::Drained => {
            tracing::info!("stopped");
            Exit::Success
        }
        Ended::Cut => {
            tracing::warn!("stopped at the end of the drain time");
            Exit::Success
        }
        Ended::Broken => {
            tracing::error!("stopped by a bug: a lane ended; please report the lines above");
            Exit::Failure
        }
    }
}

async fn first(a: &mut tokio::signal::unix::Signal, b: &mut tokio::signal::unix::Signal) {
    tokio::select! {
        _ = a.recv() => {}
        _ = b.recv() => {}
    }
}

pub(super) fn open_failed(error: &OpenError) -> Exit {
    eprintln!("semel: {error}");
    match error {
        OpenError::Locked { .. } => Exit::Locked,
        OpenError::SchemaMissing
        | OpenError::SchemaOlder { .. }
        | OpenError::SchemaNewer { .. }
        | OpenError::SchemaChanged { .. }
        | OpenError::SchemaDirty { .. }
        | OpenError::Migration(_) => Exit::Schema,
        _ => Exit::Store,
    }
}
