//! `semel.v1.IdempotencyService`, one short method an RPC.

use std::{sync::Arc, time::Duration};

use semel_proto::v1::{self, idempotency_service_server::IdempotencyService};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::{Deadline, reply, request, status, told::Untold};
use crate::{
    key::{
        Invalid, Jitter, KeyId,
        transition::{Command, Refusal, Reply},
    },
    lanes::{LaneError, Lanes, Wait},
    policies::Policies,
    telemetry::{About, Asked, Origin, SettlementKind, Telemetry, What},
};

/// A wait ends this much before the call's deadline, so that "in progress" still arrives.
const ANSWER_MARGIN: Duration = Duration::from_millis(50);

/// The service over lanes and policies.
#[derive(Debug, Clone)]
pub struct IdempotencyRpc {
    lanes: Arc<Lanes>,
    policies: Arc<Policies>,
    telemetry: Arc<Telemetry>,
}

/// A request of which the key is known, and what it asks, if that could be read.
struct Call {
    id: KeyId,
    origin: Origin,
    what: What,
    command: Result<Command, Invalid>,
}

impl IdempotencyRpc {
    /// A service that carries commands to `lanes`.
    pub fn new(lanes: Arc<Lanes>, policies: Arc<Policies>, telemetry: Arc<Telemetry>) -> Self {
        Self {
            lanes,
            policies,
            telemetry,
        }
    }

    async fn call(&self, call: Call) -> Result<(KeyId, Reply), Status> {
        let Call {
            id,
            origin,
            what,
            command,
        } = call;
        let asked = Asked::new(id.clone(), &origin);
        match command {
            Ok(command) => {
                let untold = self.untold(&id, About::of(&command, origin));
                let answer = self.lanes.call(asked, command).await;
                told(id, untold, answer)
            }
            Err(invalid) => Err(self.refuse(&id, what, origin, invalid)),
        }
    }

    /// Tells of a request that cannot be carried out as it is.
    fn refuse(&self, id: &KeyId, what: What, origin: Origin, invalid: Invalid) -> Status {
        let about = About {
            what,
            token: None,
            origin,
        };
        let error = LaneError::from(Refusal::Invalid(invalid));
        self.untold(id, about).tell(Err(&error));
        status::of_lane(id, &error)
    }

    fn untold(&self, id: &KeyId, about: About) -> Untold<'_> {
        about.origin.is_about(id, || self.telemetry.show(id));
        Untold::new(&self.telemetry, id, about)
    }
}

/// Tells of the answer, and makes it one for the wire.
fn told(
    id: KeyId,
    untold: Untold<'_>,
    answer: Result<Reply, LaneError>,
) -> Result<(KeyId, Reply), Status> {
    untold.tell(answer.as_ref());
    match answer {
        Ok(reply) => Ok((id, reply)),
        Err(error) => Err(status::of_lane(&id, &error)),
    }
}

fn origin_of<T>(request: &Request<T>) -> Origin {
    request.extensions().get().cloned().unwrap_or_default()
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
        let origin = origin_of(&request);
        let (metadata, _, message) = request.into_parts();
        let traceparent = metadata
            .get("traceparent")
            .and_then(|value| value.to_str().ok());
        let id = id_of(&message.namespace, &message.key)?;
        let traceparent = origin.traceparent(traceparent);
        let called = request::claim(&id, message, traceparent, &self.policies);
        let call = match called {
            Ok(call) => call,
            Err(invalid) => return Err(self.refuse(&id, What::Claim, origin, invalid)),
        };
        let wait = call.wait.map(|wait| {
            let answer_by = deadline.map(|deadline| answer_by(deadline.at(), now));
            Wait {
                until: answer_by.map_or(now + wait, |answer_by| answer_by.min(now + wait)),
            }
        });
        let asked = Asked::new(id.clone(), &origin);
        // Without a token: a duplicate shows the claim that stands.
        let about = About {
            what: What::Claim,
            token: None,
            origin,
        };
        let untold = self.untold(&id, about);
        let answer = self.lanes.claim(asked, call.claim, wait).await;
        match told(id, untold, answer.map(Reply::Claim))? {
            (_, Reply::Claim(claimed)) => Ok(Response::new(reply::claim(claimed))),
            (id, _) => Err(mixed_up(&id)),
        }
    }

    async fn complete(
        &self,
        request: Request<v1::CompleteRequest>,
    ) -> Result<Response<v1::CompleteResponse>, Status> {
        let origin = origin_of(&request);
        let request = request.into_inner();
        let id = id_of(&request.namespace, &request.key)?;
        let call = Call {
            id,
            origin,
            what: What::Settlement(SettlementKind::Complete),
            command: request::complete(request),
        };
        match self.call(call).await? {
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
        let origin = origin_of(&request);
        let request = request.into_inner();
        let id = id_of(&request.namespace, &request.key)?;
        let call = Call {
            id,
            origin,
            what: What::Settlement(request::failure_kind(&request)),
            command: request::fail(request, jitter),
        };
        match self.call(call).await? {
            (_, Reply::Fail { repeat, outcome }) => Ok(Response::new(reply::fail(repeat, outcome))),
            (id, _) => Err(mixed_up(&id)),
        }
    }

    async fn lookup(
        &self,
        request: Request<v1::LookupRequest>,
    ) -> Result<Response<v1::LookupResponse>, Status> {
        let origin = origin_of(&request);
        let request = request.into_inner();
        let id = id_of(&request.namespace, &request.key)?;
        let call = Call {
            id,
            origin,
            what: What::Lookup,
            command: Ok(Command::Lookup),
        };
        match self.call(call).await? {
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
        let origin = origin_of(&request);
        let request = request.into_inner();
        let id = id_of(&request.namespace, &request.key)?;
        let call = Call {
            id,
            origin,
            what: What::Extend,
            command: request::extend(request),
        };
        match self.call(call).await? {
            (_, Reply::Extend { lease, hold }) => Ok(Response::new(reply::extend(lease, hold))),
            (id, _) => Err(mixed_up(&id)),
        }
    }

    async fn checkpoint(
        &self,
        request: Request<v1::CheckpointRequest>,
    ) -> Result<Response<v1::CheckpointResponse>, Status> {
        let origin = origin_of(&request);
        let request = request.into_inner();
        let id = id_of(&request.namespace, &request.key)?;
        let call = Call {
            id,
            origin,
            what: What::Checkpoint,
            command: request::checkpoint(request),
        };
        match self.call(call).await? {
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
