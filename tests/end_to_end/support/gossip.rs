//! Talking to a server without our client: nothing is retried, and statuses are seen as they are.

use std::time::Duration;

use semel_proto::v1::idempotency_service_client::IdempotencyServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};

use super::{PATIENCE, within};

/// A stub on a connection of its own, made when it is first used.
pub fn raw(address: &str) -> IdempotencyServiceClient<Channel> {
    IdempotencyServiceClient::new(channel(address))
}

fn channel(address: &str) -> Channel {
    Endpoint::from_shared(address.to_owned())
        .expect("an address")
        .connect_timeout(Duration::from_secs(2))
        .tcp_nodelay(true)
        .connect_lazy()
}

/// What a server says of its health, as it changes.
pub struct Health(tonic::Streaming<HealthCheckResponse>);

impl Health {
    /// Begins to watch.
    pub async fn of(address: &str) -> Self {
        let request = HealthCheckRequest {
            service: "semel.v1.IdempotencyService".to_owned(),
        };
        let mut client = HealthClient::new(channel(address));
        let answer = within(PATIENCE, "a watch of the health", client.watch(request)).await;
        Self(answer.expect("the health can be watched").into_inner())
    }

    /// Waits until the server says whether it serves, and that it does or does not.
    pub async fn until(&mut self, serving: bool) {
        let wanted = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        within(PATIENCE, &format!("health {wanted:?}"), async {
            loop {
                let said = self.0.message().await.expect("the watch goes on");
                if said.expect("the watch goes on").status() == wanted {
                    return;
                }
            }
        })
        .await;
    }
}
