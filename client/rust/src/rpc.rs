//! The calls: what each is named, and how it is sent alone and on a session.

use std::future::Future;

use semel_proto::v1 as wire;
use semel_proto::v1::idempotency_service_client::IdempotencyServiceClient;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::session::{Encoded, Reply, ReplyTo};

/// The stub of one channel.
pub(crate) type Stub = IdempotencyServiceClient<Channel>;

/// A request and the RPC that it belongs to.
pub(crate) trait Rpc: prost::Message + Clone {
    /// What it is answered with.
    type Answer: Send;
    /// The RPC's name, for logs.
    const NAME: &'static str;

    /// Sends it once, as an HTTP request of its own.
    fn send(
        stub: Stub,
        request: Request<Self>,
    ) -> impl Future<Output = Result<Response<Self::Answer>, Status>> + Send;

    /// The same as a command of a session.
    fn command(&self) -> Encoded;

    /// Where the answer to that command is to go.
    fn reply(to: ReplyTo<Self::Answer>) -> Reply;
}

macro_rules! rpc {
    ($name:ident: $request:ident => $answer:ident, $method:ident) => {
        impl Rpc for wire::$request {
            type Answer = wire::$answer;
            const NAME: &'static str = stringify!($method);

            async fn send(
                mut stub: Stub,
                request: Request<Self>,
            ) -> Result<Response<Self::Answer>, Status> {
                stub.$method(request).await
            }

            fn command(&self) -> Encoded {
                Encoded::$name(prost::Message::encode_to_vec(self))
            }

            fn reply(to: ReplyTo<Self::Answer>) -> Reply {
                Reply::$name(to)
            }
        }
    };
}

rpc!(Claim: ClaimRequest => ClaimResponse, claim);
rpc!(Complete: CompleteRequest => CompleteResponse, complete);
rpc!(Fail: FailRequest => FailResponse, fail);
rpc!(Lookup: LookupRequest => LookupResponse, lookup);
rpc!(Extend: ExtendRequest => ExtendResponse, extend);
rpc!(Checkpoint: CheckpointRequest => CheckpointResponse, checkpoint);
