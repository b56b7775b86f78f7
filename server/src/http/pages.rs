//! What can be read on the operator's port.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, StatusCode, header};

use crate::{
    health::Health,
    telemetry::{Format, Telemetry},
};

/// What stands at the root, and behind every 404.
const INDEX: &str = "Semel\n\n\
    /livez    whether the process lives\n\
    /readyz   whether calls should be sent here, and if not, why\n\
    /metrics  for Prometheus; with exemplars where OpenMetrics is accepted\n";

/// The pages, and what they tell of.
#[derive(Debug)]
pub struct Pages {
    telemetry: Arc<Telemetry>,
    health: Arc<Health>,
}

impl Pages {
    /// Pages about this server.
    pub fn new(telemetry: Arc<Telemetry>, health: Arc<Health>) -> Self {
        Self { telemetry, health }
    }

    pub(super) fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/", get(INDEX))
            .route("/livez", get("ok\n"))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .fallback((StatusCode::NOT_FOUND, INDEX))
            .with_state(self.clone())
    }
}

async fn ready(State(pages): State<Arc<Pages>>) -> Response {
    let report = pages.health.report();
    let status = if report.is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    // A proxy that kept the last answer would hide the next.
    let headers = [(header::CACHE_CONTROL, "no-store")];
    (status, headers, report.text).into_response()
}

async fn metrics(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok());
    let format = Format::accepted(accept);
    // Some milliseconds of work, which no call is to wait for.
    let text = tokio::task::spawn_blocking(move || pages.telemetry.scrape(format)).await;
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
