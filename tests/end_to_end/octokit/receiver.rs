//! A webhook receiver whose effect is a row in a database of its own.

use std::{net::SocketAddr, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use bytes::Bytes;
use semel_client::{Claim, Client, Context, Error, Failure, Run};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tokio::{net::TcpListener, task::JoinHandle};

use super::payloads::hex;
use crate::support::Flights;

/// The namespace of the deliveries.
pub const NAMESPACE: &str = "github";

/// Much longer than the server is ever away here, and than everything below: so no lease lapses
/// while its holder waits for the server to come back, and nobody takes over. Without this, a
/// second effect would be allowed.
pub const LEASE: Duration = Duration::from_secs(120);
const CLAIM_DEADLINE: Duration = Duration::from_secs(60);
const SETTLE_DEADLINE: Duration = Duration::from_secs(90);
/// How long a duplicate waits for the one that is at it.
const WAIT: Duration = Duration::from_secs(1);

/// A receiver that is listening.
pub struct Receiver {
    /// Where.
    pub address: SocketAddr,
    /// Its calls to Semel under way.
    pub flights: Flights,
    serving: JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    semel: Client,
    ledger: PgPool,
    flights: Flights,
}

impl Receiver {
    /// A receiver that asks `semel` and writes into `ledger`.
    pub async fn listen(semel: Client, ledger: PgPool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let flights = Flights::default();
        let shared = Shared {
            semel: semel.with_deadline(CLAIM_DEADLINE),
            ledger,
            flights: flights.clone(),
        };
        let routes = Router::new()
            .route("/webhooks", post(webhook))
            .with_state(shared);
        let serving = tokio::spawn(async move {
            axum::serve(listener, routes).await.expect("it listens");
        });
        Self {
            address,
            flights,
            serving,
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn webhook(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(delivery), Some(event)) = (text("x-github-delivery"), text("x-github-event")) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let (delivery, event) = (delivery.to_owned(), event.to_owned());
    // In a task of its own: a sender that hangs up must not stop the work half way.
    let work = tokio::spawn(async move { shared.handle(&delivery, &event, &body).await });
    work.await
        .unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

impl Shared {
    async fn handle(&self, delivery: &str, event: &str, body: &Bytes) -> Response {
        let claim = Claim::new(NAMESPACE, delivery)
            .fingerprint(Sha256::digest(body).to_vec())
            .lease(LEASE)
            .wait(WAIT);
        let flight = self.flights.begin();
        let run = self
            .semel
            .once(claim)
            .settle_deadline(SETTLE_DEADLINE)
            .run(|work| self.act(work, delivery, event, body))
            .await;
        drop(flight);
        match run {
            Ok(Run::Ran { result, .. }) => answer(result),
            Ok(Run::Replayed(stored)) => answer(stored.result),
            Ok(Run::InProgress(busy)) => {
                let seconds = busy.retry_after.as_secs().max(1);
                let mut response = StatusCode::CONFLICT.into_response();
                let headers = response.headers_mut();
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                response
            }
            Err(Error::FingerprintMismatch) => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
            Err(error) if error.is_unavailable() => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            // Nothing else may happen here, and the sender gives up on it.
            other => (StatusCode::IM_A_TEAPOT, format!("{other:?}")).into_response(),
        }
    }

    /// The effect, and the answer to it, which nobody could make a second time.
    async fn act(
        &self,
        work: Context,
        delivery: &str,
        event: &str,
        body: &Bytes,
    ) -> Result<Bytes, Failure> {
        let nonce = format!("{:032x}", rand::random::<u128>());
        sqlx::query("INSERT INTO ledger (key, fence, attempt, nonce) VALUES ($1, $2, $3, $4)")
            .bind(delivery)
            .bind(work.fence().get())
            .bind(i32::try_from(work.attempt()).unwrap_or(i32::MAX))
            .bind(&nonce)
            .execute(&self.ledger)
            .await
            .expect("the ledger is up");
        let answer = json!({
            "delivery": delivery,
            "event": event,
            "sha256": hex(&Sha256::digest(body)),
            "nonce": nonce,
        });
        Ok(answer.to_string().into())
    }
}

fn answer(stored: Bytes) -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], stored).into_response()
}
