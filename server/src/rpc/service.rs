//! `semel.v1.IdempotencyService`, one short method an RPC.

use std::{sync::Arc, time::Duration};

use semel_proto::v1::{self, idempotency_service_server::IdempotencyService};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::{Deadline, reply, request, status};
use crate::{
    key::{
        Invalid, Jitter, KeyId,
        transition::{Command, Reply},
    },
    lanes::{Lanes, Wait},
    policies::Policies,
};

/// A wait ends this much before the call's deadline, so that "in progress" still arrives.
const ANSWER_MARGIN: Duration = Duration::from_millis(50);

/// The service over lanes and policies.
#[derive(Debug, Clone)]
pub struct IdempotencyRpc {
    lanes: Arc<Lanes>,
    policies: Arc<Policies>,
}

impl IdempotencyRpc {
    /// A service that carries commands to `lanes`.
    pub fn new(lanes: Arc<Lanes>, policies: Arc<Policies>) -> Self {
        Self { lanes, policies }
    }

    async fn call(
        &self,
        id: KeyId,
        parsed: Result<Command, Invalid>,
    ) -> Result<(KeyId, Reply), Status> {
        let command = parsed.map_err(|invalid| status::invalid(Some(&id), &invalid))?;
        match self.lanes.call(id.clone(), command).await {
            Ok(reply) => Ok((id, reply)),
            Err(error) => Err(status::of_lane(&id, &error)),
        }
    }
}

/// When a wait that began `now` has to end, so that its answer arrives before the deadline.
pub(super) fn answer_by(deadline: Instant, now: Instant) -> Instant {
    let left = deadline.saturating_duration_since(now);
    // A very short deadline still leaves half of itself to wait.
    now + left.saturating_sub(ANSWER_MARGIN).max(left / 2)
}

/// The key that a request names. First of all, so that every other error can name it.
pub(super) fn id_of(namespace: &str, key: &str) -> Result<KeyId, Status> {
    KeyId::parse(namespace, key).map_err(|invalid| status::invalid(None, &invalid))
}

#[tonic::async_trait]
impl IdempotencyService for IdempotencyRpc {
    async fn claim(
        &self,
        request: Request<v1::ClaimRequest>,
    ) -> Result<Response<v1::ClaimResponse>, Status> {
        let now = Instant::now();
        let deadline = request.extensions().get::<Deadline>().copied();
        let (metadata, _, message) = request.into_parts();
        let traceparent = metadata
            .get("traceparent")
            .and_then(|value| value.to_str().ok());
        let id = id_of(&message.namespace, &message.key)?;
        let call = request::claim(&id, message, traceparent, &self.policies)
            .map_err(|invalid| status::invalid(Some(&id), &invalid))?;

        let wait = call.wait.map(|wait| {
            let answer_by = deadline.map(|deadline| answer_by(deadline.at(), now));
            Wait {
                until: answer_by.map_or(now + wait, |answer_by| answer_by.min(now + wait)),
            }
        });
        match self.lanes.claim(id.clone(), call.claim, wait).await {
            Ok(claimed) => Ok(Response::new(reply::claim(claimed))),
            Err(error) => Err(status::of_lane(&id, &error)),
        }
    }

    async fn complete(
        &self,
        request: Request<v1::CompleteRequest>,
    ) -> Result<Response<v1::CompleteResponse>, Status> {
        let request = request.into_inner();
        let id = id_of(&request.namespace, &request.key)?;
        match self.call(id, request::complete(request)).await? {
            (
                _,
                Reply::Complete {
                    repeat,
                    completed_at,
                },
            ) => Ok(Response::new(reply::complete(repeat, completed_at))),
            (id, _) => Err(mixed_up(&id)),
        }
    }

    async fn fail(
        &self,
        request: Request<v1::FailRequest>,
    ) -> Result<Response<v1::FailResponse>, Status> {
        let jitter = Jitter::new(rand::random());
        let request = request.into_inner();
        let id = id_of(&request.namespace, &request.key)?;
        match self.call(id, request::fail(request, jitter)).await? {
            (_, Reply::Fail { repeat, outcome }) => Ok(Response::new(reply::fail(repeat, outcome))),
            (id, _) => Err(mixed_up(&id)),
        }
    }

    async fn lookup(
        &self,
        request: Request<v1::LookupRequest>,
    ) -> Result<Response<v1::LookupResponse>, Status> {
        let request = request.into_inner();
        let id = id_of(&request.namespace, &request.key)?;
        match self.call(id, Ok(Command::Lookup)).await? {
            (id, Reply::Lookup { outcome, details }) => {
                reply::lookup(&id, outcome, details, request.include_delivery).map(Response::new)
            }
            (id, _) => Err(mixed_up(&id)),
        }
    }

    async fn extend(
        &self,
        request: Request<v1::ExtendRequest>,
    ) -> Result<Response<v1::ExtendResponse>, Status> {
        let request = request.into_inner();
        let id = id_of(&request.namespace, &request.key)?;
        match self.call(id, request::extend(request)).await? {
            (_, Reply::Extend { lease, hold }) => Ok(Response::new(reply::extend(lease, hold))),
            (id, _) => Err(mixed_up(&id)),
        }
    }

    async fn checkpoint(
        &self,
        request: Request<v1::CheckpointRequest>,
    ) -> Result<Response<v1::CheckpointResponse>, Status> {
        let request = request.into_inner();
        let id = id_of(&request.namespace, &request.key)?;
        match self.call(id, request::checkpoint(request)).await? {
            (_, Reply::Checkpoint) => Ok(Response::new(v1::CheckpointResponse {})),
            (id, _) => Err(mixed_up(&id)),
        }
    }
}

/// The rules answered a command with another command's reply: a bug of ours.
fn mixed_up(id: &KeyId) -> Status {
    tracing::error!(?id, "a command was answered with another command's reply");
    status::internal(id, "the server mixed up its answers")
}
